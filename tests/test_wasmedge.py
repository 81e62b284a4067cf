# SPDX-License-Identifier: Apache-2.0
"""What WasmEdge adds to `wasi_ephemeral_nn`; its `unload` and `finalize` are in test_lifetimes.py."""

from __future__ import annotations

import pytest

import models
from calls import BOTH, STREAMING, Call, infer, opened, reason, reasons
from conftest import MakeDriver
from driver import Driver
from wasinn.runtime.engine import FUNCTIONS

INVALID, ENCODING, MODEL_NOT_FOUND = 1, 2, 103


def load(driver: Driver, name: bytes, config: bytes) -> tuple[int, int]:
    out = driver.out()
    code = driver.call(
        "load_by_name_with_config", driver.put(name), len(name), driver.put(config), len(config), out
    )
    return code, driver.u32(out)


@pytest.mark.parametrize("config", [b"", b" ", b"{}", b'{"threads": 2}', '{"é": "ü"}'.encode()])
def test_a_graph_is_loaded_by_name_with_a_config(drive: MakeDriver, config: bytes) -> None:
    driver = drive({"model": models.identity()})
    assert load(driver, b"model", config) == (0, 0)
    assert infer(driver, driver.context(0)[1]) == [1, 2, 3, 4]


def test_the_name_is_the_same_with_a_config_and_without(drive: MakeDriver) -> None:
    driver = drive({"model": models.identity()})
    assert driver.load_by_name("model") == (0, 0)
    assert load(driver, b"model", b"{}") == (0, 0)
    assert driver.call("unload", 0) == 0
    assert load(driver, b"model", b"{}") == (0, 1)


@pytest.mark.parametrize(
    ("config", "code", "words"),
    [
        (b"{", ENCODING, "the config for 'model' is not JSON"),
        (b"threads=2", ENCODING, "is not JSON"),
        (b"[1]", INVALID, "is not a JSON object"),
        (b"7", INVALID, "is not a JSON object"),
        (b"\xff", INVALID, "the config is not UTF-8"),
    ],
)
def test_a_config_that_is_not_an_object_is_refused(
    drive: MakeDriver, caplog: pytest.LogCaptureFixture, config: bytes, code: int, words: str
) -> None:
    driver = drive({"model": models.identity()})
    assert load(driver, b"model", config)[0] == code
    assert words in reason(caplog)


def test_a_config_that_is_nested_too_deep_is_refused_as_any_other(drive: MakeDriver) -> None:
    driver = drive({"model": models.identity()})
    assert load(driver, b"model", b"[" * 60_000)[0] in (INVALID, ENCODING)


def test_an_unknown_name_with_a_config_is_no_model(
    drive: MakeDriver, caplog: pytest.LogCaptureFixture
) -> None:
    assert load(drive({"model": models.identity()}), b"nobody", b"{}")[0] == MODEL_NOT_FOUND
    assert "model_not_found (103): no graph is called 'nobody'; known: model" in reason(caplog)


def test_options_that_a_graph_does_not_take_are_told(
    drive: MakeDriver, caplog: pytest.LogCaptureFixture
) -> None:
    driver = drive({"model": models.identity()})
    assert load(driver, b"model", b'{"n-predict": 10, "ctx-size": 5}')[0] == 0
    assert "graph 'model' takes no options" in caplog.text
    assert "ctx-size, n-predict" in caplog.text


def test_options_that_are_ignored_neither_fill_nor_forge_the_log(
    drive: MakeDriver, caplog: pytest.LogCaptureFixture
) -> None:
    driver = drive({"model": models.identity()})
    for _ in range(500):
        driver._next = 1024
        assert load(driver, b"model", b'{"a\\nWARNING forged": 1}')[0] == 0
    assert len(caplog.records) <= 101
    assert not any("\n" in record.getMessage() for record in caplog.records)


@BOTH
@pytest.mark.parametrize("name", STREAMING)
def test_a_graph_that_does_not_stream_refuses_the_streaming_calls(
    drive: MakeDriver, caplog: pytest.LogCaptureFixture, name: str, hot: bool
) -> None:
    driver, context = opened(drive, models.identity(), hot)
    infer(driver, context)
    function = next(each for each in FUNCTIONS if each.name == name)
    assert Call(driver, function, 0, context).run() == INVALID
    assert f"{name} is for language models that stream; this onnx graph computes at once" in reason(caplog)
    assert driver.get_f32(context, 0) == [1, 2, 3, 4]
    assert reasons(caplog) == []
