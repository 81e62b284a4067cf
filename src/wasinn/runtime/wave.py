# SPDX-License-Identifier: Apache-2.0
"""WAVE, the text of WIT values: how the command line passes arguments to a component's function.

Source: github.com/bytecodealliance/wasm-tools, crates/wasm-wave/README.md. `true`, `-3`, `1.5`, `nan`,
`'c'`, `"text\\n"`, `[1, 2]`, `(1, "two")`, `{width: 3, label: some("x")}`, `{read, write}` for flags, a case
as `name` or `name(value)`. The value of an option or of a result may stand without `some(...)` or `ok(...)`.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from typing import Any

import numpy as np

from wasinn.abi.component.values import Case
from wasinn.runtime.component_types import INTEGERS, WitType

_SPACE = re.compile(r"(?:\s+|//[^\n]*)*")
_NUMBER = re.compile(r"[-+]?(?:0[xX][0-9a-fA-F]+|inf|nan|[0-9]+(?:\.[0-9]+)?(?:[eE][-+]?[0-9]+)?)")
_LABEL = re.compile(r"%?[A-Za-z][A-Za-z0-9]*(?:-[A-Za-z0-9]+)*")
_CHARACTER = re.compile(r"\\u\{([0-9a-fA-F]{1,6})\}|\\([tnr'\"\\])|([^\\])", re.DOTALL)
_ESCAPES = {"t": "\t", "n": "\n", "r": "\r"}
#: Values may stand in each other so deep.
_MAX_DEPTH = 100


def parse(kind: WitType, text: str) -> Any:
    """The value that `text` says, in the forms of `component_values`. Raises ValueError.

    A string may also stand as it is, without its quotes.
    """
    if kind.kind == "string" and not text.lstrip().startswith('"'):
        return text
    if kind.kind == "char" and len(text) == 1:
        return text
    reader = _Reader(text)
    value = reader.value(kind)
    reader.end()
    return value


class _Reader:
    def __init__(self, text: str) -> None:
        self._text = text
        self._at = 0
        self._depth = 0

    def value(self, kind: WitType) -> Any:
        self._depth += 1
        if self._depth > _MAX_DEPTH:
            raise ValueError("values stand in each other too deep")
        try:
            return self._value(kind)
        finally:
            self._depth -= 1

    def end(self) -> None:
        self._skip()
        if self._at < len(self._text):
            raise self._error("the end")

    def _value(self, kind: WitType) -> Any:
        name = kind.kind
        if name in INTEGERS or name in ("f32", "f64"):
            return self._number(kind)
        if name == "bool":
            return self._label(["true", "false"]) == "true"
        if name in ("string", "char"):
            return self._quoted(name)
        if name == "list":
            return self._several("[", "]", lambda _: self.value(kind.element))
        if name == "tuple":
            return self._tuple(kind)
        if name == "record":
            return self._record(kind)
        if name == "enum":
            return self._label([case for case, _ in kind.parts])
        if name == "flags":
            return set(self._several("{", "}", lambda _: self._label([flag for flag, _ in kind.parts])))
        if name in ("option", "result", "variant"):
            return self._case(kind)
        raise ValueError(f"{kind} cannot be given as text")

    def _number(self, kind: WitType) -> int | float:
        self._skip()
        found = _NUMBER.match(self._text, self._at)
        if found is None:
            raise self._error(f"a number ({kind})")
        self._at = found.end()
        text = found.group()
        try:
            if kind.kind not in ("f32", "f64"):
                return int(text, 16 if "x" in text.lower() else 10)
            value = float(int(text, 16)) if "x" in text.lower() else float(text)
        except (ValueError, OverflowError):
            raise ValueError(f"{text[:80]} is no {kind}") from None
        if math.isinf(value) and "inf" not in text:
            raise ValueError(f"{text[:80]} is beyond {kind}; what has no end is spelled inf")
        return value

    def _quoted(self, name: str) -> str:
        quote = '"' if name == "string" else "'"
        self._expect(quote)
        result = []
        while not self._text.startswith(quote, self._at):
            found = _CHARACTER.match(self._text, self._at)
            if found is None or found.end() > len(self._text):
                raise self._error(f"a character of a {name}, or {quote}")
            self._at = found.end()
            code, escape, plain = found.groups()
            if code is not None:
                if int(code, 16) > 0x10FFFF:
                    raise ValueError(f"\\u{{{code}}} is no character")
                result.append(chr(int(code, 16)))
            else:
                result.append(plain if escape is None else _ESCAPES.get(escape, escape))
        self._at += 1
        return "".join(result)

    def _tuple(self, kind: WitType) -> tuple[Any, ...]:
        kinds = [part for _, part in kind.parts if part is not None]

        def element(index: int) -> Any:
            if index >= len(kinds):
                raise ValueError(f"more than the {len(kinds)} values of {kind}")
            return self.value(kinds[index])

        found = self._several("(", ")", element)
        if len(found) != len(kinds):
            raise ValueError(f"{len(found)} values for {kind}")
        return tuple(found)

    def _record(self, kind: WitType) -> dict[str, Any]:
        before = self._at
        self._expect("{")
        if self._accept(":"):  # `{:}`, a record with none of its fields
            self._expect("}")
            return {}
        self._at = before
        result: dict[str, Any] = {}

        def one(_index: int) -> None:
            field = self._label([name for name, _ in kind.parts])
            if field in result:
                raise ValueError(f"the field {field!r} stands there twice")
            self._expect(":")
            part = kind.part(field)
            assert part is not None
            result[field] = self.value(part)

        self._several("{", "}", one)
        return result

    def _case(self, kind: WitType) -> Any:
        """A value of an option, a result or a variant."""
        cases = dict(kind.parts)
        if kind.kind == "option":
            cases = {"none": None, **cases}
        before = self._at
        label = self._peek_label()
        if label in cases and not self._is_flat(kind, label):
            self._label([label])
            part = cases[label]
            payload = None
            if part is not None:
                self._expect("(")
                payload = self.value(part)
                self._expect(")")
            return _option(kind, label, payload) if kind.kind == "option" else Case(label, payload)
        flat = next(iter(kind.parts))[1]
        if kind.kind == "variant" or flat is None:
            raise self._error(" or ".join(cases))
        self._at = before
        value = self.value(flat)
        return _option(kind, "some", value) if kind.kind == "option" else Case("ok", value)

    def _is_flat(self, kind: WitType, label: str) -> bool:
        """Whether a case with a payload stands there without one: then it is a value of its own, as an
        enum's `ok`."""
        part = dict(kind.parts).get(label)
        if part is None or kind.kind == "variant":
            return False
        found = _LABEL.match(self._text, self._at)
        assert found is not None
        return not self._text.startswith("(", _space_end(self._text, found.end()))

    def _several(self, start: str, end: str, one: Callable[[int], Any]) -> list[Any]:
        self._expect(start)
        result: list[Any] = []
        while not self._accept(end):
            if result and not self._accept(","):
                raise self._error(f"a comma or {end}")
            if result and self._accept(end):
                break
            result.append(one(len(result)))
        return result

    def _peek_label(self) -> str | None:
        self._skip()
        found = _LABEL.match(self._text, self._at)
        return None if found is None else found.group().removeprefix("%")

    def _label(self, known: list[str]) -> str:
        label = self._peek_label()
        if label is None or label not in known:
            raise self._error(" or ".join(known) if len(known) <= 20 else "another name")
        found = _LABEL.match(self._text, self._at)
        assert found is not None
        self._at = found.end()
        return label

    def _skip(self) -> None:
        self._at = _space_end(self._text, self._at)

    def _accept(self, token: str) -> bool:
        self._skip()
        if not self._text.startswith(token, self._at):
            return False
        self._at += len(token)
        return True

    def _expect(self, token: str) -> None:
        if not self._accept(token):
            raise self._error(token)

    def _error(self, wanted: str) -> ValueError:
        rest = self._text[self._at : self._at + 20]
        return ValueError(f"wanted {wanted}, found {repr(rest) if rest else 'the end'}")


def _space_end(text: str, at: int) -> int:
    found = _SPACE.match(text, at)
    assert found is not None
    return found.end()


def _option(kind: WitType, tag: str, value: Any) -> Any:
    if tag == "none":
        return None
    return Case("some", value) if kind.element.kind == "option" else value


# -- writing -------------------------------------------------------------------------------------------


def show(kind: WitType, value: Any) -> str:
    """The text of a value that a function returned."""
    name = kind.kind
    if name == "bool":
        return "true" if value else "false"
    if name in ("f32", "f64"):
        # The shortest text that is read back as the same number.
        text = str(np.float32(value) if name == "f32" else float(value))
        return text.removesuffix(".0")
    if name == "string":
        return '"' + "".join(_escaped(each, '"') for each in value) + '"'
    if name == "char":
        return f"'{_escaped(value, chr(39))}'"
    if name == "list":
        return "[" + ", ".join(show(kind.element, each) for each in value) + "]"
    if name == "tuple":
        parts = (show(part, each) for (_, part), each in zip(kind.parts, value, strict=True) if part)
        return "(" + ", ".join(parts) + ")"
    if name == "record":
        fields = (f"{field}: {show(part, value[field])}" for field, part in kind.parts if part)
        return "{" + ", ".join(fields) + "}"
    if name == "flags":
        return "{" + ", ".join(flag for flag, _ in kind.parts if flag in value) + "}"
    if name == "option":
        if value is None:
            return "none"
        inner = value.value if kind.element.kind == "option" else value
        return f"some({show(kind.element, inner)})"
    if name in ("variant", "result"):
        part = kind.part(value.name)
        return value.name if part is None else f"{value.name}({show(part, value.value)})"
    return str(value)


def _escaped(character: str, quote: str) -> str:
    if character in ("\\", quote):
        return "\\" + character
    for escape, plain in _ESCAPES.items():
        if character == plain:
            return "\\" + escape
    return character if character.isprintable() else f"\\u{{{ord(character):x}}}"
