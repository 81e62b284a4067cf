# SPDX-License-Identifier: Apache-2.0
"""Random calls with random arguments: no crash, no hang, no exception, and the host works afterwards.

Runs in a process of its own, so that a crash is a failure with a traceback. WASINN_FUZZ_SECONDS (default 10,
for all dialects together) says for how long, WASINN_FUZZ_SEED which calls.
"""

from __future__ import annotations

import collections
import faulthandler
import logging
import os
import random
import struct
import subprocess
import sys
import time
from pathlib import Path

import pytest
from onnx import TensorProto

import models
import wasinn
from calls import MEMORY_SIZE, STREAMING, VALUES, WAMR, WITX, Call
from driver import HEAP, Driver
from wasinn.runtime.engine import FUNCTIONS
from wasinn.spec import ErrorCode

CASES = [(WITX, "cold"), (WITX, "hot"), (WAMR, "cold")]
SECONDS = float(os.environ.get("WASINN_FUZZ_SECONDS", "10"))
EDGES = [0, 1, 2, 3, 4, 5, 6, 8, 15, 16, 20, 100, 1023, 1024, 1 << 16, 1 << 20, (1 << 31) - 1, 1 << 31]
EDGES += [(1 << 32) - each for each in (1, 2, 4, 8, 16, 20, 1024, 65536)]
EDGES += [MEMORY_SIZE + each for each in (-65536, -1024, -20, -16, -12, -8, -4, -1, 0, 1, 4)]


@pytest.mark.parametrize(("module", "path"), CASES)
def test_random_calls_do_no_harm(module: str, path: str) -> None:
    seed = os.environ.get("WASINN_FUZZ_SEED") or str(random.SystemRandom().randrange(1 << 32))
    seconds = SECONDS / len(CASES)
    print(f"WASINN_FUZZ_SEED={seed}")
    result = subprocess.run(
        [sys.executable, __file__, module, path, seed, str(seconds)],
        capture_output=True,
        text=True,
        timeout=120 + 3 * seconds,
        check=False,
    )
    print(result.stdout)
    assert result.returncode == 0, f"seed {seed}: {result.returncode}\n{result.stderr[-4000:]}"
    assert "Traceback" not in result.stderr


class Fuzzer:
    """One instance, calls that work on it, and a generator that bends them."""

    def __init__(self, module: str, hot: bool, seed: int) -> None:
        self.random = random.Random(seed)
        graphs = {
            "model": models.identity(),
            "add": models.add(),
            "dynamic": models.identity(TensorProto.INT64, ("n", 2)),
        }
        host = wasinn.Host(
            graphs={name: wasinn.GraphSource.from_bytes(model) for name, model in graphs.items()},
            permissions=wasinn.Permissions(max_graphs=6, max_contexts=12),
        )
        self.module = module
        self.driver = Driver(host, module=module, hot=hot)
        self.functions = [each for each in FUNCTIONS if each.module in (module, "wasinn")]
        self.graphs: list[int] = []
        self.contexts: list[int] = []
        self.hottest = 0
        self.outcomes: collections.Counter[tuple[str, int]] = collections.Counter()
        self.calls = {
            (function.name, name): Call(self.driver, function, name=name)
            for function in self.functions
            for name in graphs
        }
        self.top = self.driver._next
        self.pristine = self.driver.get(0, self.top)
        self.addresses = [
            address
            for call in self.calls.values()
            for place in (*call.pointers, *call.lengths)
            for address in (place.address, call.value(place))
            if HEAP <= address < self.top
        ]

    def one(self) -> None:
        """A call of a random function, with arguments that are mostly right."""
        function = self.random.choice(self.functions)
        call = self.calls[function.name, self.random.choice(["model", "model", "add", "dynamic"])]
        bent = self.random.random() < 0.5
        arguments = [
            self.value(parameter, good, bent)
            for parameter, good in zip(function.parameters, call.arguments, strict=True)
        ]
        code = self.call(function.name, arguments)
        if code == 0 and "out" in function.parameters:
            self.made(function.name, arguments[function.parameters.index("out")])

    def call(self, name: str, arguments: list[int]) -> int:
        code = self.driver.call(name, *arguments)
        assert code in set(ErrorCode), f"{name}{tuple(arguments)} -> {code}"
        self.outcomes[name, code] += 1
        return code

    def made(self, name: str, out: int) -> None:
        handles = self.contexts if name == "init_execution_context" else self.graphs
        handles.append(self.driver.u32(out))
        del handles[:-8]

    def value(self, parameter: str, good: int, bent: bool) -> int:
        known = {"graph": self.graphs, "context": self.contexts}.get(parameter)
        if known and self.random.random() < 0.95:
            return self.random.choice(known)
        if not bent or self.random.random() < 0.6:
            return good
        kind = self.random.random()
        if kind < 0.4:
            return self.random.choice(EDGES)
        if kind < 0.7:
            return self.random.choice(self.addresses) + self.random.choice((0, 0, 0, 1, 4, 8))
        if kind < 0.9:
            return (good + self.random.randint(-40, 40)) % (1 << 32)
        return self.random.getrandbits(32)

    def poke(self) -> None:
        """Changes what the structs in the guest's memory say."""
        memory = self.driver.instance.memory
        for _ in range(self.random.randint(1, 3)):
            at = self.random.choice(self.addresses) + self.random.choice((0, 0, 4, 8, 12, 16))
            value = self.random.choice((*EDGES, *self.addresses[:8], self.random.getrandbits(32)))
            memory[at : at + 4] = struct.pack("<I", value)

    def infer(self) -> None:
        """A few good inferences on some context: heats it, if it is one of `model`."""
        if not self.contexts:
            return
        context = self.random.choice(self.contexts)
        for _ in range(3):
            for name in ("set_input", "compute", "get_output"):
                call = self.calls[name, "model"]
                arguments = list(call.arguments)
                arguments[0] = context
                self.call(name, arguments)

    def run(self, seconds: float) -> None:
        end, number = time.monotonic() + seconds, 0
        while number % 256 or time.monotonic() < end:
            number += 1
            if number % 64 == 0:
                self.driver.instance.memory[: self.top] = self.pristine
                self.infer()
            elif number % 8 == 0 and number % 128 < 64:
                self.poke()
            self.one()
            if self.driver.instance.state.hot_path is not None:
                self.hottest = max(self.hottest, len(self.driver.instance.state.hot_path._records))

    def check(self) -> None:
        """That the instance still works: everything is freed, and a whole inference is right."""
        self.driver.instance.memory[: self.top] = self.pristine
        host = self.driver.instance.state.host
        for handles, free in ((host._contexts, "finalize_execution_context"), (host._graphs, "unload")):
            for handle in list(handles):
                if self.module == WITX:
                    assert self.driver.call(free, handle) == 0
        driver = self.driver
        if self.module == WAMR:  # it has no way to free: a new instance of the same guest
            driver = Driver(wasinn.Host(graphs={"model": _identity()}), module=WAMR)
        graph = driver.load_by_name("model")[1]
        code, context = driver.context(graph)
        assert code == 0, code
        for name in ("set_input", "compute", "get_output"):
            function = next(each for each in self.functions if each.name == name)
            call = Call(driver, function, graph, context)
            assert call.run() == 0, name
        buffer = call.arguments[function.parameters.index("buffer")]
        assert driver.get(buffer, 16) == VALUES.tobytes()


def _identity() -> wasinn.GraphSource:
    return wasinn.GraphSource.from_bytes(models.identity())


def main(module: str, path: str, seed: int, seconds: float) -> None:
    faulthandler.enable()
    logging.getLogger("wasinn").setLevel(logging.CRITICAL)
    fuzzer = Fuzzer(module, path == "hot", seed)
    fuzzer.run(seconds)
    worked = {name for name, code in fuzzer.outcomes if code == 0}
    print(f"{sum(fuzzer.outcomes.values())} calls; errnos: {sorted({code for _, code in fuzzer.outcomes})}")
    missing = {each.name for each in fuzzer.functions} - worked - set(STREAMING)
    assert not missing, f"never succeeded: {missing}"
    assert path != "hot" or fuzzer.hottest > 0
    fuzzer.check()
    fuzzer.driver.close()


if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parent))
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]), float(sys.argv[4]))
