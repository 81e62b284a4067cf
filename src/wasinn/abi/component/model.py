# SPDX-License-Identifier: Apache-2.0
"""What the rewriter knows of component binaries: the kinds of sections, sorts of items, and types."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from typing import NamedTuple, TypeAlias

from wasinn.errors import Error

# Value types are signed numbers in 33 bits: negative ones are primitive, the others are indices of types.
U8 = -3
U32 = -7
STRING = -13


class NotRewritable(Error):
    """The component stays as it is, for this reason. It may still run, with the slower calls."""


class Section(IntEnum):
    """The sections that are looked into; the others are passed over."""

    CUSTOM = 0
    CORE_MODULE = 1
    CORE_INSTANCE = 2
    CORE_TYPE = 3
    COMPONENT = 4
    INSTANCE = 5
    ALIAS = 6
    TYPE = 7
    CANON = 8
    IMPORT = 10
    EXPORT = 11


class Sort(IntEnum):
    """What an import, an export or an alias is. CORE_MODULE is written in two bytes."""

    CORE_MODULE = 0
    FUNC = 1
    VALUE = 2
    TYPE = 3
    COMPONENT = 4
    INSTANCE = 5


@dataclass(frozen=True)
class FuncType:
    params: tuple[tuple[str, int], ...]
    result: int | None


@dataclass(frozen=True)
class ListType:
    element: int


@dataclass(frozen=True)
class EnumType:
    labels: tuple[str, ...]


@dataclass(frozen=True)
class ResultType:
    ok: int | None
    error: int | None


@dataclass(frozen=True)
class HandleType:
    """`own` or `borrow` of the resource with this index."""

    own: bool
    resource: int


@dataclass(frozen=True)
class Resource:
    """A resource type that is imported or exported: abstract, and no other one's equal."""


@dataclass(frozen=True)
class Same:
    """Another name of the type with this index in the same index space."""

    index: int


@dataclass(frozen=True)
class Outer:
    """The type with this index `count` components or types further out."""

    count: int
    index: int


@dataclass(frozen=True)
class ComponentType:
    """The type of a component."""


@dataclass(frozen=True)
class OtherType:
    """A type of values that the rewriter has no use for."""


@dataclass(frozen=True)
class InstanceType:
    """`types` is its index space of types; `exports` has what it exports, in order; `names` has the names of
    the types that it exports, by their indices."""

    types: tuple[Type, ...]
    exports: dict[str, Extern]
    names: dict[int, str]


Type: TypeAlias = (
    FuncType
    | ListType
    | EnumType
    | ResultType
    | HandleType
    | Resource
    | Same
    | Outer
    | ComponentType
    | OtherType
    | InstanceType
)


class Extern(NamedTuple):
    """What an import or an export is; `type_index` is None for a type that is a new resource."""

    sort: Sort
    type_index: int | None


class Alias(NamedTuple):
    """`instance` and `name`, or `outer`: exactly one is there."""

    sort: Sort
    instance: int | None
    name: str
    outer: Outer | None


class Export(NamedTuple):
    """`item` is the index of what is exported, `type_index` the type that it is given, if any."""

    name: str
    sort: Sort
    item: int
    type_index: int | None


class Index(NamedTuple):
    """Where the index of a type is written, as a signed number or not."""

    start: int
    end: int
    value: int
    signed: bool
