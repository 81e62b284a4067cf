# SPDX-License-Identifier: Apache-2.0
"""What became of a job's rows, counted."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

#: So many different texts are kept of each kind of failure.
_MOST_TEXTS = 3
#: So much of a text is shown, in characters.
_MOST_SHOWN = 160


@dataclass(frozen=True)
class Summary:
    """`rows` in all, `failed` of them, how many by `kinds`, and for each kind the first few texts."""

    rows: int = 0
    kinds: Mapping[str, int] = field(default_factory=dict)
    examples: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    @property
    def failed(self) -> int:
        return sum(self.kinds.values())

    @property
    def answered(self) -> int:
        return self.rows - self.failed

    @classmethod
    def of(cls, failures: Iterable[tuple[str | None, str | None]]) -> Summary:
        """Of each row's kind of error and its text; both None for a row that was answered."""
        rows, kinds, examples = 0, Counter[str](), dict[str, list[str]]()
        for kind, text in failures:
            rows += 1
            if kind is None and text is None:
                continue
            name = kind or "error"
            kinds[name] += 1
            texts = examples.setdefault(name, [])
            if text and text not in texts and len(texts) < _MOST_TEXTS:
                texts.append(text)
        return cls(rows, dict(kinds.most_common()), {name: tuple(texts) for name, texts in examples.items()})

    def __str__(self) -> str:
        lines = [f"{self.rows} rows: {self.answered} answered, {self.failed} failed"]
        for kind, count in self.kinds.items():
            lines.append(f"  {kind}: {count}")
            lines += [f"    {_line(text)}" for text in self.examples.get(kind, ())]
        return "\n".join(lines)


def _line(text: str) -> str:
    """A text of a guest or a file, as one line without what moves a terminal's cursor."""
    flat = "".join(each if each.isprintable() else " " for each in text)
    return flat if len(flat) <= _MOST_SHOWN else flat[: _MOST_SHOWN - 3] + "..."
