# SPDX-License-Identifier: Apache-2.0
"""What nested components name of the one around them."""

from __future__ import annotations

from wasinn.abi.component import binary
from wasinn.abi.component.binary import HEADER, Reader
from wasinn.abi.component.model import NotRewritable, Section

#: How deep components may be nested in one another.
_MAX_DEPTH = 32


def check_nested(data: bytes, start: int, end: int, depth: int) -> None:
    """Raises NotRewritable where a nested component names a core module of the root's: its index changes."""
    if depth > _MAX_DEPTH:
        raise NotRewritable(f"components are nested more than {_MAX_DEPTH} deep in the component")
    if data[start : start + len(HEADER)] != HEADER:
        raise NotRewritable("a nested component has an unknown format")
    for kind, _, content, stop in binary.sections(data, start, end):
        if kind == Section.COMPONENT:
            check_nested(data, content, stop, depth + 1)
        elif kind == Section.ALIAS:
            reader = Reader(data, content, stop)
            for _ in range(reader.u32()):
                core = reader.byte() == 0 and reader.byte() == 0x11
                target = reader.byte()
                outermost = reader.u32() == depth
                if target == 2:
                    reader.u32()
                    if core and outermost:
                        raise NotRewritable("a nested component names a core module of the root's")
                else:
                    reader.name()
