# SPDX-License-Identifier: Apache-2.0
"""`wasinn show TENSOR`: a tensor's statistics, what it looks like, and the picture that it shows."""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from wasinn.backends.common import one_line
from wasinn.cli.common import Subparsers, table
from wasinn.cli.looks import looks
from wasinn.cli.shown import Shown, write_picture
from wasinn.cli.statistics import for_json, histogram, histogram_rows, number, statistics
from wasinn.contracts.parse import read_contract
from wasinn.errors import ConfigError
from wasinn.graphs.recorded import is_record, read_record
from wasinn.runtime.feeds import kind_of
from wasinn.runtime.numbers import numbers
from wasinn.runtime.tensor_files import described, read_description, read_npy, read_raw
from wasinn.sizes import format_size
from wasinn.spec import TensorType
from wasinn.tensors import Tensor, format_dims

Array = np.ndarray[Any, Any]

#: So many first numbers are shown, and statistics of at most so many channels.
FIRST, CHANNELS = 10, 4


def add_parser(commands: Subparsers) -> None:
    parser = commands.add_parser(
        "show",
        help="show what is in a tensor",
        description="Shows a tensor's statistics and what its numbers look like, and writes the picture or "
        "the mask that it holds.",
        epilog="TENSOR is a .npy, raw little-endian bytes with a description beside them (FILE.json, as "
        "`wasinn tensor` writes it) or --type and --dims, or a folder that `wasinn run --record` wrote. "
        "The picture is drawn by --contract, else by the description beside the tensor, else by what the "
        "numbers look like, which is a guess.",
    )
    parser.set_defaults(command=run)
    parser.add_argument("tensor", metavar="TENSOR", help="a file, or the folder of a record")
    parser.add_argument("--type", metavar="T", help="the element type of raw bytes, as in f32")
    parser.add_argument("--dims", metavar="D", help="the dims of raw bytes, as in 1x3x224x224")
    parser.add_argument("--contract", metavar="FILE", help="the contract that says what the numbers mean")
    parser.add_argument("--name", metavar="NAME", help="the input or output of the contract that it is")
    parser.add_argument("-o", "--output", metavar="PICTURE", help="write the picture that the tensor shows")
    parser.add_argument("--mask", action="store_true", help="it is a mask: the class of each pixel")
    parser.add_argument("--json", action="store_true", help="as JSON")


def run(options: argparse.Namespace) -> int:
    path = Path(options.tensor)
    if path.is_dir():
        return _show_record(path, options)
    contract = read_contract(Path(options.contract)) if options.contract else None
    description = read_description(path)
    shown = _shown(str(path), _read(path, options, description), description)
    written = None
    if options.output is not None:
        written = write_picture(Path(options.output), shown, contract, options.name, options.mask)
    if options.json:
        report = _report(shown)
        if written:
            report["written"] = {"path": options.output, "as": written}
        print(json.dumps(report, indent=2, allow_nan=False))
    else:
        print(_text(shown))
        if written:
            print(f"\nwrote {one_line(options.output)}: {written}")
    return 0


def _show_record(path: Path, options: argparse.Namespace) -> int:
    """All tensors of a recorded compute."""
    records = sorted(each.name for each in path.iterdir() if is_record(each))
    if records and not is_record(path):
        count = f"{len(records)} compute{'' if len(records) == 1 else 's'}"
        raise ConfigError(
            f"{path} holds the records of {count}: name one, as in wasinn show {path / records[0]}"
        )
    if options.output is not None:
        files = ", ".join(sorted(each.name for each in path.glob("*.npy"))[:8])
        raise ConfigError(f"-o writes one tensor's picture; name the file in {path} ({files})")
    if not is_record(path):
        raise ConfigError(f"{path} is a folder, and not one that `wasinn run --record` wrote")
    record = read_record(path)
    found = [
        _shown(f"{path}: {side} {each.name}", each.tensor(), {})
        for side, tensors in (("input", record.inputs), ("output", record.outputs))
        for each in tensors
    ]
    if options.json:
        print(json.dumps([_report(each) for each in found], indent=2, allow_nan=False))
    else:
        print("\n\n".join(_text(each) for each in found))
    return 0


def _shown(name: str, tensor: Tensor, description: Mapping[str, Any]) -> Shown:
    values = numbers(tensor.numpy(), tensor.type)
    return Shown(name, tensor, values, description, looks(values))


def _read(path: Path, options: argparse.Namespace, description: Mapping[str, Any]) -> Tensor:
    given = TensorType.F32
    if options.type is not None:
        try:
            given = TensorType.parse(options.type)
        except ValueError as error:
            raise ConfigError(f"--type: {error}") from None
    kind = kind_of(path)
    found = described(path, description)
    if kind == "npy":
        return read_npy(path, given if options.type else found[0] if found else None)
    if options.dims is not None:
        if options.type is None:
            raise ConfigError("--dims needs --type as well, as in --type f32 --dims 1x3x224x224")
        return read_raw(path, given, parse_dims(options.dims), "--dims says")
    if options.type is not None:
        size = path.stat().st_size
        if size % given.size:
            raise ConfigError(f"{path} has {size} bytes, which is no number of {given.label}s")
        return read_raw(path, given, (size // given.size,))
    if found is not None:
        return read_raw(path, *found, "its description says")
    if kind == "picture":
        raise ConfigError(f"{path} is a picture; `wasinn tensor` makes a tensor of it")
    raise ConfigError(
        f"{path} is raw bytes ({format_size(path.stat().st_size)}) without a description; say what they are, "
        "as in --type f32 --dims 1x3x224x224"
    )


def parse_dims(text: str) -> tuple[int, ...]:
    """`1x3x224x224` or `1,3,224,224`; `scalar` for none. Raises ConfigError."""
    if text == "scalar":
        return ()
    parts = text.strip("[]").replace("x", ",").split(",")
    if not all(part.strip().isascii() and part.strip().isdecimal() for part in parts):
        raise ConfigError(f"--dims is written as in 1x3x224x224, not {text!r}")
    return tuple(int(part) for part in parts)


def _channels(shown: Shown) -> list[Array]:
    """The channels of what looks like a picture; none of other tensors."""
    layout = shown.looks.layout
    if layout is None or "C" not in layout:
        return []
    axis = layout.index("C")
    count = shown.real.shape[axis]
    return [shown.real.take(at, axis) for at in range(count)] if 1 < count <= CHANNELS else []


def _report(shown: Shown) -> dict[str, Any]:
    values = shown.real
    report: dict[str, Any] = {
        "name": shown.name,
        "type": shown.tensor.type.label,
        "dims": list(shown.tensor.dims),
        "bytes": len(shown.tensor.data),
        "statistics": statistics(values).as_dict(),
        "channels": [statistics(each).as_dict() for each in _channels(shown)],
        "first": [for_json(float(each)) for each in values.reshape(-1)[:FIRST]],
        "distribution": [
            {"low": for_json(low), "high": for_json(high), "count": count}
            for low, high, count in histogram(values)
        ],
        "looks_like": shown.looks.sentences(),
    }
    if shown.description:
        report["description"] = dict(shown.description)
    return report


def _text(shown: Shown) -> str:
    tensor, values = shown.tensor, shown.real
    found = statistics(values)
    rows = [
        ("type", tensor.type.label),
        ("dims", format_dims(tensor.dims)),
        ("size", format_size(len(tensor.data))),
    ]
    first = values.reshape(-1)[:FIRST]
    if values.size == 1:
        rows.append(("number", number(float(first[0]))))
    else:
        rows.append(("numbers", str(found)))
        rows.append(("zeros", f"{found.zeros} of {found.count}" if found.count else "none"))
    rows += [(f"channel {at}", str(statistics(each))) for at, each in enumerate(_channels(shown))]
    if first.size > 1:
        rows.append(("first", " ".join(number(float(each)) for each in first)))
    rows += [("looks like", each) for each in shown.looks.sentences()[:1]]
    rows += [("", each) for each in shown.looks.sentences()[1:]]
    for key in ("input", "output", "picture", "contract"):
        if isinstance(shown.description.get(key), str):
            rows.append((key, one_line(shown.description[key])))
    lines = [one_line(shown.name), table(rows, "  ")]
    bars = histogram_rows(histogram(values))
    if len(bars) > 1:
        lines += ["  distribution", table(bars, "    ")]
    return "\n".join(lines)
