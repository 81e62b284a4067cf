# SPDX-License-Identifier: Apache-2.0
"""chat and embed in every language that has them, held against llama-cpp-python on the same model."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import wasinn
from conftest import require_backend
from sdk.languages import LANGUAGES, ROOT, Language, _builder

MODELS = ROOT / "src" / "wasinn" / "shipped" / "models"
FILES = ("story_f32.gguf", "story_f16.gguf", "story.gguf")
#: The last has letters of two and three bytes in what follows.
PROMPTS = ("Once there was", "The old miller had a wheel", "In the caf")
#: One thread each, so that sums come out alike.
GREEDY = ("--option", "temp=0", "--option", "threads=1")
QUESTIONS = ("Who keeps the lighthouse?", "What does the snail eat?")


@pytest.fixture(params=[each for each in LANGUAGES if each.name != "assemblyscript"], ids=str)
def language(request: pytest.FixtureRequest) -> Language:
    """Each language that has the guests; skips where they or the backend are not there."""
    found: Language = request.param
    require_backend("llama")
    found.require()
    return found


def run(
    language: Language, name: str, *args: str, model: str = "@story", stdin: bytes = b""
) -> wasinn.RunResult:
    guest, first = language.command(name)
    host = wasinn.Host(graphs={"default": f"ggml:{model}"})
    result = host.run(guest, [*first, *args], stdin=stdin, deadline=language.deadline)
    assert result.trap is None, f"{result.trap}\n{result.stderr.decode()}"
    return result


def said(result: wasinn.RunResult) -> str:
    assert (result.exit_code, result.stderr) == (0, b"")
    return result.stdout.decode()


@pytest.fixture(autouse=True, scope="module")
def _close_native() -> Iterator[None]:
    """llama-cpp-python's models cannot be left to the end of the process."""
    yield
    for key in list(_OPEN):
        _OPEN.pop(key).close()


_OPEN: dict[tuple[str, bool], Any] = {}


def native(file: str, embedding: bool = False) -> Any:
    from llama_cpp import Llama

    if (file, embedding) not in _OPEN:
        options: dict[str, Any] = {"n_threads": 1, "n_threads_batch": 1, "verbose": False}
        _OPEN[file, embedding] = Llama(str(MODELS / file), n_ctx=512, embedding=embedding, **options)
    return _OPEN[file, embedding]


def completed(file: str, prompt: str, count: int) -> str:
    answer = native(file).create_completion(prompt, max_tokens=count, temperature=0.0, repeat_penalty=1.0)
    return str(answer["choices"][0]["text"])


@pytest.mark.parametrize("file", FILES)
def test_greedy_text_is_that_of_the_native_binding(language: Language, file: str) -> None:
    for prompt in PROMPTS:
        count = 60
        wanted = completed(file, prompt, count)
        assert len(wanted) > 40, "the model says next to nothing: it shows nothing"
        result = run(
            language, "chat", "--plain", *GREEDY, "--option", f"n-predict={count}", prompt, model=f"@{file}"
        )
        assert said(result) == wanted + "\n"


def test_the_text_comes_piece_by_piece(language: Language) -> None:
    result = run(language, "chat", "--plain", *GREEDY, "--option", "n-predict=20", "Once there was")
    said(result)
    assert result.stats.generated_tokens == 20
    assert result.stats.calls["compute_single"] == 21  # the last says that there is no more
    assert result.stats.calls["compute"] == 0
    # Of a text that finds no room, what there is was said.
    limits = ("--option", "n-predict=20", "--option", "ctx-size=16")
    ended = run(language, "chat", "--plain", *GREEDY, *limits, "Once there was")
    assert ended.exit_code == 1
    assert len(ended.stdout) > 3
    assert result.stdout.startswith(ended.stdout.rstrip())


def test_a_conversation_has_the_template_of_the_model_and_what_was_said(language: Language) -> None:
    system = "Answer from the story."
    answers, messages = [], [{"role": "system", "content": system}]
    for question in QUESTIONS:
        messages.append({"role": "user", "content": question})
        found = native("story.gguf").create_chat_completion(
            messages, temperature=0.0, max_tokens=60, repeat_penalty=1.0
        )
        answers.append(found["choices"][0]["message"]["content"])
        messages.append({"role": "assistant", "content": answers[-1]})
    limit = ("--option", "n-predict=60")
    turns = "\n".join([QUESTIONS[0], "", QUESTIONS[1]]).encode()
    result = run(language, "chat", "--system", system, *GREEDY, *limit, stdin=turns)
    assert said(result).splitlines() == answers
    one = run(language, "chat", "--system", system, *GREEDY, *limit, QUESTIONS[0])
    assert said(one) == answers[0] + "\n"


def test_options_are_what_the_command_line_says(language: Language) -> None:
    words = ("--plain", *GREEDY, "--option", "n-predict=60", "--option")
    whole = completed("story.gguf", PROMPTS[0], 60)
    stop = whole[20:24]
    until = whole[: whole.index(stop)] + "\n"
    assert said(run(language, "chat", *words, f"stop={stop}", PROMPTS[0])) == until
    listed = json.dumps([stop, "nothing of the kind"])
    assert said(run(language, "chat", *words, f"stop={listed}", PROMPTS[0])) == until
    chance = ("temp=9", "top-k=0", "top-p=1", "min-p=0", "n-predict=40")
    apart = [word for each in chance for word in ("--option", each)]
    seeded = [
        said(run(language, "chat", "--plain", *apart, "--option", f"seed={seed}", PROMPTS[0]))
        for seed in (1, 1, 2)
    ]
    assert seeded[0] == seeded[1] != seeded[2]
    # A grammar that allows one answer.
    grammar = 'grammar=root ::= "yes"'
    assert said(run(language, "chat", *words, grammar, PROMPTS[0])) == "yes\n"


@pytest.mark.parametrize("file", FILES)
def test_embeddings_are_those_of_the_native_binding(language: Language, file: str) -> None:
    texts = ["the cat", 'a "wheel" and \\ Zoë', "Slow roads are also roads. " * 8]
    model = native(file, embedding=True)
    wanted = [np.asarray(model.embed(text, normalize=False)) for text in texts]
    wanted = [vector if vector.ndim == 1 else vector.mean(axis=0) for vector in wanted]
    wanted = [vector / np.linalg.norm(vector) for vector in wanted]
    lines = said(run(language, "embed", "--option", "threads=1", *texts, model=f"@{file}")).splitlines()
    for line, text, vector in zip(lines, texts, wanted, strict=True):
        found = json.loads(line)
        assert found["text"] == text
        np.testing.assert_allclose(found["embedding"], vector, rtol=1e-5, atol=1e-5)
    rows = said(run(language, "embed", "--compare", *texts, model=f"@{file}")).splitlines()
    cosines = np.stack(wanted) @ np.stack(wanted).T
    for row, text, numbers in zip(rows, texts, cosines, strict=True):
        width = 8 * len(texts)
        np.testing.assert_allclose([float(each) for each in row[:width].split()], numbers, atol=1e-4)
        assert row[width:].strip() == text.strip()


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--name", "nobody", "Hello"], ["nobody", "default"]),
        (["--option", "temp=hot", "Hello"], ["temp", "hot", "number"]),
        (["--option", "n-predict=[1]", "Hello"], ["n-predict", "[1]", "integer"]),
        (["--option", "chat=[{}]", "Hello"], ["chat", "role", "content"]),
        (["--plain", *GREEDY, "--option", "ctx-size=12", "Once there"], ["full", "12", "ctx-size"]),
        (
            ["--plain", "--option", "ctx-size=8", "Once there was a cat. " * 9],
            ["118 tokens", "context 8", "ctx-size"],
        ),
    ],
    ids=["unknown-graph", "wrong-type", "no-integer", "no-messages", "context-full", "prompt-too-long"],
)
def test_what_is_wrong_is_said_in_the_guest(language: Language, words: list[str], told: list[str]) -> None:
    result = run(language, "chat", *words)
    assert result.exit_code == 1
    text = result.stderr.decode()
    assert text.startswith("chat: ")
    for word in told:
        assert word in text


def test_a_wrong_command_line_says_what_there_is(language: Language) -> None:
    for name, words in (("chat", ["--nonsense"]), ("embed", ["--nonsense"]), ("embed", [])):
        result = run(language, name, *words)
        assert result.exit_code in (1, 2)
        assert "usage" in result.stderr.decode()
        assert not words or "--nonsense" in result.stderr.decode()


def test_a_graph_that_is_no_language_model_is_refused(language: Language) -> None:
    require_backend("onnxruntime")
    guest, first = language.command("chat")
    host = wasinn.Host(graphs={"default": "onnx:@identity"})
    result = host.run(guest, [*first, "--plain", "Hello"], deadline=language.deadline)
    assert result.exit_code == 1
    assert result.stderr.startswith(b"chat: ")
    assert b"input" in result.stderr or b"language model" in result.stderr


def test_without_the_calls_that_stream_the_text_is_one_piece(tmp_path: Path) -> None:
    require_backend("llama")
    wanted = completed("story.gguf", PROMPTS[0], 40)
    chat = {each.name: each for each in LANGUAGES}
    for name in ("c", "rust"):
        chat[name].require()
    builder: Any = _builder("build")
    sources, flags = builder.RECIPES["chat"]
    builder.compile_core(sources, [*flags, "-DNN_PORTABLE"], tmp_path / "portable.wasm")
    parts = [*sources, *builder.AS_COMPONENT]
    builder.build_component(parts, builder.COMPONENT_FLAGS, builder.COMMAND, tmp_path / "component.wasm")
    rust: Any = _builder("build_rust")
    rust.build_file(ROOT / "guests" / "rust" / "chat.rs", tmp_path, ())
    host = wasinn.Host(graphs={"default": "ggml:@story"})
    for guest in ("portable.wasm", "component.wasm", "chat.wasm"):
        words = ["--plain", *GREEDY, "--option", "n-predict=40", PROMPTS[0]]
        result = host.run(tmp_path / guest, words, deadline=60)
        assert said(result) == wanted + "\n"
        assert result.stats.calls["compute"] == 1
        assert result.stats.calls["compute_single"] == 0
