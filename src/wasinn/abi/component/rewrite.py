# SPDX-License-Identifier: Apache-2.0
"""Puts an adapter between a component and the host's `wasi:nn`, in one of two ways.

**Shims** (`inline`): where the guest lowers a function with bulk data, a core module stands instead, which
sees the guest's memory. Almost every component is one of a single root, made by a component builder, and
gets them.

**A wrapper**, for a guest that is composed of others, and so lowers these functions in a component within.
The guest itself is not changed, not by a byte. It becomes a nested component of a new one:

    (component
      ;; The guest's types and imports, as they are; the private functions (`bulk`) are added to the types of
      ;; wasi:nn/tensor and wasi:nn/graph.
      (import "wasi:nn/tensor@..." (instance $tensor ...)) ...
      (component $Adapter ...)
      (instance $adapter (instantiate $Adapter (with "tensor" (instance $tensor)) ...))
      ;; What the guest takes for wasi:nn/tensor: the host's types and functions, but for the adapter's.
      (component $Front ...)
      (instance $front (instantiate $Front (with "wasinn-t0" (type $tensor "tensor"))
                                           (with "wasinn-f0" (func $adapter "new")) ...))
      (component $Guest ...)
      (instance $guest (instantiate $Guest (with "wasi:nn/tensor@..." (instance $front)) ...))
      ;; The guest's exports.
      (export "wasi:cli/run@..." (instance $guest "wasi:cli/run@...")) ...)

Only the part of the guest up to its last import is read, and its list of exports. Nesting costs nothing
when it runs, for the runtime resolves it when it compiles; but a list then passes from the guest to the
adapter, and the runtime copies it a byte a turn.

Both add the private functions to the types that the guest imports.
"""

from __future__ import annotations

import logging

from wasinn.abi.component.adapter import EXPORTS, adapter
from wasinn.abi.component.binary import HEADER, Reader
from wasinn.abi.component.builder import Argument, Builder, number, text, vector
from wasinn.abi.component.exports import export_all
from wasinn.abi.component.front import make_front
from wasinn.abi.component.inline import put_shims
from wasinn.abi.component.interfaces import Interface, Snapshot, find_snapshots
from wasinn.abi.component.model import NotRewritable, Section, Sort
from wasinn.abi.component.outline import Outline

__all__ = ["NotRewritable", "rewrite", "wrap"]

logger = logging.getLogger("wasinn.guest")


def rewrite(component: bytes) -> bytes:
    """The component with shims or, where they find no place, with a wrapper; the same bytes where it imports
    none of the functions with bulk data.

    Takes time and memory linear in the size of the component, whatever is in it; for a good one, a copy and
    a few milliseconds. Nothing is validated: what the runtime would refuse, it refuses afterwards too.

    Raises NotRewritable where it is no component, or one that is not understood.
    """
    found = _find(component)
    if found is None:
        return bytes(component)
    guest, snapshots = found
    try:
        return put_shims(
            guest, [each for snapshot in snapshots for each in snapshot.interfaces], _imports(*found)
        )
    except NotRewritable as error:
        logger.info(
            "a component is wrapped, which makes large tensors slower, for shims have no place: %s", error
        )
        return _wrap(*found)


def wrap(component: bytes) -> bytes:
    """The component with a wrapper, as `rewrite`: for one that the runtime refuses with shims."""
    found = _find(component)
    return bytes(component) if found is None else _wrap(*found)


def _find(component: bytes) -> tuple[Outline, list[Snapshot]] | None:
    """What is to be rewritten; None where there is nothing."""
    component = bytes(component)
    if not component.startswith(HEADER):
        raise NotRewritable("it is not a component")
    if b"wasi:nn/" not in component:
        return None
    guest = Outline(component)
    snapshots = find_snapshots(guest)
    return (guest, snapshots) if snapshots else None


def _wrap(guest: Outline, snapshots: list[Snapshot]) -> bytes:
    new = Builder(_imports(guest, snapshots), guest.sizes)
    # What the guest gets instead of the host's instances.
    fronts: dict[str, int] = {}
    for snapshot in snapshots:
        hosts = [(each.kind, Sort.INSTANCE, each.instance) for each in snapshot.interfaces]
        own = new.instance(new.component(adapter(snapshot.needs)), hosts)
        for interface in snapshot.interfaces:
            front = make_front(guest, interface)
            given: list[Argument] = []
            for name, sort, export in front.imports:
                if export in interface.functions:
                    index = new.alias(sort, own, EXPORTS[interface.kind, export])
                else:
                    index = new.alias(sort, interface.instance, export)
                given.append((name, sort, index))
            given += [(name, Sort.TYPE, index) for name, index in front.types]
            fronts[interface.name] = new.instance(new.component(front.component), given)
    arguments: list[Argument] = [(name, sort, fronts.get(name, index)) for name, sort, index in guest.imports]
    inside = new.instance(new.component(guest.component), arguments)
    export_all(guest, new, inside)
    return new.build()


def _imports(guest: Outline, snapshots: list[Snapshot]) -> list[bytes]:
    """The guest's sections up to its last import, the private functions added to the interfaces' types."""
    extended = {each.type_index: each for snapshot in snapshots for each in snapshot.interfaces}
    parts: list[bytes] = []
    for kind, start, content, end, first in guest.sections:
        if kind == Section.TYPE:
            count = Reader(guest.component, content, end).u32()
            indices = range(first, first + count)
            if any(index in extended for index in indices):
                types = vector([_type(guest, index, extended.get(index)) for index in indices])
                parts += [bytes([kind]) + number(len(types)), types]
                continue
        parts.append(guest.component[start:end])
    return parts


def _type(guest: Outline, index: int, interface: Interface | None) -> bytes:
    """A type of the guest's; that of an interface has the private functions after the rest."""
    where = guest.types[index].where
    assert where is not None
    start, end = where
    if interface is None:
        return guest.component[start:end]
    reader = Reader(guest.component, start + 1, end)
    count = reader.u32()
    added = []
    for type_index, (name, type_) in enumerate(interface.private, len(interface.type.types)):
        added += [b"\x01" + type_, b"\x04\x00" + text(name) + b"\x01" + number(type_index)]
    declarations = guest.component[reader.position : end]
    return b"\x42" + number(count + len(added)) + declarations + b"".join(added)
