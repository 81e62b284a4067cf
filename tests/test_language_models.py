# SPDX-License-Identifier: Apache-2.0
"""Language models through the host: the conventions of WasmEdge's guests, here and in worker processes."""

from __future__ import annotations

import functools
import io
import json
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import component_c
import wasinn
from calls import reason, reasons
from conftest import MakeDriver, Run, require_backend
from driver import Driver
from test_isolation import wait_for
from test_old_guests import compiled
from wasinn import ConfigError, GraphSource, WasiNNError, shipped
from wasinn.cli.main import main
from wasinn.graphs.isolated_streaming import IsolatedLanguageModel
from wasinn.graphs.recorded import MemoryRecorder
from wasinn.graphs.text import text_tensor
from wasinn.host import GuestHost, Shared
from wasinn.runtime.direct import DirectGraph
from wasinn.runtime.generation import Generation

STORY = shipped.ROOT / "models" / "story.gguf"
PROMPT = "Once upon a time"
#: Of what the shipped model can go on with for long.
GREEDY = {"temp": 0, "n-predict": 12}
INVALID, ENCODING, RUNTIME, UNSUPPORTED, TOO_LARGE, NOT_FOUND = 1, 2, 5, 6, 7, 8
END_OF_SEQUENCE, CONTEXT_FULL, PROMPT_TOO_LONG, MODEL_NOT_FOUND = 100, 101, 102, 103
U8 = 3

WHERE = pytest.mark.parametrize("isolation", ["none", "process"])


@pytest.fixture(autouse=True)
def _backend() -> None:
    require_backend("llama")


def story(isolation: str = "none", **llm: Any) -> GraphSource:
    # One thread: where others compute as well, two wait for each other longer than a small model takes.
    return GraphSource.from_files(STORY, encoding="ggml", isolation=isolation, threads=1, llm=GREEDY | llm)


@functools.cache
def native(**options: Any) -> str:
    """What the model writes without a guest."""
    with DirectGraph("m", story()) as graph:
        return "".join(graph.generate(PROMPT, **options))


def give(driver: Driver, context: int, text: str | bytes = PROMPT, index: int = 0, code: int = U8) -> int:
    data = text if isinstance(text, bytes) else text.encode()
    return driver.set_input(context, index, [1], code, data)


def options(driver: Driver, context: int, **values: Any) -> int:
    return give(driver, context, json.dumps({key.replace("_", "-"): each for key, each in values.items()}), 1)


def text(driver: Driver, context: int, index: int = 0) -> str:
    code, data, _ = driver.get_output(context, index)
    assert code == 0
    return data.decode()


def measures(driver: Driver, context: int) -> tuple[int, int]:
    found = json.loads(text(driver, context, 1))
    return found["input_tokens"], found["output_tokens"]


def piece(driver: Driver, context: int, index: int = 0, size: int = 24576) -> tuple[int, bytes, int]:
    buffer, written = driver.put(bytes(size)), driver.out()
    code = driver.call("get_output_single", context, index, buffer, size, written)
    count = driver.u32(written)
    return code, driver.get(buffer, count) if code == 0 else b"", count


def stream(driver: Driver, context: int, most: int = 1000) -> tuple[int, list[str]]:
    """The errno that ended it (0: `most` were enough), and the pieces."""
    pieces: list[str] = []
    while len(pieces) < most:
        code = driver.call("compute_single", context)
        if code:
            return code, pieces
        pieces.append(piece(driver, context, size=256)[1].decode())
    return 0, pieces


def load(driver: Driver, name: str, config: str) -> tuple[int, int]:
    out, data, options = driver.out(), name.encode(), config.encode()
    arguments = (driver.put(data), len(data), driver.put(options), len(options), out)
    return driver.call("load_by_name_with_config", *arguments), driver.u32(out)


def opened(drive: MakeDriver, isolation: str = "none", **llm: Any) -> tuple[Driver, int]:
    driver = drive({"m": story(isolation, **llm)})
    return driver, driver.open("m")


# -- a guest in C, as its authors write them ----------------------------------------------------------


@pytest.fixture(scope="module")
def guest(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return compiled("language_model", tmp_path_factory.mktemp("guest"))


@WHERE
def test_a_guest_of_the_convention(guest: Path, isolation: str) -> None:
    source = GraphSource.from_files(STORY, encoding="ggml", isolation=isolation, threads=1)
    host = wasinn.Host({"m": source})
    config = json.dumps({"temp": 0, "n-predict": 30, "ctx-size": 256, "enable-log": False})
    result = host.run(guest, ["whole", "m", PROMPT, '{"n-predict": 12}', config])
    assert result.exit_code == 0, result.stderr
    before, *lines, after = result.stdout.decode().splitlines()
    assert "\n".join(lines) == native()
    assert json.loads(before) == json.loads(after) | {"output_tokens": 0}
    assert json.loads(after)["output_tokens"] == 12
    assert {"llama_commit", "llama_build_number"} <= json.loads(after).keys()

    result = host.run(guest, ["stream", "m", PROMPT, "-", json.dumps(GREEDY)])
    assert result.exit_code == 0, result.stderr
    pieces = result.stdout.decode().removesuffix("\n").split("\n")
    written = native()
    assert "\n".join(pieces).endswith(f"\n{written}")
    assert "".join(pieces) == written.replace("\n", "") * 2
    stats = result.stats
    assert stats.failures == 0
    assert (stats.prompt_tokens, stats.generated_tokens) == (json.loads(before)["input_tokens"], 12)
    assert stats.generate_seconds > 0


def test_a_guest_that_brings_its_model(guest: Path) -> None:
    arguments = ["bytes", f"/m/{STORY.name}", PROMPT, json.dumps(GREEDY | {"threads": 1})]
    result = wasinn.Host().run(guest, arguments, dirs={"/m": STORY.parent})
    assert result.exit_code == 0, result.stderr
    assert "\n".join(result.stdout.decode().splitlines()[1:-1]) == native()
    assert result.stats.isolated == 1
    refused = wasinn.Host(permissions=wasinn.Permissions(load=False))
    assert refused.run(guest, arguments, dirs={"/m": STORY.parent}).exit_code == 10 + UNSUPPORTED


#: Text that has no end but the context's.
ENDLESS = {"n-predict": -1, "grammar": "root ::= [a-z] root"}


@WHERE
def test_a_deadline_ends_a_guest_between_tokens(guest: Path, isolation: str) -> None:
    host = wasinn.Host({"m": story(isolation, **ENDLESS)})
    host.preload()
    begun = time.monotonic()
    result = host.run(guest, ["forever", "m", PROMPT, "-", ""], deadline=1.5)
    assert result.limit == "deadline"
    assert time.monotonic() - begun < 4
    assert result.stats.generated_tokens > 10
    assert host.run(guest, ["whole", "m", PROMPT, json.dumps(GREEDY | {"grammar": ""}), ""]).exit_code == 0


# -- the calls ----------------------------------------------------------------------------------------


@WHERE
@pytest.mark.parametrize("code", [U8, 2], ids=["u8", "u8 as before October 2023"])
def test_a_prompt_and_its_text(drive: MakeDriver, isolation: str, code: int) -> None:
    driver, context = opened(drive, isolation)
    assert driver.get_output(context, 1)[0] == RUNTIME
    assert give(driver, context, code=code) == 0
    tokens, none = measures(driver, context)
    assert tokens > 0
    assert none == 0
    assert driver.get_output(context, 0)[0] == RUNTIME  # no text before a compute
    assert driver.compute(context) == 0
    assert text(driver, context) == native()
    assert measures(driver, context) == (tokens, 12)
    assert driver.compute(context) == 0  # anew, and greedily the same
    assert text(driver, context) == native()


@WHERE
def test_pieces_are_the_text(drive: MakeDriver, isolation: str, caplog: pytest.LogCaptureFixture) -> None:
    driver, context = opened(drive, isolation)
    assert give(driver, context) == 0
    assert piece(driver, context)[0] == RUNTIME
    reasons(caplog)
    code, pieces = stream(driver, context)
    assert code == END_OF_SEQUENCE
    assert "".join(pieces) == native() == text(driver, context)
    assert driver.call("compute_single", context) == END_OF_SEQUENCE
    assert reasons(caplog) == []  # an end is no failure
    assert driver.instance.stats.failures == 1
    assert driver.call("fini_single", context) == 0
    assert piece(driver, context)[0] == RUNTIME
    assert stream(driver, context)[1] == pieces
    assert driver.call("fini_single", context) == 0
    assert driver.compute(context) == 0
    assert text(driver, context) == native()


@WHERE
def test_a_sequence_can_be_left_in_the_middle(drive: MakeDriver, isolation: str) -> None:
    driver, context = opened(drive, isolation)
    assert give(driver, context) == 0
    code, pieces = stream(driver, context, 4)
    assert code == 0
    assert text(driver, context) == "".join(pieces)  # the text so far
    assert measures(driver, context)[1] == 4
    assert give(driver, context, "The sun") == 0  # another prompt begins another
    assert driver.get_output(context, 0)[0] == RUNTIME
    assert stream(driver, context)[0] == END_OF_SEQUENCE
    other = text(driver, context)
    assert give(driver, context) == 0
    assert give(driver, context, "The sun") == 0
    assert driver.compute(context) == 0
    assert text(driver, context) == other


@WHERE
def test_options_of_the_guest_count_before_those_of_the_load_and_of_the_operator(
    drive: MakeDriver, isolation: str
) -> None:
    driver = drive({"m": story(isolation, **{"n-predict": 3})})

    def tokens(graph: int, **values: Any) -> int:
        code, context = driver.context(graph)
        assert code == 0
        assert give(driver, context) == 0
        if values:
            assert options(driver, context, **values) == 0
        assert driver.compute(context) == 0
        return measures(driver, context)[1]

    code, graph = driver.load_by_name("m")
    assert code == 0
    assert tokens(graph) == 3
    assert tokens(graph, n_predict=7) == 7
    assert driver.call("unload", graph) == 0
    code, graph = load(driver, "m", '{"n-predict": 5}')
    assert code == 0
    assert tokens(graph) == 5
    assert tokens(graph, n_predict=7) == 7
    assert tokens(graph, seed=3) == 5


@WHERE
@pytest.mark.parametrize(
    ("given", "code", "words"),
    [
        ('{"n-predict": "ten"}', INVALID, ["n-predict", '"ten"']),
        ('{"temp": -1}', INVALID, ["temp", "-1"]),
        ("n-predict=10", ENCODING, ["JSON"]),
    ],
)
def test_options_that_are_wrong_change_nothing(
    drive: MakeDriver,
    caplog: pytest.LogCaptureFixture,
    isolation: str,
    given: str,
    code: int,
    words: list[str],
) -> None:
    driver, context = opened(drive, isolation)
    assert give(driver, context) == 0
    assert give(driver, context, given, 1) == code
    line = reason(caplog)
    assert all(word in line for word in words), line
    assert driver.compute(context) == 0
    assert text(driver, context) == native()
    driver = drive({"m": story(isolation)})
    assert load(driver, "m", given)[0] == code
    line = reason(caplog)
    assert all(word in line for word in words), line
    assert load(driver, "m", "{}") == (0, 0)


@WHERE
def test_options_that_nobody_knows_are_told(
    drive: MakeDriver, caplog: pytest.LogCaptureFixture, isolation: str
) -> None:
    driver, context = opened(drive, isolation)
    assert give(driver, context) == 0
    assert options(driver, context, colour="blue", n_predict=2) == 0
    (line,) = [record.getMessage() for record in caplog.records]
    assert "colour" in line
    assert driver.compute(context) == 0
    assert measures(driver, context)[1] == 2


@WHERE
def test_a_name_is_the_same_graph_until_it_is_unloaded(
    drive: MakeDriver, caplog: pytest.LogCaptureFixture, isolation: str
) -> None:
    driver = drive({"m": story(isolation)})
    assert load(driver, "m", '{"n-predict": 5}') == (0, 0)
    assert caplog.text == ""
    assert load(driver, "m", '{"n-predict": 6}') == (0, 0)
    assert "graph 'm' is loaded already, and keeps its options; ignored: n-predict" in caplog.text
    assert driver.load_by_name("m") == (0, 0)
    context = driver.context(0)[1]
    assert give(driver, context) == 0
    assert driver.compute(context) == 0
    assert driver.call("unload", 0) == 0
    assert measures(driver, context)[1] == 5  # a context of it can be read
    assert driver.compute(context) == INVALID
    assert driver.call("compute_single", context) == INVALID
    assert give(driver, context) == INVALID
    assert driver.call("unload", 0) == INVALID
    assert load(driver, "m", '{"n-predict": 6}') == (0, 1)
    assert driver.call("finalize_execution_context", context) == 0
    assert driver.get_output(context, 0)[0] == INVALID


def test_a_model_that_is_not_there(drive: MakeDriver) -> None:
    driver = drive({"m": story()})
    assert load(driver, "nobody", "{}")[0] == MODEL_NOT_FOUND
    assert driver.load_by_name("nobody")[0] == NOT_FOUND
    forbidden = drive({"m": story()}, wasinn.Permissions(names=frozenset({"other"})))
    assert load(forbidden, "m", "{}")[0] == MODEL_NOT_FOUND


@WHERE
def test_a_buffer_that_is_too_small_is_told_the_size(drive: MakeDriver, isolation: str) -> None:
    driver, context = opened(drive, isolation)
    assert give(driver, context) == 0
    assert driver.compute(context) == 0
    size = len(native().encode())
    assert driver.get_output(context, 0, size - 1) == (TOO_LARGE, b"", size)
    assert driver.get_output(context, 0, size)[2] == size
    assert stream(driver, context, 3)[0] == 0
    code, _, wanted = piece(driver, context, 1, 1)
    assert code == TOO_LARGE
    assert wanted == len(piece(driver, context, 1)[1]) > 1


@WHERE
def test_a_context_that_is_full_keeps_its_text(
    drive: MakeDriver, caplog: pytest.LogCaptureFixture, isolation: str
) -> None:
    driver, context = opened(drive, isolation, **ENDLESS, **{"ctx-size": 24})
    assert give(driver, context, "A") == 0
    assert driver.compute(context) == CONTEXT_FULL
    assert "context_full (101)" in reason(caplog)
    assert "24" in reason_of(driver)
    written = text(driver, context)
    assert written
    code, pieces = stream(driver, context)
    assert code == CONTEXT_FULL
    assert "".join(pieces) == text(driver, context) == written
    assert give(driver, context, "word " * 100) == 0
    assert driver.compute(context) == PROMPT_TOO_LONG
    assert driver.call("compute_single", context) == PROMPT_TOO_LONG
    assert options(driver, context, ctx_size=0, n_predict=2) == 0
    assert give(driver, context) == 0
    assert driver.compute(context) == 0


def reason_of(driver: Driver) -> str:
    return driver.instance.state.last_error


@WHERE
def test_what_is_missing_or_of_another_type_is_refused(
    drive: MakeDriver, caplog: pytest.LogCaptureFixture, isolation: str
) -> None:
    driver, context = opened(drive, isolation)
    assert driver.compute(context) == INVALID
    assert "0 ('prompt'" in reason(caplog)
    assert driver.call("compute_single", context) == INVALID
    reasons(caplog)
    assert options(driver, context, n_predict=2) == 0
    assert driver.compute(context) == INVALID  # options alone are no prompt
    reasons(caplog)
    assert driver.set_f32(context, 0, [1, 2]) == INVALID
    assert "wanted u8" in reason(caplog)
    assert give(driver, context) == 0
    assert driver.compute(context) == 0
    assert measures(driver, context)[1] == 2


@WHERE
def test_text_that_is_embedded_is_a_vector(drive: MakeDriver, isolation: str) -> None:
    driver, context = opened(drive, isolation, embedding=True)
    assert give(driver, context) == 0
    assert driver.compute(context) == 0
    found = json.loads(text(driver, context))
    assert len(found["embedding"]) == found["n_embedding"] > 1


def test_a_prompt_in_wamrs_dialect_ends_with_a_nul(
    drive: MakeDriver, caplog: pytest.LogCaptureFixture
) -> None:
    driver = drive({"m": story()}, module="wasi_nn")
    context = driver.open("m")
    dims = driver.put((1).to_bytes(4, "little"))
    shape = driver.put(dims.to_bytes(4, "little") + (1).to_bytes(4, "little"))
    u8 = 2

    def tensor(data: int) -> int:
        return driver.put(b"".join(each.to_bytes(4, "little") for each in (shape, u8, data)))

    assert driver.call("set_input", context, 0, tensor(driver.put(PROMPT.encode() + b"\0rest"))) == 0
    assert driver.compute(context) == 0
    size, buffer = driver.put((4096).to_bytes(4, "little")), driver.put(bytes(4096))
    assert driver.call("get_output", context, 0, buffer, size) == 0
    assert driver.get(buffer, driver.u32(size)).decode() == native()
    memory = driver.instance.memory
    end = len(memory)
    memory[end - 8 : end] = b"endless!"
    assert driver.call("set_input", context, 0, tensor(end - 8)) == INVALID
    assert "has no NUL" in reason(caplog)


def test_metadata_says_what_need_not_be_set(drive: MakeDriver) -> None:
    driver = drive({"m": story()})
    assert driver.load_by_name("m")[0] == 0
    found = json.loads(driver.instance.state.host.graph_metadata(0))
    assert [each.get("optional", False) for each in found["inputs"]] == [False, True]
    assert [each["name"] for each in found["outputs"]] == ["text", "metadata"]


def test_dims_of_text_are_never_reshaped(drive: MakeDriver) -> None:
    source = GraphSource.from_files(STORY, encoding="ggml", dims="reshape", threads=1, llm=GREEDY)
    driver = drive({"m": source})
    context = driver.open("m")
    assert give(driver, context) == 0
    assert stream(driver, context)[0] == END_OF_SEQUENCE


# -- worker processes -----------------------------------------------------------------------------------


def worker_of(driver: Driver, context: int) -> Any:
    graph = driver.instance.state.host.context(context).graph.graph
    assert isinstance(graph, IsolatedLanguageModel)
    return graph.graph._owned.current


def kill(driver: Driver, context: int) -> None:
    process = worker_of(driver, context)._process
    process.kill()
    process.wait(10)


def test_a_worker_that_dies_in_the_middle_is_one_error(
    drive: MakeDriver, caplog: pytest.LogCaptureFixture
) -> None:
    driver, context = opened(drive, "process")
    assert give(driver, context) == 0
    assert options(driver, context, n_predict=6) == 0
    assert stream(driver, context, 3)[0] == 0
    kill(driver, context)
    assert driver.call("compute_single", context) == RUNTIME
    assert "the worker process died, and with it what had been generated" in reason(caplog)
    code, pieces = stream(driver, context)
    assert code == END_OF_SEQUENCE
    assert "".join(pieces) == native(n_predict=6)
    # What was computed whole is gone with its process as well, and what was given is not.
    assert driver.compute(context) == 0
    kill(driver, context)
    assert driver.get_output(context, 0)[0] == RUNTIME
    assert driver.compute(context) == 0
    assert text(driver, context) == native(n_predict=6)
    assert driver.instance.stats.prompt_tokens == 4 * measures(driver, context)[0]


def test_a_worker_that_dies_before_a_compute_costs_nothing(drive: MakeDriver) -> None:
    driver, context = opened(drive, "process")
    assert give(driver, context) == 0
    kill(driver, context)
    assert driver.compute(context) == 0
    assert text(driver, context) == native()


def test_a_worker_that_dies_while_it_generates_is_one_error(drive: MakeDriver) -> None:
    driver, context = opened(drive, "process", **ENDLESS)
    assert give(driver, context) == 0
    worker = worker_of(driver, context)
    timer = threading.Timer(0.05, worker._process.kill)
    timer.start()
    for _ in range(2000):
        code = driver.compute(context)
        if code not in (0, CONTEXT_FULL):
            break
    timer.join()
    assert code == RUNTIME
    assert options(driver, context, n_predict=3) == 0
    assert driver.compute(context) == 0


def test_contexts_in_one_worker_have_sequences_of_their_own(drive: MakeDriver) -> None:
    driver = drive({"m": story("process")})
    graph = driver.load_by_name("m")[1]
    contexts = [driver.context(graph)[1] for _ in range(8)]
    for number, context in enumerate(contexts):
        assert give(driver, context) == 0
        assert options(driver, context, n_predict=number + 1) == 0
    found: list[list[str]] = [[] for _ in contexts]
    for _ in contexts:
        for pieces, context in zip(found, contexts, strict=True):
            pieces += stream(driver, context, 1)[1]
    assert len({worker_of(driver, context) for context in contexts}) == 1
    for number, pieces in enumerate(found):
        assert "".join(pieces) == native(n_predict=number + 1)
    # Another context never finds what the last one left.
    assert driver.call("finalize_execution_context", contexts[0]) == 0
    fresh = driver.context(graph)[1]
    assert driver.get_output(fresh, 1)[0] == RUNTIME


def test_text_of_any_length_comes_through(drive: MakeDriver) -> None:
    driver, context = opened(drive, "process")
    assert give(driver, context, "word " * 200_000) == 0
    assert measures(driver, context)[0] > 100_000
    assert driver.compute(context) == PROMPT_TOO_LONG


@WHERE
def test_an_interrupt_ends_a_stream(isolation: str) -> None:
    host = wasinn.Host({"m": story(isolation, **ENDLESS)})
    guest_host = GuestHost(Shared(host.registry))
    context = guest_host.init_execution_context(guest_host.load_by_name("m"))
    guest_host.set_input(context, 0, text_tensor(PROMPT.encode()))
    errors: list[WasiNNError] = []

    def work() -> None:
        while not errors:
            try:
                guest_host.compute(context)
            except WasiNNError as error:
                if error.code != CONTEXT_FULL:
                    errors.append(error)

    thread = threading.Thread(target=work)
    thread.start()
    time.sleep(0.1)
    begun = time.monotonic()
    guest_host.interrupt("limit deadline")
    thread.join(10)
    assert not thread.is_alive()
    assert time.monotonic() - begun < 2
    assert errors[0].code == RUNTIME
    with pytest.raises(WasiNNError, match="ended"):
        guest_host.compute_single(context)
    guest_host.close()
    with DirectGraph("m", story(isolation)) as graph:
        assert "".join(graph.generate(PROMPT)) == native()


# -- components ---------------------------------------------------------------------------------------


@WHERE
def test_a_component_computes_text(isolation: str) -> None:
    driver = component_c.Driver(wasinn.Host({"m": story(isolation)}))
    context = driver.open("m")

    def ask(**given: str) -> tuple[str, Any]:
        tensors = [(name, driver.tensor((1,), "U8", each.encode())) for name, each in given.items()]
        kind, found = driver.compute(context, tensors)
        if kind != "ok":
            return kind, found
        outputs = {name: driver.read(tensor) for name, tensor in found}
        driver.drop(*(tensor for _, tensor in found))
        assert list(outputs) == ["text", "metadata"]
        dims, element, data = outputs["text"]
        assert (dims, element) == ((len(data),), "U8")
        return data.decode(), json.loads(outputs["metadata"][2])["output_tokens"]

    assert ask(prompt=PROMPT) == (native(), 12)
    assert ask(prompt=PROMPT, options='{"n-predict": 4}')[1] == 4
    assert ask(prompt=PROMPT)[1] == 12  # options of the call before are gone
    assert ask(options="{}", prompt=PROMPT)[1] == 12
    kind, why = ask(options='{"n-predict": 4}')
    assert kind == "invalid-argument"
    assert "0 ('prompt'" in why
    assert "options" not in why
    assert ask(prompt=PROMPT, options='{"n-predict": true}')[0] == "invalid-argument"
    kind, why = ask(prompt="word " * 100, options='{"ctx-size": 16}')
    assert kind == "runtime-error"
    assert "ctx-size" in why
    assert ask(prompt=PROMPT) == (native(), 12)
    driver.call("context-drop", context)
    driver.close()


# -- the operator's options -----------------------------------------------------------------------------


def test_options_in_the_text_of_a_graph() -> None:
    source = GraphSource.parse(
        f"ggml:{STORY}?ctx-size=512&temp=0&stop=%5B%22a%22%5D&grammar=root%20::= x&threads=2"
    )
    assert json.loads(source.llm or "") == {
        "ctx-size": 512,
        "temp": 0,
        "stop": ["a"],
        "grammar": "root ::= x",
    }
    assert source.options.threads == 2
    assert GraphSource.parse(f"ggml:{STORY}").llm is None
    assert GraphSource.parse(f"ggml:{STORY}?temp=NaN").llm == '{"temp": "NaN"}'
    assert GraphSource.parse(f"ggml:{STORY}?llm=%7B%22temp%22:0%7D").llm == '{"temp": 0}'


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ("{story}?temp=0", "a language model's follow ggml:PATH"),
        ("onnx:@digits?temp=0", "unknown graph option 'temp'"),
        ("ggml:{story}?temp=0&temp=1", "given twice"),
        ("ggml:{story}?temp=0&llm=%7B%7D", "not both"),
        ("ggml:{story}?llm=7", "llm is a table of options"),
        ("onnx:@digits?llm=%7B%7D", "llm is for language models (ggml), and this graph is onnx"),
    ],
)
def test_options_that_no_graph_has(given: str, words: str) -> None:
    with pytest.raises(ConfigError) as caught:
        GraphSource.parse(given.format(story=STORY))
    assert words in str(caught.value)


def test_options_in_a_configuration_file(tmp_path: Path) -> None:
    file = tmp_path / "wasinn.toml"
    text = f'[graphs.m]\nfiles = ["{STORY}"]\nthreads = 1\npreload = true\n[graphs.m.llm]\n'
    file.write_text(text + 'temp = 0\nn-predict = 4\nstop = ["xyz"]\n')
    host = wasinn.Host.from_config(file)
    with DirectGraph("m", host.registry.source("m")) as graph:
        assert "".join(graph.generate(PROMPT)) == native(n_predict=4)
    file.write_text(text + "since = 2024-01-01\n")
    with pytest.raises(ConfigError, match=r"\[graphs.m\]: llm: "):
        wasinn.Host.from_config(file)
    file.write_text(text + 'n-predict = "many"\n')
    with pytest.raises(WasiNNError, match=r"graph 'm': llm: .*n-predict"):
        wasinn.Host.from_config(file)
    file.write_text('[graphs.m]\nfiles = ["@digits"]\nllm = {temp = 0}\npreload = true\n')
    with pytest.raises(WasiNNError, match="for language models"):
        wasinn.Host.from_config(file)


# -- without a guest ------------------------------------------------------------------------------------


@WHERE
def test_text_is_generated_piece_by_piece(isolation: str) -> None:
    with DirectGraph("m", story(isolation)) as graph:
        pieces = list(graph.generate(PROMPT))
        assert len(pieces) > 3
        assert "".join(pieces) == native()
        assert graph.usage.generated_tokens == 12
        assert len("".join(graph.generate(PROMPT, n_predict=4))) < len(native())
        assert "".join(graph.generate(PROMPT)) == native()  # options of before are gone
        assert "".join(graph.generate(PROMPT.encode())) == native()
        found = graph.infer({"prompt": text_tensor(PROMPT.encode())})
        assert found.outputs[0].tobytes().decode() == native()


@WHERE
def test_what_was_written_before_a_failure_is_counted(isolation: str) -> None:
    with DirectGraph("m", story(isolation)) as graph:
        list(graph.generate(PROMPT))
        with pytest.raises(WasiNNError, match="is full"):
            list(graph.generate("Round and round", ctx_size=64, n_predict=-1))
        assert graph.usage.generated_tokens > 12 + 40


@WHERE
def test_a_generation_stops_where_it_is_closed(isolation: str) -> None:
    with DirectGraph("m", story(isolation)) as graph:
        pieces = graph.generate(PROMPT)
        first = next(pieces)
        pieces.close()
        assert list(pieces) == []
        assert pieces.metadata["output_tokens"] == graph.usage.generated_tokens >= 1
        assert native().startswith(first)
        one = graph.generate(PROMPT)
        next(one)
        other = graph.generate(PROMPT, n_predict=3)  # one is stopped by another
        assert list(one) == []
        assert len("".join(other)) > 0
    assert list(other) == []
    with pytest.raises(ConfigError, match="closed"):
        graph.generate(PROMPT)


@WHERE
def test_a_generation_ends_at_its_deadline(isolation: str) -> None:
    with DirectGraph("m", story(isolation, **ENDLESS)) as graph:
        begun, count = time.monotonic(), 0
        pieces = graph.generate(PROMPT, deadline=1.5)

        def read() -> None:
            nonlocal count
            for _ in pieces:
                count += 1
                time.sleep(0.02)

        with pytest.raises(WasiNNError, match=r"the deadline of 1.5 s passed") as caught:
            read()
        assert caught.value.code == RUNTIME
        assert count
        assert time.monotonic() - begun < 4
        assert "".join(graph.generate(PROMPT, n_predict=12, grammar="")) == native()
        with pytest.raises(ConfigError, match="deadline is a number"):
            graph.generate(PROMPT, deadline=0)


def test_a_generation_that_cannot_be() -> None:
    with DirectGraph("m", story()) as graph:
        with pytest.raises(WasiNNError, match="n-predict"):
            graph.generate(PROMPT, n_predict="ten")
        with pytest.raises(ConfigError, match="no JSON"):
            graph.generate(PROMPT, stop={1, 2})
        with pytest.raises(ConfigError, match="a prompt is text"):
            graph.generate(7)  # type: ignore[arg-type]
        pieces = graph.generate("word " * 100, ctx_size=16)
        with pytest.raises(WasiNNError) as caught:
            next(pieces)
        assert caught.value.code == PROMPT_TOO_LONG
        assert "".join(graph.generate(PROMPT)) == native()
    with DirectGraph("d", "onnx:@digits") as digits, pytest.raises(ConfigError, match="no language model"):
        digits.generate(PROMPT)


@pytest.mark.parametrize("way", ["whole", "stream"])
def test_a_sequence_is_one_record(guest: Path, way: str) -> None:
    recorder = MemoryRecorder()
    host = wasinn.Host({"m": story()})
    result = host.run(guest, [way, "m", PROMPT, "-", ""], record=recorder)
    assert result.exit_code == 0, result.stderr
    (record,) = recorder.records
    assert record.inputs[0].array.tobytes() == PROMPT.encode()
    assert record.outputs[0].array.tobytes().decode() == native()
    assert record.error is None
    assert record.seconds > 0
    assert result.stats.generated_tokens == 12


# -- the command ----------------------------------------------------------------------------------------

ASKED = ["infer", f"ggml:{STORY}?threads=1", "--option", "temp=0", "--option", "n-predict=12"]


def test_infer_writes_what_follows_a_prompt(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    assert run(*ASKED, "--prompt", PROMPT).rstrip("\n") == native().rstrip("\n")
    monkeypatch.setattr("sys.stdin", io.StringIO(PROMPT))
    assert run(*ASKED, "--prompt", "-").rstrip("\n") == native().rstrip("\n")
    (found,) = json.loads(run(*ASKED, "--prompt", PROMPT, "--json"))
    assert found["text"] == native()
    assert found["generated_tokens"] == found["metadata"]["output_tokens"] == 12
    assert found["backend"] == "llama"


def test_infer_shows_tokens_a_second(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*ASKED, "--prompt", PROMPT, "--stats"]) == 0
    out, err = capsys.readouterr()
    assert out.rstrip("\n") == native().rstrip("\n")
    assert "generated 12 (" in err
    assert "tokens/s)" in err


def test_run_shows_tokens_a_second(guest: Path, capfd: pytest.CaptureFixture[str]) -> None:
    graph = f"m=ggml:{STORY}?temp=0&n-predict=12&threads=1"
    assert main(["run", "--graph", graph, "--stats", str(guest), "whole", "m", PROMPT, "-", ""]) == 0
    assert "generated 12 (" in capfd.readouterr().err


def test_infer_says_why_text_ends_early(run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    full = ["--option", "ctx-size=24", "--option", f"grammar={ENDLESS['grammar']}"]
    assert main(["infer", str(STORY), *full, "--prompt", "A"]) == 1
    out, err = capsys.readouterr()
    assert out.endswith("\n")
    assert "context_full" in err
    assert "n-predict" in run(*ASKED[:2], "--prompt", "A", "--option", "n-predict=x", fails=1)


def test_ctrl_c_ends_a_generation(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:

    following: Callable[[Generation], str] = Generation.__next__
    count = 0

    def interrupted(self: Generation) -> str:
        nonlocal count
        count += 1
        if count == 4:
            raise KeyboardInterrupt
        return following(self)

    monkeypatch.setattr(Generation, "__next__", interrupted)
    assert main([*ASKED, "--prompt", PROMPT]) == 130
    out = capsys.readouterr().out
    assert out.endswith("\n")
    assert native().startswith(out.rstrip("\n"))


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["a.png", "--prompt", "x"], "FILE is not for language models"),
        (["--prompt", "x", "--save", "d"], "--save is not for language models"),
        (["--prompt", "x", "--repeat", "2"], "--repeat is not"),
        (["--prompt", "x", "--option", "temp"], "--option is KEY=VALUE, not 'temp'"),
        (["--prompt", "x", "--option", "a=1", "--option", "a=2"], "--option a is given twice"),
        (["--option", "a=1"], "--option needs --prompt TEXT"),
        (["--chat"], "--chat needs --prompt"),
        ([], "or --prompt TEXT"),
        ([str(STORY)], "is a language model: give it --prompt TEXT"),
    ],
)
def test_infer_with_options_that_do_not_go_together(run: Run, arguments: list[str], words: str) -> None:
    assert words in run("infer", f"ggml:{STORY}", *arguments, fails=2)


def test_infer_of_a_prompt_by_another_graph(run: Run) -> None:
    assert "is no language model" in run("infer", "@digits", "--prompt", "x", fails=2)


def test_workers_are_gone_with_their_graphs() -> None:
    with DirectGraph("m", story("process")) as graph:
        "".join(graph.generate(PROMPT))
        loaded = graph.loaded.graph
        assert isinstance(loaded, IsolatedLanguageModel)
        process = loaded.graph._owned.current
        assert process is not None
    del graph, loaded
    assert wait_for(lambda: not process.alive)


# -- what a guest may take --------------------------------------------------------------------------------

BOMB = 'root ::= "a" root "b" | "a" root "c"'


def test_a_grammar_without_bound_is_for_worker_processes(drive: MakeDriver) -> None:
    driver, context = opened(drive)
    assert options(driver, context, grammar=BOMB) == UNSUPPORTED
    assert load(drive({"m": story()}), "m", json.dumps({"grammar": BOMB}))[0] == UNSUPPORTED
    assert give(driver, context) == 0
    assert driver.compute(context) == 0
    assert text(driver, context) == native()
    host = wasinn.Host({"m": story("process")})
    isolated = drive(host=host)
    context = isolated.open("m")
    assert options(isolated, context, grammar=BOMB, n_predict=2) == 0


def test_what_was_refused_is_not_counted(drive: MakeDriver) -> None:
    driver = drive({"m": story()}, wasinn.Permissions(max_input_bytes=100_000))
    context = driver.open("m")
    assert options(driver, context, chat=True) in (0, UNSUPPORTED)
    host = driver.instance.state.host
    assert give(driver, context, "a " * 20_000) == 0
    held = host._held
    for refused in (b"{", b"[]", b'{"temp": "x"}'):
        assert give(driver, context, refused, 1) in (INVALID, ENCODING)
        assert host._held == held
    # Contexts that hold much, and whose last input was small and refused, are full all the same.
    other = driver.context(driver.load_by_name("m")[1])[1]
    assert give(driver, other, "a " * 40_000) == TOO_LARGE
    assert driver.call("finalize_execution_context", context) == 0
    assert host._held == 0
    assert give(driver, other, "a " * 40_000) == 0


@WHERE
def test_memory_for_tokens_has_a_limit(drive: MakeDriver, isolation: str) -> None:
    few = wasinn.Permissions(max_context_tokens=512)
    driver = drive({"m": story(isolation, **{"n-predict": 1})}, few)
    graph = driver.load_by_name("m")[1]
    contexts = [driver.context(graph)[1] for _ in range(3)]
    for context in contexts:
        assert options(driver, context, ctx_size=200) == 0
        assert give(driver, context) == 0
    assert [driver.compute(context) for context in contexts] == [0, 0, TOO_LARGE]
    assert driver.call("compute_single", contexts[2]) == TOO_LARGE
    assert options(driver, contexts[0], ctx_size=512) == 0
    assert driver.compute(contexts[0]) == TOO_LARGE
    assert driver.call("finalize_execution_context", contexts[1]) == 0
    assert driver.compute(contexts[0]) == 0
    # What the operator has set is allowed, once.
    own = drive(
        {"m": story(isolation, **{"n-predict": 1, "ctx-size": 512})}, wasinn.Permissions(max_context_tokens=0)
    )
    graph = own.load_by_name("m")[1]
    contexts = [own.context(graph)[1] for _ in range(2)]
    assert [give(own, context) for context in contexts] == [0, 0]
    assert [own.compute(context) for context in contexts] == [0, TOO_LARGE]


def test_a_refused_input_leaves_a_sequence_that_can_be_lost(drive: MakeDriver) -> None:
    driver, context = opened(drive, "process")
    assert give(driver, context) == 0
    assert len(stream(driver, context, 2)[1]) == 2
    assert give(driver, context, b"{", 1) == ENCODING
    assert stream(driver, context, 1)[0] == 0  # it goes on
    assert give(driver, context, b"{", 1) == ENCODING
    kill(driver, context)
    assert driver.call("compute_single", context) == RUNTIME  # never the same text again without a word
    assert "".join(stream(driver, context)[1]) == native()
