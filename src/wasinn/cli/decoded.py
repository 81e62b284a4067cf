# SPDX-License-Identifier: Apache-2.0
"""What a graph's outputs say, for the terminal."""

from __future__ import annotations

import math

from wasinn.backends.common import one_line
from wasinn.cli.common import table
from wasinn.runtime.decoded import EDGES, FIRST, Decoded, decode_outputs
from wasinn.runtime.statistics import number
from wasinn.tensors import format_dims

__all__ = ["Decoded", "decode_outputs", "decoded_text"]

#: So many classes of a mask are shown.
MOST_CLASSES = 20


def decoded_text(decoded: Decoded) -> str:
    """A line of what an output is, and its answer below."""
    what = "" if decoded.kind == "raw" else f"  {decoded.contract.kind}"
    head = f"  {one_line(decoded.name)}  {decoded.spec.type.label} {format_dims(decoded.array.shape)}{what}"
    body = _body(decoded)
    return f"{head}\n{body}" if body else head


def _body(decoded: Decoded) -> str:
    if decoded.kind == "classes":
        share = all(0 <= each.score <= 1 for each in decoded.scored)
        width = len(str(len(decoded.scored)))
        return table(
            [
                (
                    f"    {rank:>{width}}",
                    _percent(each.score, share),
                    f"{each.index:>4}",
                    one_line(name, 60),
                )
                for rank, each in enumerate(decoded.scored, 1)
                for name in [each.label or ""]
            ]
        )
    if decoded.kind == "mask":
        return _mask_body(decoded)
    if decoded.kind == "boxes":
        if not decoded.boxes:
            return "    no box"
        rows: list[tuple[str, ...]] = [("", f"{'score':>9}", *(f"{edge:>6}" for edge in EDGES), "class")]
        for rank, box in enumerate(decoded.boxes, 1):
            edges = (f"{getattr(box, edge):6.0f}" for edge in EDGES)
            name = one_line(box.label or f"class {box.index}", 60)
            rows.append((f"    {rank}", _percent(box.score, True), *edges, name))
        return table(rows)
    # One number is its own statistics.
    lines = [] if decoded.statistics is None or decoded.real.size == 1 else [f"    {decoded.statistics}"]
    if decoded.largest:
        lines.append("    largest  " + ", ".join(f"{at}: {number(value)}" for at, value in decoded.largest))
    elif decoded.real.size:
        first = decoded.real.reshape(-1)[:FIRST]
        more = " ..." if decoded.real.size > FIRST else ""
        lines.append("    " + " ".join(number(float(each)) for each in first) + more)
    return "\n".join(lines)


def _mask_body(decoded: Decoded) -> str:
    total = sum(decoded.counts) or 1
    found = sorted(
        (at for at, count in enumerate(decoded.counts) if count), key=lambda at: -decoded.counts[at]
    )
    rows = [
        (
            f"    {_percent(decoded.counts[at] / total, True)}",
            f"{decoded.counts[at]:>{len(str(total))}} pixels",
            f"{at:>3}",
            one_line(decoded.contract.label(at) or f"class {at}", 60),
        )
        for at in found[:MOST_CLASSES]
    ]
    more = len(found) - MOST_CLASSES
    return table(rows) + (f"\n    and {more} more classes" if more > 0 else "")


def _percent(value: float, share: bool) -> str:
    if not share or math.isnan(value):
        return f"{number(value):>9}"
    return f"{100 * value:7.2f} %"
