# SPDX-License-Identifier: Apache-2.0
"""What guests may do: the operator's to say."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

from wasinn.errors import ConfigError, WasiNNError, unsupported
from wasinn.sizes import parse_size
from wasinn.spec import Encoding, ErrorCode

#: TorchScript can read and write host files, and an exported program can run pickled code.
_UNSAFE_BYTES = {Encoding.PYTORCH: "a PyTorch model can read and write files of the host and run code"}


@dataclass(frozen=True)
class Permissions:
    """What a guest may load, and how much of it.

    `names`: the registry's graphs that `load_by_name` may reach; None is all of them. `load`:
    whether a guest may load bytes of its own. `encodings`: of which encodings; None is all but
    those whose files can run code. `max_model_bytes`: the sum of the builders of one load, in
    bytes. `max_graphs` and `max_contexts`: how many one instance may hold at a time.
    `max_input_bytes`: the sum of the inputs that its contexts hold. `max_context_tokens`: for how many
    tokens the contexts of its language models have memory together; one context of the size that the
    operator has set for a graph is always allowed.

    `isolate`: the encodings whose bytes, if a guest brings them, are parsed and computed in a worker
    process; None is what each backend needs (`Backend.isolation`). `max_workers`: how many such processes
    one instance may have at a time. `max_load_seconds`: how long a load in one may take.
    """

    names: frozenset[str] | None = None
    load: bool = True
    encodings: frozenset[Encoding] | None = None
    max_model_bytes: int = 2 << 30
    max_graphs: int = 64
    max_contexts: int = 1024
    max_input_bytes: int = 1 << 30
    max_context_tokens: int = 65536
    isolate: frozenset[Encoding] | None = None
    max_workers: int = 8
    max_load_seconds: float = 60.0

    def __post_init__(self) -> None:
        """Reads each value as `wasinn.toml` would; None stays the default. Raises ConfigError."""
        for each in fields(self):
            value = getattr(self, each.name)
            if value is not None:
                object.__setattr__(self, each.name, _permission(each.name, value))

    @classmethod
    def from_mapping(cls, table: Mapping[str, Any]) -> Permissions:
        """The table `[permissions]` of `wasinn.toml`. Raises ConfigError, naming the key."""
        known = [field.name for field in fields(cls)]
        values: dict[str, Any] = {}
        for key, value in table.items():
            if key not in known:
                raise ConfigError(f"unknown key {key!r} in [permissions]; known: {', '.join(known)}")
            values[key] = value
        return cls(**values)

    def check_name(self, name: str) -> None:
        """Raises WasiNNError (not_found) unless `name` may be loaded."""
        if self.names is not None and name not in self.names:
            raise WasiNNError(
                ErrorCode.NOT_FOUND, f"the permissions do not let this guest load the graph {name!r}"
            )

    def check_bytes(self, encoding: Encoding, size: int) -> None:
        """Raises WasiNNError unless `size` bytes of `encoding` may be loaded."""
        if not self.load:
            raise unsupported("the permissions do not let this guest load bytes; load_by_name may work")
        if size > self.max_model_bytes:
            raise WasiNNError(
                ErrorCode.TOO_LARGE,
                f"the model has {size} bytes, and the permissions allow {self.max_model_bytes}",
            )
        if encoding is Encoding.AUTODETECT:
            return
        if self.encodings is not None:
            if encoding not in self.encodings:
                able = ", ".join(sorted(each.label for each in self.encodings)) or "none"
                raise unsupported(
                    f"the permissions do not let this guest load {encoding.label} bytes; allowed: {able}"
                )
        elif encoding in _UNSAFE_BYTES:
            raise unsupported(
                f"loading {encoding.label} from a guest's bytes is refused: {_UNSAFE_BYTES[encoding]}; "
                "the operator can give it a name (--graph), or allow it (encodings in [permissions])"
            )


#: The encodings that a model can be of.
FORMATS = tuple(each for each in Encoding if each is not Encoding.AUTODETECT)


def _format(key: str, name: str | Encoding) -> Encoding:
    try:
        found = Encoding.parse(name) if isinstance(name, str) else name
    except ValueError:
        found = Encoding.AUTODETECT
    if found not in FORMATS:
        known = ", ".join(each.label for each in FORMATS)
        raise ConfigError(f"permissions.{key}: {name!r} is no encoding of a model; known: {known}")
    return found


def _permission(key: str, value: Any) -> Any:
    if key == "load":
        if not isinstance(value, bool):
            raise ConfigError(f"permissions.load must be true or false, got {value!r}")
        return value
    if key == "max_load_seconds":
        if not isinstance(value, int | float) or isinstance(value, bool) or not 0 < value < float("inf"):
            raise ConfigError(f"permissions.{key} must be a number of seconds above 0, got {value!r}")
        return float(value)
    if key in ("names", "encodings", "isolate"):
        if key == "isolate" and value in ("all", "none"):
            return frozenset(FORMATS) if value == "all" else frozenset()
        names = list(value) if isinstance(value, list | tuple | set | frozenset) else None
        if names is None or not all(isinstance(each, str | Encoding) for each in names):
            also = ' ("all" and "none" are understood)' if key == "isolate" else ""
            raise ConfigError(f"permissions.{key} must be a list of names{also}, got {value!r}")
        if key == "names":
            return frozenset(names)
        return frozenset(_format(key, each) for each in names)
    if key in ("max_model_bytes", "max_input_bytes"):
        try:
            return parse_size(value)
        except ValueError as error:
            raise ConfigError(f"permissions.{key}: {error}") from None
    if not isinstance(value, int) or isinstance(value, bool) or value < 0:
        raise ConfigError(f"permissions.{key} must be a number, got {value!r}")
    return value
