# SPDX-License-Identifier: Apache-2.0
"""On which line of a TOML document a key stands: `tomllib` does not say.

The document has been parsed before: what is read here is valid TOML, and only its keys are looked for.
Strings, arrays and inline tables are stepped through, so that nothing in them is taken for a key that is
none.
"""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Iterator

KeyPath = tuple[str, ...]

#: The longer quotes first. Whatever no alternative matches (blanks, a dot) does not count.
_TOKEN = re.compile(
    r'(?P<string>"""(?:[^\\]|\\.)*?"""(?:"(?!"")){0,2}|'
    r"'''.*?'''(?:'(?!'')){0,2}|"
    r'"(?:[^"\\\n]|\\.)*"|'
    r"'[^'\n]*')"
    r"|(?P<comment>\#[^\n]*)|(?P<mark>[\[\]{},=\n])|(?P<word>[A-Za-z0-9_+:-]+)",
    re.DOTALL,
)
_ESCAPE = re.compile(r'\\(?:u([0-9A-Fa-f]{4})|U([0-9A-Fa-f]{8})|([btnfr"\\]))')
_ESCAPED = {"b": "\b", "t": "\t", "n": "\n", "f": "\f", "r": "\r"}


def line_of(text: str, path: KeyPath) -> int | None:
    """The line, counted from 1, of the key with this path, or where it would have to stand: that of the
    nearest table around it, or of the first key in that. None where no part of the path is there."""
    ends = [match.start() for match in re.finditer("\n", text)]
    best, line = 0, None
    for found, position in _keys(text):
        depth = 0
        for mine, wanted in zip(found, path, strict=False):
            if mine != wanted:
                break
            depth += 1
        if depth > best:
            best, line = depth, bisect_left(ends, position) + 1
    return line


def _keys(text: str) -> Iterator[tuple[KeyPath, int]]:
    """Every key and every table's header: its path, and where it stands."""
    table: KeyPath = ()
    #: The brackets that are open in a value, each with the path of the keys in it.
    stack: list[tuple[str, KeyPath]] = []
    path: KeyPath = ()
    parts: list[str] = []
    start = 0
    state = "key"  # or "header", or "value"
    for token in _TOKEN.finditer(text):
        kind, shown = token.lastgroup, token[0]
        if kind == "comment":
            continue
        if kind in ("string", "word"):
            if state != "value":
                start = start if parts else token.start()
                parts.append(_part(shown))
        elif state == "key" and shown == "=":
            path = (*(stack[-1][1] if stack else table), *parts)
            yield path, start
            parts, state = [], "value"
        elif state == "key" and shown == "[":
            state = "header"
        elif state == "header" and shown == "\n":
            table, parts, state = tuple(parts), [], "key"
            yield table, start
        elif state == "header":
            pass  # the second bracket, or the closing ones
        elif shown in "[{":
            stack.append((shown, path))
            state = "key" if shown == "{" else "value"
        elif shown in "]}" and stack:
            path = stack.pop()[1]
            parts, state = [], "value"
        elif (shown == "\n" and not stack) or (shown == "," and stack and stack[-1][0] == "{"):
            parts, state = [], "key"
    if state == "header":
        yield tuple(parts), start


def _part(shown: str) -> str:
    """One part of a dotted key, without its quotes."""
    if shown[0] == "'":
        return shown[1:-1]
    return _ESCAPE.sub(_escaped, shown[1:-1]) if shown[0] == '"' else shown


def _escaped(match: re.Match[str]) -> str:
    code = match[1] or match[2]
    return chr(int(code, 16)) if code else _ESCAPED.get(match[3], match[3])
