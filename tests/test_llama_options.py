# SPDX-License-Identifier: Apache-2.0
"""The options of a language model, as guests write them."""

from __future__ import annotations

import json
import logging

import pytest

from wasinn.backends.llama_options import Options
from wasinn.errors import WasiNNError
from wasinn.spec import ErrorCode


def test_every_key_is_read() -> None:
    config = {
        "enable-log": True,
        "enable-debug-log": True,
        "stream-stdout": True,
        "ctx-size": 128,
        "n-predict": 7,
        "n-gpu-layers": 0,
        "main-gpu": 1,
        "no-mmap": True,
        "batch-size": 64,
        "ubatch-size": 32,
        "threads": 3,
        "temp": 0,
        "top-k": 5,
        "top-p": 0.5,
        "min-p": 0.25,
        "typical-p": 0.75,
        "repeat-penalty": 1.5,
        "repeat-last-n": -1,
        "presence-penalty": 0.5,
        "frequency-penalty": -0.5,
        "seed": 42,
        "stop": ["a", "b", "a", ""],
        "chat": [{"role": "system", "content": "Be brief."}],
        "add-special": False,
        "embedding": True,
        "grammar": "",
        "json-schema": {"type": "object"},
    }
    assert Options().updated(json.dumps(config)) == Options(
        n_gpu_layers=0,
        main_gpu=1,
        no_mmap=True,
        ctx_size=128,
        batch_size=64,
        ubatch_size=32,
        threads=3,
        add_special=False,
        chat=(("system", "Be brief."),),
        embedding=True,
        n_predict=7,
        stop=("a", "b"),
        json_schema='{"type": "object"}',
        temp=0.0,
        top_k=5,
        top_p=0.5,
        min_p=0.25,
        typical_p=0.75,
        repeat_penalty=1.5,
        repeat_last_n=-1,
        presence_penalty=0.5,
        frequency_penalty=-0.5,
        seed=42,
        enable_log=True,
        enable_debug_log=True,
        stream_stdout=True,
    )


def test_keys_that_are_not_there_keep_what_they_have() -> None:
    first = Options().updated('{"temp": 0, "ctx-size": 64}')
    second = first.updated(b'{"ctx-size": 32, "reverse-prompt": "END"}\0')
    assert (second.temp, second.ctx_size, second.stop) == (0.0, 32, ("END",))


def test_unknown_keys_are_named_in_one_line_of_the_log(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING, "wasinn.guest"):
        assert Options().updated('{"tmp": 0, "mmproj": "x", "temp": 0.5}').temp == 0.5
    assert [record.getMessage() for record in caplog.records] == [
        "language model options that are not known here are ignored: 'mmproj', 'tmp'"
    ]


@pytest.mark.parametrize(
    ("config", "reason"),
    [
        ('{"temp": "hot"}', 'temp: wanted a number from 0 to 100, got "hot"'),
        ('{"temp": true}', "temp: wanted a number from 0 to 100, got true"),
        ('{"temp": -1}', "temp: wanted a number from 0 to 100, got -1"),
        ('{"temp": NaN}', "temp: wanted a number from 0 to 100, got NaN"),
        ('{"temp": 1e999}', "temp: wanted a number from 0 to 100, got Infinity"),
        ('{"top-p": 1.5}', "top-p: wanted a number from 0 to 1, got 1.5"),
        ('{"ctx-size": 512.0}', "ctx-size: wanted an integer from 0 to 2147483648 (0: what the model"),
        ('{"ctx-size": true}', "ctx-size: wanted an integer"),
        ('{"n-predict": "10"}', "n-predict: wanted an integer from -2 to 2147483647 (-1 and -2: to the end)"),
        ('{"n-gpu-layers": -2}', "n-gpu-layers: wanted an integer from -1"),
        ('{"batch-size": 0}', "batch-size: wanted an integer from 1"),
        ('{"seed": 4294967296}', "seed: wanted an integer from -1 to 4294967295"),
        ('{"enable-log": 1}', "enable-log: wanted true or false, got 1"),
        ('{"embedding": "true"}', 'embedding: wanted true or false, got "true"'),
        ('{"stop": 1}', "stop: wanted a string or a list of strings, got 1"),
        ('{"stop": ["a", 1]}', "stop: wanted a string or a list of strings"),
        ('{"grammar": ["x"]}', "grammar: wanted a string"),
        ('{"grammar": "a\\u0000b"}', "grammar: wanted a string without U+0000"),
        ('{"grammar": "x", "json-schema": {}}', "grammar and json-schema exclude each other"),
        ('{"json-schema": "{"}', "json-schema: wanted a JSON schema"),
        ('{"json-schema": "[]"}', "json-schema: wanted a JSON schema (an object"),
        ('{"chat": "hello"}', "chat: wanted true, false or a list of messages"),
        ('{"chat": [{"role": "user"}]}', "chat: wanted true, false or a list of messages"),
        ('{"chat": [{"role": "user", "content": 1}]}', "chat: wanted true, false or a list of messages"),
        ('{"chat": [["user", "hello"]]}', "chat: wanted true, false or a list of messages"),
    ],
)
def test_a_wrong_value_is_refused_with_its_key(config: str, reason: str) -> None:
    with pytest.raises(WasiNNError) as error:
        Options().updated(config)
    assert error.value.code is ErrorCode.INVALID_ARGUMENT
    assert f"options: {reason}" in str(error.value)


def test_a_blank_text_is_no_options() -> None:
    for blank in ("", " \n", b"\0"):
        assert Options(temp=0.5).updated(blank) == Options(temp=0.5)


@pytest.mark.parametrize(
    "config",
    ["{", "temp=0", "[1]", "null", '"x"', b"\xff{}", "[" * 100_000, '{"temp": ' + "1" * 10_000 + "}"],
)
def test_what_is_no_json_object_is_refused_as_such(config: str | bytes) -> None:
    with pytest.raises(WasiNNError) as error:
        Options().updated(config)
    assert error.value.code is ErrorCode.INVALID_ENCODING
    assert "wanted a JSON object" in str(error.value)


def test_halves_of_surrogate_pairs_do_no_harm() -> None:
    options = Options().updated('{"stop": "\\ud800", "chat": [{"role": "user", "content": "\\udfff"}]}')
    assert options.stop == ("?",)
    assert options.chat == (("user", "?"),)
