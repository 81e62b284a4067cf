# SPDX-License-Identifier: Apache-2.0
"""Guests in C as third parties have built them, against headers of their own: they run unmodified."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import wasinn
from conftest import require_backend
from wasinn import shipped
from wasinn.host import GuestHost, Shared
from wasinn.tensors import Tensor

SOURCES = Path(__file__).parent / "c"
MODELS = shipped.ROOT / "models"


def compiled(name: str, folder: Path) -> Path:
    if importlib.util.find_spec("ziglang") is None:
        pytest.skip("ziglang is not installed")
    target = folder / f"{name}.wasm"
    command = [sys.executable, "-m", "ziglang", "cc", "-target", "wasm32-wasi", "-O2", "-o", str(target)]
    subprocess.run([*command, str(SOURCES / f"{name}.c")], check=True, capture_output=True)
    return target


def native(source: str, values: np.ndarray) -> np.ndarray:
    """What the graph gives for the same numbers without a guest."""
    host = wasinn.Host(graphs={"m": source})
    direct = GuestHost(Shared(host.registry))
    context = direct.init_execution_context(direct.load_by_name("m"))
    direct.set_input(context, 0, Tensor.of(values))
    direct.compute(context)
    return direct.output(context, 0).numpy().ravel().copy()


def test_a_guest_of_the_older_numbering_with_garbage_in_the_padding(tmp_path: Path) -> None:
    require_backend("litert")
    guest = compiled("old_tflite", tmp_path)
    result = wasinn.Host().run(guest, ["/m/digits_u8.tflite"], dirs={"/m": MODELS})
    assert result.exit_code == 0, result.stderr
    pixels = (4 * np.arange(64)).astype("u1").reshape(1, 8, 8, 1)
    assert result.stdout.split() == [b"%d" % each for each in native("tflite:@digits_u8.tflite", pixels)]


def test_a_guest_with_builders_of_two_parts(tmp_path: Path) -> None:
    require_backend("openvino")
    guest = compiled("two_builders", tmp_path)
    result = wasinn.Host().run(guest, ["/m/digits.xml", "/m/digits.bin"], dirs={"/m": MODELS})
    assert result.exit_code == 0, result.stderr
    values = (np.arange(64) / 64).astype("<f4").reshape(1, 1, 8, 8)
    scores = native("openvino:@digits.xml,@digits.bin", values)
    assert [int(each) for each in result.stdout.split()] == pytest.approx((scores * 1000).tolist(), abs=1)
