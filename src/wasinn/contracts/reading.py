# SPDX-License-Identifier: Apache-2.0
"""Typed access to the tables of a contract: every mistake is a ConfigError with the line and the remedy."""

from __future__ import annotations

import difflib
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

from wasinn.contracts.contract import Key
from wasinn.contracts.keys import LARGEST, MAX_INDEX, SMALLEST
from wasinn.contracts.lines import line_of
from wasinn.contracts.shown import name, quoted, shown, table_name
from wasinn.errors import ConfigError
from wasinn.spec import TensorType

#: American spelling is understood.
_SPELLINGS = {"color": "colour"}
_GRAY = ("grey", "grayscale", "greyscale", "l")


class Reader:
    """Makes errors that say where in the document something stands.

    `prefix` is the table of a larger document that is the contract; whoever reads that document names its
    file in the error.
    """

    def __init__(self, source: Path | str, text: str | None, prefix: tuple[str, ...]) -> None:
        self._source, self._text, self._prefix = source, text, prefix

    def error(self, path: tuple[str, ...], message: str) -> ConfigError:
        """`path`: of the key that is wrong, within the contract."""
        line = None if self._text is None else line_of(self._text, (*self._prefix, *path))
        where = [] if self._prefix else [str(self._source)]
        if line is not None:
            where.append(f"line {line}")
        table = (*self._prefix[-1:], *path[:2])
        shown_table = table_name(table) if len(path) > 1 or self._prefix else ""
        return ConfigError(": ".join(filter(None, (", ".join(where), shown_table, message))))


class Table:
    """One table of a contract."""

    def __init__(
        self, reader: Reader, path: tuple[str, str], table: Mapping[str, Any], known: Collection[str]
    ) -> None:
        self._reader, self._path = reader, path
        self._values: dict[str, Any] = {}
        for key, value in table.items():
            meant = _SPELLINGS.get(key, key)
            if meant not in known:
                raise self.error(
                    key, f"unknown key {name(key)}{did_you_mean(key, known)}; known: {', '.join(known)}"
                )
            if meant in self._values:
                both = " and ".join(each for each in table if _SPELLINGS.get(each, each) == meant)
                raise self.error(key, f"{both} are one key in two spellings; leave one of them out")
            self._values[meant] = value

    def __contains__(self, key: str) -> bool:
        return key in self._values

    def error(self, key: str, message: str) -> ConfigError:
        return self._reader.error((*self._path, key), message)

    def get(self, key: str, default: Any = None) -> Any:
        return self._values.get(key, default)

    def word(self, key: str, known: Sequence[str], default: str) -> str:
        value = self.get(key, default)
        if isinstance(value, str):
            for each in known:
                if value.lower() == each.lower():
                    return each
            if key == "colour" and value.lower() in _GRAY:
                return "GRAY"
        listed = ", ".join(f'"{each}"' for each in known)
        raise self.error(key, f"{key} is one of {listed}, not {shown(value)}")

    def flag(self, key: str, default: bool) -> bool:
        value = self.get(key, default)
        if not isinstance(value, bool):
            raise self.error(key, f"{key} is true or false, not {shown(value)}")
        return value

    def number(self, key: str, default: float, low: float, high: float) -> float:
        value = self.get(key, default)
        if not is_number(value) or not low <= value <= high:
            raise self.error(key, f"{key} is a number from {low:g} to {high:g}, not {shown(value)}")
        return float(value)

    def integer(self, key: str, low: int, high: int) -> int | None:
        value = self.get(key)
        if value is not None and (not is_integer(value) or not low <= value <= high):
            raise self.error(key, f"{key} is a whole number from {low} to {high}, not {shown(value)}")
        return None if value is None else int(value)

    def port(self, key: str) -> Key | None:
        value = self.get(key)
        if value is None or (isinstance(value, str) and value):
            return value
        if not is_integer(value):
            raise self.error(key, f"{key} is a port of the model, its name or its index, not {shown(value)}")
        if not 0 <= value <= MAX_INDEX:
            raise self.error(key, f"{key} is an index from 0 on, not {shown(value)}")
        return int(value)

    def tensor_type(self) -> TensorType | None:
        value = self.get("type")
        if value is None:
            return None
        for each in TensorType:
            if isinstance(value, str) and value.lower() == each.label:
                return each
        known = ", ".join(each.label for each in TensorType)
        raise self.error("type", f"type is one of {known}, not {shown(value)}{_meant_type(value)}")

    def pair(self, key: str, default: tuple[float, float]) -> tuple[float, float]:
        value = self.get(key, list(default))
        if not isinstance(value, list) or len(value) != 2 or not all(is_number(each) for each in value):
            raise self.error(key, f"{key} is two numbers, as in [0.0, 1.0], not {shown(value)}")
        return float(value[0]), float(value[1])

    def per_channel(self, key: str, default: float, colour: str, channels: int) -> tuple[float, ...]:
        """A number for each channel; one for all may stand alone."""
        value = self.get(key, default)
        numbers = [value] * channels if is_number(value) else value
        if not isinstance(numbers, list) or not all(is_number(each) for each in numbers):
            raise self.error(key, f"{key} is a number, or one for each channel, not {shown(value)}")
        if len(numbers) != channels:
            raise self.error(
                key,
                f"{key} has {len(numbers)} number{_s(len(numbers))}, and the colour {colour} has {channels} "
                f"channel{_s(channels)}; give {channels}, or one number without brackets for all",
            )
        return tuple(float(each) for each in numbers)


def _s(count: int) -> str:
    return "" if count == 1 else "s"


def is_integer(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def is_number(value: Any) -> bool:
    """A number that arithmetic in f32 can carry; not NaN, an infinity or 1e300."""
    # A comparison of an int of any length with a float is exact; a conversion would overflow.
    return (is_integer(value) or isinstance(value, float)) and -LARGEST <= value <= LARGEST


def is_divisor(value: Any) -> bool:
    """A number above 0 that f32 can divide by."""
    return is_number(value) and value >= SMALLEST


#: How NumPy and others call the types.
_NUMPY = {"float": "f", "int": "i", "uint": "u"}
_TYPES = {"half": "f16", "float": "f32", "double": "f64", "bfloat16": "bf16", "byte": "u8", "long": "i64"}


def _meant_type(value: Any) -> str:
    """The type that `float32`, `uint8` or `double` is here."""
    word = value.lower() if isinstance(value, str) else ""
    kind, bits = word.rstrip("0123456789"), word.lstrip("abcdefghijklmnopqrstuvwxyz")
    found = _TYPES.get(word) or _NUMPY.get(kind, "?") + bits
    return f" (is it {quoted(found)}?)" if found in {each.label for each in TensorType} else ""


def did_you_mean(key: str, known: Collection[str]) -> str:
    # A long key costs difflib a long time, and is near to none.
    close = difflib.get_close_matches(key.lower(), known, 1) if len(key) <= 40 else []
    return f" (is it {quoted(close[0])}?)" if close else ""
