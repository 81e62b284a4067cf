# SPDX-License-Identifier: Apache-2.0
"""GGUF models on llama.cpp: the same tokens as its own Python class, and what guests may do wrong."""

from __future__ import annotations

import concurrent.futures
import gc
import json
import logging
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

import llama_models
import wasinn
from conftest import require_backend
from wasinn.backends import llama_context, llama_options
from wasinn.backends.base import Configurable, Interruptible, LoadOptions, Model, Streaming, Usage
from wasinn.backends.llama import LlamaBackend
from wasinn.errors import WasiNNError
from wasinn.spec import Encoding, ErrorCode, Target, TensorType
from wasinn.tensors import Tensor

PROMPT = "hello world the cat sat on the dog and ran"
GREEDY = {"temp": 0, "n-predict": 40, "threads": 1}


@pytest.fixture(autouse=True)
def _installed() -> None:
    require_backend("llama")


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    found = tmp_path_factory.mktemp("models") / "tiny.gguf"
    found.write_bytes(llama_models.tiny())
    return found


@pytest.fixture(scope="module")
def graph(path: Path) -> Any:
    require_backend("llama")
    return load(path)


def load(source: Path | bytes, target: Target = Target.CPU, threads: int | None = None) -> Any:
    model = Model(files=(source,)) if isinstance(source, Path) else Model(builders=(source,))
    return LlamaBackend().load(model, Encoding.GGML, target, LoadOptions(threads=threads))


def tensor(content: str | bytes) -> Tensor:
    data = content.encode() if isinstance(content, str) else content
    return Tensor((1,), TensorType.U8, memoryview(data))  # dims [1] whatever the size, as guests write


def opened(graph: Any, options: dict[str, Any] | None = None, prompt: str | bytes = PROMPT) -> Any:
    execution = graph.open()
    if options is not None:
        execution.set_input(1, tensor(json.dumps(options)))
    execution.set_input(0, tensor(prompt))
    return execution


def text(execution: Any) -> str:
    return bytes(execution.output(0).data).decode()


def metadata(execution: Any) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(bytes(execution.output(1).data))
    return found


def computed(graph: Any, options: dict[str, Any] | None = None, prompt: str | bytes = PROMPT) -> str:
    execution = opened(graph, options, prompt)
    execution.compute()
    found = text(execution)
    execution.close()
    return found


def streamed(execution: Any, end: ErrorCode = ErrorCode.END_OF_SEQUENCE) -> list[str]:
    """All pieces to the `end` of the text."""
    pieces = []
    while True:
        try:
            execution.compute_single()
        except WasiNNError as error:
            assert error.code is end, error  # noqa: PT017
            return pieces
        pieces.append(bytes(execution.output_single(0).data).decode())


def refused(call: Callable[[], object], code: ErrorCode, *words: str) -> None:
    with pytest.raises(WasiNNError) as error:
        call()
    assert error.value.code is code, str(error.value)
    for word in words:
        assert word in str(error.value)


def native(path: Path, count: int, prompt: str = PROMPT, **options: Any) -> str:
    """What llama-cpp-python's own class writes, greedily."""
    from llama_cpp import Llama

    model = Llama(str(path), n_ctx=512, n_threads=1, n_threads_batch=1, verbose=False, **options)
    found = b""
    for token in model.generate(model.tokenize(prompt.encode(), special=True), temp=0.0, repeat_penalty=1.0):
        found += model._model.token_to_piece(token).rstrip(b"\0")  # of its buffer's size
        count -= 1
        if count == 0:
            break
    model.close()
    return found.decode()


# -- writing ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(4))
def test_greedy_text_is_that_of_llama_cpp_python(seed: int, tmp_path: Path) -> None:
    file = tmp_path / "model.gguf"
    file.write_bytes(llama_models.tiny(seed))
    wanted = native(file, 40)
    for source in (file, file.read_bytes()):
        graph = load(source)
        assert computed(graph, GREEDY) == wanted
        pieces = streamed(opened(graph, GREEDY))
        assert "".join(pieces) == wanted
        assert len(pieces) == 40


@pytest.mark.parametrize("name", ["story", "story_f16", "story_f32"])
def test_the_shipped_model(name: str) -> None:
    from llama_cpp import Llama

    file = Path(wasinn.__file__).parent / "shipped" / "models" / f"{name}.gguf"
    if not file.is_file():
        pytest.skip(f"there is no {name}.gguf yet")
    graph = load(file)
    options = {"temp": 0, "threads": 1, "chat": True}
    pieces = streamed(opened(graph, options, "Who are you?"))
    assert "".join(pieces) == computed(graph, options, "Who are you?")
    theirs = Llama(str(file), n_ctx=512, n_threads=1, n_threads_batch=1, verbose=False)
    prompt = "<|im_start|>user\nWho are you?<|im_end|>\n<|im_start|>assistant\n"
    wanted = theirs.create_completion(prompt, max_tokens=None, temperature=0, stop=["<|im_end|>"])
    theirs.close()
    assert wanted["choices"][0]["text"] == "".join(pieces)
    assert wanted["usage"]["completion_tokens"] == len(pieces)


def test_graph_says_what_it_takes_and_gives(graph: Any) -> None:
    assert isinstance(graph, Configurable)
    assert [(spec.name, spec.any_size, spec.optional) for spec in graph.inputs] == [
        ("prompt", True, False),
        ("options", True, True),
    ]
    assert [spec.name for spec in graph.outputs] == ["text", "metadata"]
    execution = graph.open()
    assert isinstance(execution, Streaming)
    assert isinstance(execution, Interruptible)


def test_metadata_can_be_read_at_once(graph: Any) -> None:
    execution = graph.open()
    assert not execution.is_ready(1)
    execution.set_input(0, tensor(PROMPT))
    assert execution.is_ready(1)
    assert not execution.is_ready(0)
    before = metadata(execution)
    assert before["input_tokens"] > 10
    assert before["output_tokens"] == 0
    assert set(before) >= {"llama_build_number", "llama_commit"}
    execution.set_input(1, tensor(json.dumps(GREEDY)))
    execution.compute()
    assert metadata(execution) == {**before, "output_tokens": 40}
    assert execution.usage.prompt_tokens == before["input_tokens"]
    assert execution.usage.generated_tokens == 40
    assert execution.usage.generate_seconds > 0
    execution.compute()
    assert execution.usage.generated_tokens == 80


def test_inputs_come_in_any_order_and_the_last_counts(graph: Any) -> None:
    wanted = computed(graph, GREEDY)
    execution = graph.open()
    execution.set_input(0, tensor("another prompt"))
    execution.set_input(0, tensor(PROMPT))
    execution.set_input(1, tensor('{"temp": 0, "n-predict": 3, "stop": "a"}'))
    execution.set_input(1, tensor(json.dumps(GREEDY)))  # the stop of before is gone
    execution.compute()
    assert text(execution) == wanted


def test_options_of_the_guest_count_before_those_of_the_graph(graph: Any) -> None:
    other = graph.with_options(json.dumps({**GREEDY, "n-predict": 5}))
    assert other.model is graph.model  # the native one is shared
    assert len(streamed(opened(other))) == 5
    assert len(streamed(opened(other, {"n-predict": 3}))) == 3
    assert len(streamed(opened(other.with_options('{"n-predict": 4}')))) == 4
    assert "".join(streamed(opened(other))) == computed(graph, {**GREEDY, "n-predict": 5})


def test_a_sequence_is_ended_and_begun_anew(graph: Any) -> None:
    execution = opened(graph, GREEDY)
    refused(lambda: execution.output(0), ErrorCode.RUNTIME_ERROR, "compute first")
    refused(lambda: execution.output_single(0), ErrorCode.RUNTIME_ERROR, "compute_single first")
    execution.compute_single()
    first = text(execution)
    execution.compute_single()
    assert text(execution).startswith(first)  # the text so far
    assert metadata(execution)["output_tokens"] == 2
    execution.fini_single()
    assert not execution.is_ready(0)
    pieces = streamed(execution)
    assert "".join(pieces) == computed(graph, GREEDY) == text(execution)
    refused(execution.compute_single, ErrorCode.END_OF_SEQUENCE)  # and stays there
    execution.compute()  # which begins anew
    assert text(execution) == "".join(pieces)
    assert streamed(execution) == pieces
    execution.set_input(0, tensor("another"))
    assert streamed(execution) != pieces


def test_what_is_written_is_utf8_at_every_step() -> None:
    graph = load(llama_models.tiny(bytes_only=True))
    for seed in range(5):
        options = {**GREEDY, "temp": 2, "top-k": 0, "top-p": 1, "min-p": 0, "seed": seed, "n-predict": 100}
        pieces = streamed(opened(graph, options))  # which decodes each of them
        whole = computed(graph, options)
        assert "".join(pieces) == whole
        assert "�" in whole


def test_stop_sequences_are_never_shown(graph: Any) -> None:
    whole = computed(graph, GREEDY)
    for start in (5, 9, 13):
        stop = whole[start : start + 4]
        wanted = whole[: whole.index(stop)]
        options = {**GREEDY, "stop": ["never", stop]}
        assert computed(graph, options) == wanted
        assert "".join(streamed(opened(graph, options))) == wanted
    # What could have become one comes with the last token.
    options = {**GREEDY, "stop": whole[-1] + "never"}
    assert computed(graph, options) == "".join(streamed(opened(graph, options))) == whole


def test_nothing_is_written_where_nothing_is_wanted(graph: Any) -> None:
    assert computed(graph, {"n-predict": 0}) == ""
    assert streamed(opened(graph, {"n-predict": 0})) == []


def test_a_full_context(graph: Any) -> None:
    execution = opened(graph, {"temp": 0, "ctx-size": 60, "threads": 1})
    size = metadata(execution)["input_tokens"]
    refused(execution.compute, ErrorCode.CONTEXT_FULL, "60 tokens")
    assert text(execution)
    # One more than there is room for: the last is not decoded.
    assert metadata(execution)["output_tokens"] == 60 - size + 1
    wanted = text(execution)
    assert "".join(streamed(execution, ErrorCode.CONTEXT_FULL)) == text(execution) == wanted
    # With room for all that is wanted it is none.
    assert computed(graph, {**GREEDY, "ctx-size": 60, "n-predict": 60 - size + 1}) == wanted


def test_a_prompt_that_is_too_long(graph: Any) -> None:
    execution = opened(graph, {"temp": 0, "ctx-size": 10})
    size = metadata(execution)["input_tokens"]
    refused(execution.compute, ErrorCode.PROMPT_TOO_LONG, str(size), "context 10")
    refused(execution.compute_single, ErrorCode.PROMPT_TOO_LONG)
    execution.set_input(1, tensor(json.dumps({**GREEDY, "ctx-size": size, "n-predict": 1})))
    execution.compute()  # which just fits
    # More than the model was trained with is not to be had.
    execution = opened(graph, {"ctx-size": 100_000}, "word " * 1000)
    refused(execution.compute, ErrorCode.PROMPT_TOO_LONG, f"context {llama_models.CONTEXT}")


def test_a_prompt_longer_than_a_batch(graph: Any) -> None:
    wanted = computed(graph, GREEDY)
    for batch, ubatch in ((7, 7), (1, 512), (16, 3)):
        assert computed(graph, {**GREEDY, "batch-size": batch, "ubatch-size": ubatch}) == wanted


def test_an_empty_prompt(graph: Any) -> None:
    assert computed(graph, GREEDY, "")  # goes on from the token that begins a text
    execution = opened(graph, {**GREEDY, "add-special": False}, "")
    refused(execution.compute, ErrorCode.INVALID_ARGUMENT, "prompt is empty")
    refused(graph.open().compute, ErrorCode.RUNTIME_ERROR, "no prompt")


def test_any_bytes_are_a_prompt(graph: Any, caplog: pytest.LogCaptureFixture) -> None:
    numbers = np.random.RandomState(0)
    # llama.cpp ends the process over what is no UTF-8, where the vocabulary is of pairs of bytes.
    for each in (graph, load(llama_models.byte_pairs())):
        for _ in range(20):
            opened(each, {**GREEDY, "n-predict": 2}, numbers.bytes(50)).compute()
        caplog.clear()
        llama_options._warned.clear()
        found, wanted = (opened(each, GREEDY, prompt) for prompt in (b"a\0\xff\xe2\x82", "a\0\ufffd\ufffd"))
        assert metadata(found) == metadata(wanted)
        assert caplog.messages == ["the prompt is not UTF-8 at byte 2 of 5; U+FFFD is read there"]


def test_words_without_end(graph: Any) -> None:
    # The regular expressions of some vocabularies need stack for each character of a word.
    for each in (load(llama_models.byte_pairs("deepseek-llm")), graph):
        for unit in ("a", "€", " ", "\n"):
            found = opened(each, GREEDY, unit * 100_000)
            refused(found.compute, ErrorCode.PROMPT_TOO_LONG, f"prompt has {metadata(found)['input_tokens']}")
        refused(lambda: opened(each, GREEDY, "a" * 200_001), ErrorCode.INVALID_ARGUMENT, "no space")  # noqa: B023
        assert metadata(opened(each, GREEDY, "ab " * 100_000))["input_tokens"] > 200_000


def test_characters_that_the_vocabulary_cannot_spell() -> None:
    # llama.cpp would end the process over them.
    graph = load(llama_models.tiny().replace(b"<0x21>", b"<gone>"))
    assert computed(graph, GREEDY, "hello € world")
    refused(lambda: opened(graph, GREEDY, "hello!"), ErrorCode.INVALID_ARGUMENT, "'!'")
    refused(lambda: opened(graph, GREEDY, b"hello!\xff"), ErrorCode.INVALID_ARGUMENT, "'!'")


# -- options ------------------------------------------------------------------------------------------


def test_wrong_options_leave_those_of_before(graph: Any) -> None:
    execution = opened(graph, GREEDY)
    refused(lambda: execution.set_input(1, tensor('{"temp": "x"}')), ErrorCode.INVALID_ARGUMENT, "temp")
    refused(lambda: execution.set_input(1, tensor("temp")), ErrorCode.INVALID_ENCODING)
    refused(lambda: graph.with_options('{"n-predict": null}'), ErrorCode.INVALID_ARGUMENT, "n-predict")
    execution.compute()
    assert text(execution) == computed(graph, GREEDY)


def test_a_seed_makes_the_same_text_again(graph: Any) -> None:
    options = {"n-predict": 30, "seed": 7, "threads": 1}
    assert computed(graph, options) == computed(graph, options)
    execution = opened(graph, options)
    assert streamed(execution) == (execution.fini_single(), streamed(execution))[1]
    assert computed(graph, {**options, "seed": 8}) != computed(graph, options)
    free = {"n-predict": 30, "temp": 1.5, "threads": 1}
    assert computed(graph, free) != computed(graph, free)


@pytest.mark.parametrize(
    "changed",
    [
        {"top-k": 1},
        {"top-p": 0.01},
        {"min-p": 1},
        {"temp": 0.01},
        {"repeat-penalty": 3, "repeat-last-n": -1},
        {"presence-penalty": 5},
        {"frequency-penalty": 5},
        {"typical-p": 0.05},
    ],
)
def test_every_sampler_has_an_effect(graph: Any, changed: dict[str, Any]) -> None:
    plain = {"temp": 1.5, "top-k": 0, "top-p": 1, "min-p": 0, "n-predict": 30, "seed": 3, "threads": 1}
    found = computed(graph, {**plain, **changed})
    assert found != computed(graph, plain)
    if set(changed) & {"top-k", "min-p", "temp"} or "top-p" in changed:
        assert found == computed(graph, {**GREEDY, "n-predict": 30})


def test_numbers_at_their_limits_do_no_harm(graph: Any) -> None:
    for config in (
        {"temp": 100},
        {"temp": 1e-9},
        {"top-p": 0, "typical-p": 0, "min-p": 1, "top-k": 2**31 - 1},
        {"repeat-penalty": 100, "repeat-last-n": 2**31 - 1, "presence-penalty": 100},
        {"repeat-penalty": 0.01, "frequency-penalty": -100, "repeat-last-n": 0},
        {"batch-size": 1 << 20, "ubatch-size": 1 << 20, "threads": 1024, "ctx-size": 1 << 31},
        {"ctx-size": 0},
        {"ctx-size": 1},
    ):
        execution = opened(graph, {"threads": 1, "n-predict": 5, **config})
        if config.get("ctx-size") == 1:
            refused(execution.compute, ErrorCode.PROMPT_TOO_LONG)
        else:
            execution.compute()
        execution.close()


def test_a_grammar(graph: Any) -> None:
    options = {"grammar": 'root ::= ("cat" | "dog") " " [0-9]{3} "!"', "seed": 1, "threads": 1}
    found = computed(graph, options)
    assert found[:3] in ("cat", "dog")
    assert found[4:7].isdecimal()
    assert found[7:] == "!"
    assert "".join(streamed(opened(graph, options))) == found


def test_a_json_schema(graph: Any) -> None:
    schema = {
        "type": "object",
        "properties": {"kind": {"enum": ["cat", "dog"]}, "old": {"type": "boolean"}},
        "required": ["kind", "old"],
    }
    for given in (schema, json.dumps(schema)):
        options = {"json-schema": given, "n-predict": 300, "seed": 2, "threads": 1}
        found = json.loads(computed(graph, options))
        assert found["kind"] in ("cat", "dog")
        assert found["old"] in (True, False)


@pytest.mark.parametrize(
    ("config", "words"),
    [
        ({"grammar": "root ::= (("}, ["grammar", "expecting"]),
        ({"grammar": "rot ::= [a]"}, ["grammar", "'root'"]),
        ({"grammar": "root ::= other"}, ["grammar", "Undefined rule identifier 'other'"]),
        ({"grammar": 'root ::= root "a"'}, ["grammar", "left recursion"]),
        ({"grammar": "root ::= " + "(" * 100_000}, ["grammar", "at most 65536"]),
        ({"grammar": "root ::= " + "(" * 10_000 + '"a"' + ")" * 10_000}, ["grammar", "deeper than 200"]),
        ({"grammar": 'root ::= "\x1b[31m'}, ["grammar", "unexpected end"]),
        ({"json-schema": {"$ref": "https://example.org/x.json"}}, ["json-schema", "not allowed"]),
        ({"json-schema": {"$ref": "#/no/such"}}, ["json-schema"]),
        ({"json-schema": {"type": "no such type"}}, ["json-schema"]),
        ({"json-schema": {"type": "string", "minLength": 10**9}}, ["json-schema", "2000 repetitions"]),
        ({"json-schema": {"type": "string", "pattern": "^((a{99}){99}){99}$"}}, ["json-schema", "2000"]),
    ],
)
def test_a_wrong_grammar_is_refused_with_the_reason(
    graph: Any, config: dict[str, Any], words: list[str], capfd: pytest.CaptureFixture[str]
) -> None:
    execution = opened(graph, GREEDY)
    refused(lambda: execution.set_input(1, tensor(json.dumps(config))), ErrorCode.INVALID_ARGUMENT, *words)
    assert capfd.readouterr().err == ""  # llama.cpp would write all of the grammar there


def test_a_grammar_that_no_token_can_go_on_with(graph: Any) -> None:
    # llama.cpp takes a token that ends the text where the text may end only; its own loop ends the process.
    execution = opened(graph, {"grammar": 'root ::= "a" <[2]> "b"', "threads": 1})
    refused(execution.compute, ErrorCode.RUNTIME_ERROR, "cannot go on")
    assert text(execution) == "a"
    execution.set_input(1, tensor(json.dumps(GREEDY)))
    execution.compute()
    assert text(execution) == computed(graph, GREEDY)


def test_a_chat_by_the_models_template(graph: Any) -> None:
    chats = load(llama_models.tiny(extra=llama_models.template()))
    plain = "<|im_start|>user\nhello<|im_end|>\n<|im_start|>assistant\n"
    before = "<|im_start|>system\nBe brief.<|im_end|>\n"
    assert computed(chats, {**GREEDY, "chat": True}, "hello") == computed(graph, GREEDY, plain)
    messages = [{"role": "system", "content": "Be brief."}]
    assert computed(chats, {**GREEDY, "chat": messages}, "hello") == computed(graph, GREEDY, before + plain)
    messages.append({"role": "user", "content": "hello"})
    assert computed(chats, {**GREEDY, "chat": messages}, "") == computed(graph, GREEDY, before + plain)

    def chat(graph: Any, prompt: str | bytes = "hello") -> Callable[[], object]:
        return lambda: opened(graph, {"chat": True}, prompt)

    refused(chat(graph), ErrorCode.UNSUPPORTED_OPERATION, "no chat template")
    odd = load(llama_models.tiny(extra=llama_models.template("{{ messages[0].content }}")))
    refused(chat(odd), ErrorCode.UNSUPPORTED_OPERATION, "does not know", "messages[0].content")
    refused(chat(chats, ""), ErrorCode.INVALID_ARGUMENT, "no message")
    refused(chat(chats, b"a\0b"), ErrorCode.INVALID_ARGUMENT, "zero byte")


def test_gpu_layers_without_gpu_support(graph: Any, path: Path) -> None:
    from llama_cpp import llama_cpp

    if llama_cpp.llama_supports_gpu_offload():
        pytest.skip("this build of llama.cpp can compute on a GPU")
    assert set(LlamaBackend().devices()) == {Target.CPU}
    code = ErrorCode.UNSUPPORTED_OPERATION
    refused(lambda: graph.with_options('{"n-gpu-layers": 1}'), code, "n-gpu-layers", "no GPU support")
    refused(lambda: opened(graph, {"n-gpu-layers": 99}), code, "n-gpu-layers")
    refused(lambda: load(path, Target.GPU), code, "gpu")
    assert computed(graph, {**GREEDY, "n-gpu-layers": 0}) == computed(graph, GREEDY)
    assert computed(load(path, Target.AUTO), GREEDY) == computed(graph, GREEDY)


def test_no_mmap_loads_anew_and_writes_the_same(graph: Any) -> None:
    other = graph.with_options('{"no-mmap": true}')
    assert other.model is not graph.model
    assert computed(other, GREEDY) == computed(graph, GREEDY)


def test_the_log_is_quiet_unless_asked_for(graph: Any, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG, "wasinn.llama"):
        computed(graph, {**GREEDY, "ctx-size": 300})
        assert caplog.records == []
        computed(graph, {**GREEDY, "ctx-size": 300, "enable-log": True})
        assert any("n_ctx" in record.getMessage() for record in caplog.records)
        assert {record.levelno for record in caplog.records} <= {logging.INFO, logging.WARNING}


# -- embeddings ---------------------------------------------------------------------------------------


def embedding(graph: Any, prompt: str = PROMPT, **options: Any) -> Any:
    found = json.loads(computed(graph, {"embedding": True, "threads": 1, **options}, prompt))
    assert found["n_embedding"] == len(found["embedding"]) == llama_models.WIDTH
    return np.array(found["embedding"])


@pytest.mark.parametrize("pooling", [0, 1, 2, 3])
def test_embeddings_are_those_of_llama_cpp_python(pooling: int, tmp_path: Path) -> None:
    from llama_cpp import Llama

    file = tmp_path / "model.gguf"
    file.write_bytes(llama_models.tiny(extra=llama_models.pooled(pooling)))
    theirs = Llama(str(file), embedding=True, n_ctx=512, n_threads=1, verbose=False)
    wanted = np.array(theirs.embed(PROMPT))
    theirs.close()
    if wanted.ndim == 2:
        wanted = wanted.mean(axis=0)
    wanted /= np.linalg.norm(wanted)
    graph = load(file)
    assert np.abs(embedding(graph) - wanted).max() < 1e-5
    # In batches that are shorter than the text, too.
    assert np.abs(embedding(graph, **{"batch-size": 7}) - wanted).max() < 2e-3
    assert np.abs(embedding(graph, **{"batch-size": 16, "ubatch-size": 3}) - wanted).max() < 2e-3


def test_a_model_that_makes_embeddings_only(tmp_path: Path) -> None:
    from llama_cpp import Llama

    file = tmp_path / "model.gguf"
    file.write_bytes(llama_models.tiny(extra=llama_models.seeing_all()))
    theirs = Llama(str(file), embedding=True, n_ctx=512, n_threads=1, verbose=False)
    wanted = np.array(theirs.embed(PROMPT))
    theirs.close()
    graph = load(file)
    # All of the text must be in one batch, whatever the options say.
    found = embedding(graph, **{"batch-size": 4, "ubatch-size": 2})
    assert np.abs(found - wanted / np.linalg.norm(wanted)).max() < 1e-5
    refused(opened(graph, GREEDY).compute, ErrorCode.UNSUPPORTED_OPERATION, "embedding")
    refused(opened(graph, GREEDY).compute_single, ErrorCode.UNSUPPORTED_OPERATION, "embedding")


def test_an_embedding_comes_whole(graph: Any) -> None:
    execution = opened(graph, {"embedding": True})
    refused(execution.compute_single, ErrorCode.UNSUPPORTED_OPERATION, "embedding")
    execution.compute()
    assert execution.usage == Usage(metadata(execution)["input_tokens"], 0, 0.0)
    refused(opened(graph, {"embedding": True, "ctx-size": 8}).compute, ErrorCode.PROMPT_TOO_LONG)
    execution.set_input(1, tensor(json.dumps(GREEDY)))
    execution.compute()
    assert text(execution) == computed(graph, GREEDY)


# -- files --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda data: b"", "it begins with b''"),
        (lambda data: b"ggml" + data, "it begins with b'ggml'"),
        (lambda data: data[:8], "failed to read header"),
        (lambda data: data[:1000], "failed to read key-value pairs"),
        (lambda data: data[:100_000], "corrupted or incomplete"),
        (lambda data: data[:8] + b"\xff" * 8 + data[16:], "number of tensors"),
    ],
)
def test_a_file_that_is_no_whole_gguf(change: Callable[[bytes], bytes], words: str, tmp_path: Path) -> None:
    data = change(llama_models.tiny())
    file = tmp_path / "model.gguf"
    file.write_bytes(data)
    refused(lambda: load(data), ErrorCode.INVALID_ENCODING, words)
    refused(lambda: load(file), ErrorCode.INVALID_ENCODING, words)


def test_a_model_that_lacks_something(tmp_path: Path) -> None:
    data = llama_models.tiny().replace(b"llama.block_count", b"llama.block_counx")
    refused(lambda: load(data), ErrorCode.RUNTIME_ERROR, "key not found in model: llama.block_count")
    refused(lambda: load(tmp_path / "none.gguf"), ErrorCode.RUNTIME_ERROR, "No such file")
    both = Model(builders=(b"", b""))
    refused(
        lambda: LlamaBackend().load(both, Encoding.GGML, Target.CPU, LoadOptions()),
        ErrorCode.INVALID_ARGUMENT,
        "one builder",
    )


# -- many at once -------------------------------------------------------------------------------------


def test_many_contexts_in_many_threads(graph: Any) -> None:
    prompts = [f"the cat and the dog {number}" for number in range(64)]
    options = {**GREEDY, "n-predict": 20}
    wanted = [computed(graph, options, prompt) for prompt in prompts]
    executions = [opened(graph, options, prompt) for prompt in prompts]  # all of them at once

    def work(execution: Any) -> str:
        return "".join(streamed(execution))

    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        assert list(pool.map(work, executions)) == wanted
    for execution in executions:
        execution.close()


def test_a_graph_may_go_before_its_contexts(path: Path) -> None:
    graph = load(path)
    wanted = computed(graph, GREEDY)
    execution = opened(graph, GREEDY)
    execution.compute_single()
    del graph
    execution.compute()
    assert text(execution) == wanted
    execution.close()
    execution.close()
    refused(execution.compute, ErrorCode.RUNTIME_ERROR, "closed")


def test_interrupt_ends_what_is_running(graph: Any) -> None:
    endless = {"temp": 0, "grammar": 'root ::= "a" root', "threads": 1}
    execution = opened(graph, {**endless, "ctx-size": 512})
    execution.compute_single()
    execution.interrupt()
    refused(execution.compute_single, ErrorCode.RUNTIME_ERROR, "interrupted")
    refused(execution.compute, ErrorCode.RUNTIME_ERROR, "interrupted")
    # From another thread, over and over until it is in the middle.
    caught = 0
    for delay in (0.001, 0.005, 0.01, 0.02):
        execution = opened(graph, {**endless, "ctx-size": 512})
        execution.compute_single()  # the context is there
        timer = threading.Timer(delay, execution.interrupt)
        timer.start()
        began = time.perf_counter()
        try:
            while True:
                execution.compute()
        except WasiNNError as error:
            caught += "interrupted" in str(error)
        assert time.perf_counter() - began < 5
        timer.join()
        execution.close()
    assert caught


def test_interrupt_ends_a_prompt_in_the_middle_of_a_batch() -> None:
    graph = load(llama_models.tiny(layers=30))
    options, prompt = {**GREEDY, "n-predict": 1}, "the cat " * 60
    began = time.perf_counter()
    computed(graph, options, prompt)
    whole = time.perf_counter() - began
    shares = []
    for _ in range(5):
        execution = opened(graph, options, prompt)
        timer = threading.Timer(whole / 4, execution.interrupt)
        timer.start()
        began = time.perf_counter()
        refused(execution.compute, ErrorCode.RUNTIME_ERROR, "interrupted")
        shares.append((time.perf_counter() - began) / whole)
        timer.join()
        execution.close()
    assert min(shares) < 0.8


def test_the_library_is_loaded_only_when_it_is_wanted() -> None:
    code = (
        "import sys; from wasinn.backends import llama, lookup; lookup.all_backends();"
        "llama.LlamaBackend().version(); assert 'llama_cpp' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


#: What a process does that ends while a thread of its own still writes.
_ENDS = """
import json, pathlib, sys, threading
sys.path.insert(0, sys.argv[2])
import test_llama
graph = test_llama.load(pathlib.Path(sys.argv[1]))
execution = test_llama.opened(graph, {"temp": 0, "threads": 1})
def work():
    while True:
        try:
            execution.compute()
        except Exception:
            pass
threading.Thread(target=work, daemon=True).start()
print(test_llama.computed(graph, test_llama.GREEDY) != "")
"""

#: How much memory many contexts leave.
_FLAT = """
import pathlib, sys
sys.path.insert(0, sys.argv[2])
import test_llama
graph = test_llama.load(pathlib.Path(sys.argv[1]))
def size():
    return int(next(line.split()[1] for line in open("/proc/self/status") if line.startswith("VmRSS")))
def some(count):
    for number in range(count):
        options = dict(test_llama.GREEDY, **{"n-predict": 3})
        if number % 3 == 0:
            options["grammar"] = 'root ::= "cat"+'
        if number % 5 == 0:
            options["embedding"] = True
        execution = test_llama.opened(graph, options)
        if number % 2:
            execution.compute()
        elif not options.get("embedding"):
            execution.compute_single()  # and left in the middle
        execution.close()
some(200)
before = size()
some(1000)
print(size() - before)
"""


def _in_a_process(code: str, path: Path) -> str:
    command = [sys.executable, "-c", code, str(path), str(Path(__file__).parent)]
    done = subprocess.run(command, check=True, capture_output=True, text=True, timeout=300)
    assert done.stderr == ""
    return done.stdout.strip()


def test_a_process_ends_while_a_thread_writes(path: Path) -> None:
    assert _in_a_process(_ENDS, path) == "True"


@pytest.mark.skipif(sys.platform != "linux", reason="/proc/self/status")
def test_memory_is_flat_over_a_thousand_contexts(path: Path) -> None:
    assert int(_in_a_process(_FLAT, path)) < 4096  # KiB; a context is 2 MiB


@pytest.mark.skipif(sys.platform != "linux", reason="/proc/self/maps")
def test_a_closed_graph_leaves_no_model() -> None:
    graph = load(llama_models.tiny())

    def mapped() -> int:
        return Path("/proc/self/maps").read_text().count("wasinn-model")

    gc.collect()  # what earlier tests left may go meanwhile
    before = mapped()
    assert before
    execution = opened(graph, GREEDY)
    execution.compute()
    del graph
    assert mapped() == before
    execution.close()
    del execution
    assert mapped() < before


# -- what a guest may ask for ---------------------------------------------------------------------------


BOMBS = (
    'root ::= "a" root "b" | "a" root "c"',
    'root ::= ("a" root)? "b"',
    'root ::= ("(" root)*',
    "\n".join(f'r{n} ::= r{n + 1} "x" | r{n + 1} "y"' for n in range(30)) + '\nr30 ::= "z"\nroot ::= r0',
    'root ::= (a{100}){100}\na ::= "x" | "xx"',
    'root ::= "a"{1,900000000}',
    "root ::= " + "(" * 190 + '"a"' + "){9}" * 190,
)
MEEK = (
    'root ::= "yes" | "no"',
    "root ::= [a-z] root",
    'root ::= (("a"*)*)*',
    'root ::= ([a-z]+ " ")+ "." # "a" root "b"',
    'root ::= one | two\none ::= "(" [^)"\\]]* ")" two\ntwo ::= "x" one | ""',
)


def test_grammars_of_guests_have_a_bound(graph: Any) -> None:
    guarded = graph.for_guests()
    for grammar in BOMBS:
        for give in (
            lambda: guarded.with_options(json.dumps({"grammar": grammar})),  # noqa: B023
            lambda: opened(guarded, {"grammar": grammar}),  # noqa: B023
        ):
            refused(give, ErrorCode.UNSUPPORTED_OPERATION, "grammar", "isolation=process")
    for grammar in MEEK:
        opened(guarded, {"grammar": grammar}).close()
        guarded.with_options(json.dumps({"grammar": grammar}))
    # The operator's own is not looked at, and stays with a guest's options.
    own = graph.with_options(json.dumps({"grammar": BOMBS[1]})).for_guests()
    opened(own, {"temp": 0}).close()
    opened(own, {"grammar": BOMBS[1]}).close()


def test_schemas_of_guests_have_a_bound(graph: Any) -> None:
    guarded = graph.for_guests()
    text = {"type": "string"}
    properties = {"a": text, "b": {"type": "number"}, "c": {"type": "array", "items": {"type": "integer"}}}
    meek: tuple[Any, ...] = (
        {},
        {"type": "object"},
        {"type": "object", "properties": properties, "required": ["a"]},
        {"type": "array", "items": {"type": "object", "properties": properties}},
        {"type": "string", "pattern": "^(a*)*$"},
    )
    for schema in meek:
        opened(guarded, {"json-schema": schema}).close()
    itself = {"$ref": "#/$defs/x", "$defs": {"x": {"type": "array", "items": {"$ref": "#/$defs/x"}}}}
    wide: Any = {"type": "string"}
    for _ in range(3):
        wide = {"type": "object", "properties": dict.fromkeys("abcdefgh", wide)}
    for schema, code in (
        (itself, ErrorCode.INVALID_ARGUMENT),  # its references are more than the converter takes
        (wide, ErrorCode.UNSUPPORTED_OPERATION),
    ):
        refused(lambda: opened(guarded, {"json-schema": schema}), code, "json-schema")  # noqa: B023


def test_a_slow_grammar_can_be_interrupted(graph: Any) -> None:
    # Some thousand readings at once, each of which looks at every token.
    slow = (
        "root ::= r r r r r r\nr ::= s s s s s s\ns ::= t t t t t\nt ::= u*\n"
        'u ::= "a" | "aa" | "aaa" | [a-z]*'
    )
    execution = opened(graph.for_guests(), {"grammar": slow, "temp": 0, "threads": 1})
    threading.Timer(0.3, execution.interrupt).start()
    began = time.monotonic()
    refused(execution.compute, ErrorCode.RUNTIME_ERROR, "interrupted")
    assert time.monotonic() - began < 20
    execution.close()


def test_prompts_that_cannot_fit_are_not_tokenised(graph: Any) -> None:
    prompt = b"a " * (20 << 20)
    began = time.monotonic()
    for options in (GREEDY, {**GREEDY, "chat": [{"role": "user", "content": "x"}]}):
        execution = opened(graph, None, prompt)
        execution.set_input(1, tensor(json.dumps(options)))
        refused(execution.compute, ErrorCode.PROMPT_TOO_LONG, f"{len(prompt)} bytes")
        refused(execution.compute_single, ErrorCode.PROMPT_TOO_LONG, "ctx-size")
        execution.set_input(1, tensor("{}"))
        execution.set_input(0, tensor("hello"))
        execution.compute_single()
        execution.close()
    assert time.monotonic() - began < 10


def test_options_have_a_size(graph: Any) -> None:
    messages = json.dumps({"chat": [{"role": "user", "content": ""}] * 100_000})
    refused(
        lambda: graph.open().set_input(1, tensor(messages)),
        ErrorCode.TOO_LARGE,
        "1048576",
        str(len(messages)),
    )


def test_memory_of_a_context_has_a_bound(graph: Any) -> None:
    execution = opened(graph, {"ctx-size": 1, "batch-size": 1 << 20, "ubatch-size": 1 << 20})
    assert execution.context_tokens == 256  # what it takes at least
    execution.set_input(1, tensor('{"ctx-size": 0}'))
    assert execution.context_tokens == graph.model.trained_context
    for size in (512, 4096, 65536):
        execution._model = SimpleNamespace(trained_context=size)
        shape = execution._wanted_shape()
        assert shape.ubatch * shape.size <= max(llama_context.MAX_PAIRS, 512 * shape.size)


def test_the_log_has_room_for_so_many_lines(graph: Any, caplog: pytest.LogCaptureFixture) -> None:
    llama_options._warned.clear()
    for _ in range(60):
        opened(graph, {"ctx-size": 1 << 20}, b"\xff")
    assert len(caplog.messages) == 20


def test_small_work_is_left_to_one_thread(graph: Any) -> None:
    asked: list[tuple[int, int]] = []
    for options, wanted in (({}, (1, 1)), ({"threads": 2}, (2, 2))):
        execution = opened(graph, {**GREEDY, "threads": 0, "n-predict": 1} | options)
        execution.compute()
        llama = llama_context.library()
        pointer = execution._context.pointer
        asked.append((llama.llama_n_threads(pointer), llama.llama_n_threads_batch(pointer)))
        assert asked[-1] == wanted
        execution.close()
