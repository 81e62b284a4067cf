# SPDX-License-Identifier: Apache-2.0
"""`components`: a guest that is a component against the core module that does the same.

A tensor in and out and a model loaded are timed from Python around one exported function of each guest;
the three models by the guest `@bench` itself, which is shipped as both; and whole runs of it, by the host.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

import models
import wasinn
from measures.bed import BenchmarkError, GuestLoop, block_of, in_thread, kept_file, model_file, new_host
from measures.component_guests import COMPONENT, CORE, DATA
from measures.pairs import Block, Effort, Kind, Pair, Row, timed

#: A tensor of an image, f32 [1, 3, 224, 224], and a small one; for the first the target.
SIZES = (602_112, 4096)
CONSTRUCTOR_TARGET = 1.0e-3
#: At most so many times what the core module takes.
END_TO_END_TARGET = 1.5
#: The model, and the calls of a block.
LOOPS = (("tiny", 400), ("squeezenet", 24), ("relu", 6))
#: A side of the square of weights of the large model: 100 MB.
SIDE = 5000
#: What one call from Python may give a component as a list of bytes, with room to spare.
_PUT = 1 << 20


def measure(effort: Effort) -> list[Row]:
    rows = in_thread(lambda: [*_tensors(effort), *_loads(effort)])
    for name, calls in LOOPS:
        rows += [_loop(name, effort.calls(calls), effort.rounds), _runs(name, effort.rounds)]
    return rows


def _tensors(effort: Effort) -> list[Row]:
    rows = []
    for size in SIZES:
        host = wasinn.Host(graphs={"copy": f"onnx:{kept_file(f'copy{size}.onnx', _copy(size), _HERE)}"})
        with host.instantiate(COMPONENT) as component, host.instantiate(CORE) as core:
            rows += _tensor(size, component, core, effort)
    return rows


def _tensor(size: int, component: Any, core: Any, effort: Effort) -> list[Row]:
    data = np.random.default_rng(size).integers(0, 127, size, np.uint8).tobytes()  # no NaN
    _fill(component, data)
    core.memory[DATA : DATA + size] = data
    _check("open", core.call("open"))
    _check("set_input", core.call("in", size))
    _check("compute", core.call("run"))
    made = component.call("new", size)
    tensors = component.state.tensors
    if component.call("data", made) != size or tensors[next(iter(tensors))].data.tobytes() != data:
        raise BenchmarkError("the tensor's bytes are not those that the guest gave")
    calls = effort.calls(200)
    put, out, nothing = [], [], []
    for _ in range(effort.rounds):
        nothing.append(timed(lambda: component.call("nothing", size), calls, 5))
        put.append((timed(lambda: core.call("in", size), calls, 5), _constructor(component, size, calls)))
        _check("compute", core.call("run"))  # each input takes the outputs away
        out.append(
            (
                timed(lambda: core.call("out", size), calls, 5),
                timed(lambda: component.call("data", made), calls, 5),
            )
        )
    target = CONSTRUCTOR_TARGET if size == SIZES[0] else None
    empty = tuple(Pair(call, pair[1]) for call, pair in zip(nothing, put, strict=True))
    return [
        Row(f"constructor, {size} B", "component", "a call that does nothing", Kind.ADDED, target, empty),
        Row(f"tensor in, {size} B", "component", "core module", Kind.RATIO, None, _pairs(put)),
        Row(f"tensor out, {size} B", "component", "core module", Kind.RATIO, None, _pairs(out)),
    ]


def _constructor(component: Any, size: int, calls: int) -> Block:
    """The calls of the constructor; that the tensor goes again is not timed."""
    times = []
    for number in range(calls + 5):
        start = time.perf_counter()
        made = component.call("new", size)
        times.append(time.perf_counter() - start)
        component.call("drop", made)
        if number == 4:
            times.clear()  # they were the warm-up
    return Block(float(np.median(times)), min(times))


def _loads(effort: Effort) -> list[Row]:
    files = {"5 MB": model_file("squeezenet")}
    if effort.scale >= 1:
        files["100 MB"] = kept_file("square.onnx", _write_square, _HERE, Path(models.__file__))
    rows = []
    for size, file in files.items():
        model = file.read_bytes()
        rounds = 5 if size == "100 MB" else effort.rounds
        rows.append(_load(f"load, {size}", model, rounds))
    return rows


def _load(name: str, model: bytes, rounds: int) -> Row:
    """Each load is the first of a fresh instance, whose memory has the model already."""
    host = wasinn.Host()
    guests = {kind: host.guest(text) for kind, text in (("core", CORE), ("component", COMPONENT))}

    def load(kind: str) -> Block:
        instance: Any
        with host.instantiate(guests[kind]) as instance:
            if kind == "core":
                instance.call("reserve", len(model))
                instance.memory[DATA : DATA + len(model)] = model
            else:
                _fill(instance, model)
            start = time.perf_counter()
            code = instance.call("load", len(model))
            seconds = time.perf_counter() - start
        _check("load", code)
        return Block(seconds, seconds)

    load("core"), load("component")
    pairs = tuple(Pair(load("core"), load("component")) for _ in range(rounds))
    return Row(name, "component", "core module", Kind.RATIO, None, pairs)


def _loop(name: str, calls: int, rounds: int) -> Row:
    warm_up = calls // 10 + 1
    core = GuestLoop(new_host(name), name, calls, warm_up)
    component = GuestLoop(core.host, name, calls, warm_up, guest_name="@bench_component")
    expected = str(json.loads(core.run())["checksum"])
    block_of(component.run(), expected)
    pairs = tuple(
        Pair(block_of(core.run(), expected), block_of(component.run(), expected)) for _ in range(rounds)
    )
    return Row(f"loop {name}", "component", "core module", Kind.RATIO, END_TO_END_TARGET, pairs)


def _runs(name: str, rounds: int) -> Row:
    """Whole runs: an instance, the model by its name, one inference of a context of its own, the end."""
    host = new_host(name)
    guests = [host.guest(guest) for guest in ("@bench", "@bench_component")]
    arguments = GuestLoop(host, name, 1, 0).arguments

    def run(guest: wasinn.Guest | wasinn.ComponentGuest) -> None:
        if not host.run(guest, arguments).ok:
            raise BenchmarkError(f"{guest.name} on {name}")

    calls = 20 if name == "tiny" else 5
    pairs = tuple(Pair(*(timed(partial(run, guest), calls, 2) for guest in guests)) for _ in range(rounds))
    return Row(f"whole run {name}", "component", "core module", Kind.RATIO, END_TO_END_TARGET, pairs)


# -- what they do it with ---------------------------------------------------------------------------------

_HERE = Path(__file__)


def _pairs(blocks: list[tuple[Block, Block]]) -> tuple[Pair, ...]:
    return tuple(Pair(*pair) for pair in blocks)


def _check(what: str, code: int) -> None:
    if code:
        raise BenchmarkError(f"{what} answered {code}")


def _fill(component: Any, data: bytes) -> None:
    """Puts the bytes into the guest's memory, one piece after another."""
    for start in range(0, len(data), _PUT):
        component.call("put", data[start : start + _PUT])


def _copy(size: int) -> Callable[[Path], None]:
    """Writes a model that gives its input, f32 [size / 4], back."""

    def write(path: Path) -> None:
        layers = models.Layers()
        layers.node("Identity", "x")
        layers.write(path, [size // 4], [size // 4])

    return write


def _write_square(path: Path) -> None:
    layers = models.Layers()
    layers.node("MatMul", "x", layers.weight(SIDE, SIDE, scale=SIDE**-0.5))
    layers.write(path, [1, SIDE], [1, SIDE])
