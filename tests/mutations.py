# SPDX-License-Identifier: Apache-2.0
"""A guest that loads mutated files of one encoding, as a process of its own: a crash is seen from outside.

    python tests/mutations.py ENCODING COUNT [FIRST]

Prints two JSON lines for each file: its number (the seed) before, and with it the errno, the seconds and the
reason after.
"""

from __future__ import annotations

import json
import logging
import random
import sys
import time
from pathlib import Path

import wasinn
from driver import Driver
from wasinn.spec import Encoding

MODELS = Path(wasinn.__file__).parent / "shipped" / "models"
#: What each encoding's mutations start from: each file in turn, all of its builders together.
FILES: dict[str, list[tuple[str, ...]]] = {
    "onnx": [("digits.onnx",)],
    "openvino": [("digits.xml", "digits.bin")],
    "tensorflowlite": [("digits.tflite",), ("digits_u8.tflite",), ("digits_i8.tflite",)],
    "tensorflow": [("digits.pb",)],
    "pytorch": [("digits.pt",), ("digits.pt2",)],
    "ggml": [("story.gguf",)],
}
#: Of a large file with a small head, every other mutation goes there: so many bytes.
HEADS = {"ggml": 12_000}
#: Seconds that one load may take, worker processes included.
LOAD_SECONDS = 5.0


def mutate(data: bytes, chance: random.Random) -> bytes:
    """Bits flipped, bytes replaced by telling ones, parts cut out, doubled or exchanged; or cut short."""
    result = bytearray(data)
    for _ in range(chance.choice((1, 1, 1, 2, 4, 16))):
        if not result:
            break
        at = chance.randrange(len(result))
        kind = chance.randrange(6)
        if kind == 0:
            result[at] ^= 1 << chance.randrange(8)
        elif kind == 1:
            result[at] = chance.choice((0, 1, 0x7F, 0x80, 0xFF))
        elif kind == 2:
            word = chance.choice((0, 1, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF, len(data)))
            result[at : at + 4] = word.to_bytes(4, "little")
        elif kind == 3:
            del result[at : at + chance.choice((1, 4, 64, 1024))]
        elif kind == 4:
            size = chance.choice((4, 64))
            other = chance.randrange(len(result))
            result[at : at + size] = result[other : other + size]
        else:
            del result[at:]
    return bytes(result)


class _Reasons(logging.Handler):
    """Keeps the last line that was logged about the guest."""

    def __init__(self) -> None:
        super().__init__()
        self.last = ""

    def emit(self, record: logging.LogRecord) -> None:
        self.last = record.getMessage()


def main(name: str, count: int, first: int = 0) -> None:
    reasons = _Reasons()
    logger = logging.getLogger("wasinn")
    logger.addHandler(reasons)
    logger.propagate = False
    encoding = Encoding.parse(name)
    permissions = wasinn.Permissions(encodings=frozenset({encoding}), max_load_seconds=LOAD_SECONDS)
    host = wasinn.Host(permissions=permissions)
    contents = [[(MODELS / file).read_bytes() for file in files] for files in FILES[name]]
    driver = Driver(host)
    for number in range(first, first + count):
        if number % 90 == 0:  # an instance logs a hundred failures
            driver.close()
            driver = Driver(host)
        print(json.dumps({"file": number}), flush=True)  # so that a crash has a number
        chance = random.Random(number)
        builders = list(contents[number % len(contents)])
        which = chance.randrange(len(builders))
        size = HEADS.get(name, 0) if number % 2 else 0
        whole = builders[which]
        builders[which] = mutate(whole[:size], chance) + whole[size:] if size else mutate(whole, chance)
        reasons.last, start = "", time.monotonic()
        code = _attempt(driver, builders, encoding)
        seconds = round(time.monotonic() - start, 3)
        print(json.dumps({"file": number, "code": code, "seconds": seconds, "reason": reasons.last}))


def _attempt(driver: Driver, builders: list[bytes], encoding: Encoding) -> int:
    """Loads, and computes once with zeros where it can be loaded; the errno of what failed, or 0."""
    before = driver._next
    try:
        code, graph = driver.load(*builders, encoding=encoding)
        if code:
            return code
        code, context = driver.context(graph)
        if code == 0:
            code = _compute(driver, context)
            driver.call("finalize_execution_context", context)
        driver.call("unload", graph)
        return code
    finally:
        driver._next = before


def _compute(driver: Driver, context: int) -> int:
    specs = driver.instance.state.host.context(context).graph.graph.inputs
    codes = {"f16": 0, "f32": 1, "f64": 2, "u8": 3, "i32": 4, "i64": 5}
    for index, spec in enumerate(specs[:8]):
        dims = [1 if dim is None else dim for dim in spec.dims or ()]
        size = spec.type.size
        for dim in dims:
            size *= dim
        if size > 1 << 20:
            return 0
        code = driver.set_input(context, index, dims, codes[spec.type.wire.label], bytes(size))
        if code:
            return code
    return driver.compute(context) or driver.get_output(context, 0)[0]


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), *(int(each) for each in sys.argv[3:]))
