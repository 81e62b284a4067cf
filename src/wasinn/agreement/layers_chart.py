# SPDX-License-Identifier: Apache-2.0
"""Draws the difference of two runtimes along a model, on a logarithmic scale, as one SVG file.

The colours are of the palette of Okabe and Ito, which people tell apart who see few colours; they also
differ in lightness. The background is white whatever the page's is.
"""

from __future__ import annotations

import math
from textwrap import wrap
from xml.sax.saxutils import escape

from wasinn.agreement.layers_rows import LayerRow, LayersReport
from wasinn.agreement.layers_text import figure, findings

_WIDTH, _MARGIN, _LEFT, _HEIGHT = 900, 28, 84, 300
_FONT = "system-ui, -apple-system, 'Segoe UI', Roboto, 'Helvetica Neue', Arial, sans-serif"
_INK, _GREY, _GRID = "#1b1f24", "#57606a", "#dfe3e8"
_RMS, _LARGEST, _LIMIT = "#00578a", "#56b4e9", "#d55e00"
#: Powers of ten that are drawn; what is below the lowest lies on it.
_LOWEST, _HIGHEST = -9, 3


def draw(report: LayersReport, title: str) -> str:
    """The chart as an SVG document; the same bytes for the same report."""
    return _Chart(report).draw(title)


class _Chart:
    def __init__(self, report: LayersReport) -> None:
        self._report = report
        self._parts: list[str] = []
        values = [value for row in report.rows for value in (row.rms_rel, row.max_rel)]
        powers = [math.log10(value) for value in (*values, report.tolerance) if 0 < value < math.inf]
        self._top = min(_HIGHEST, math.ceil(max(powers, default=0)))
        lowest = math.floor(min((power for power in powers if power > _LOWEST), default=_LOWEST))
        self._bottom = max(_LOWEST, min(lowest, self._top) - 1)

    def draw(self, title: str) -> str:
        sentences = findings(self._report)
        y = float(_MARGIN)
        for text, size, colour, weight in (
            (title, 20, _INK, "600"),
            *((line, 13, _GREY, "400") for each in sentences for line in wrap(each, 126)),
        ):
            y += size * 1.15
            self._text(_MARGIN, y, text, size, colour, font_weight=weight)
            y += size * 0.35
        y += 16
        self._legend(y)
        y += 26
        self._origin = y
        self._axes()
        self._line("max_rel", _LARGEST, 1.2)
        self._line("rms_rel", _RMS, 1.8)
        self._marks()
        height = round(y + _HEIGHT + 52 + _MARGIN)
        return "\n".join(
            [
                f'<svg xmlns="http://www.w3.org/2000/svg" width="{_WIDTH}" height="{height}"'
                f' viewBox="0 0 {_WIDTH} {height}" role="img" aria-labelledby="title desc"'
                f' font-family="{_FONT}">',
                f'<title id="title">{escape(title)}</title>',
                f'<desc id="desc">{escape(" ".join(sentences))}</desc>',
                f'<rect width="{_WIDTH}" height="{height}" fill="#ffffff"/>',
                *self._parts,
                "</svg>",
                "",
            ]
        )

    def _text(self, x: float, y: float, text: str, size: float, colour: str, **more: str) -> None:
        extra = "".join(f' {key.replace("_", "-")}="{value}"' for key, value in more.items())
        self._parts.append(
            f'<text x="{x:g}" y="{y:g}" font-size="{size:g}" fill="{colour}"{extra}>{escape(text)}</text>'
        )

    def _rule(self, x1: float, y1: float, x2: float, y2: float, colour: str, dash: str = "") -> None:
        dashes = f' stroke-dasharray="{dash}"' if dash else ""
        self._parts.append(
            f'<line x1="{x1:.4g}" y1="{y1:.4g}" x2="{x2:.4g}" y2="{y2:.4g}" stroke="{colour}"{dashes}/>'
        )

    def _legend(self, y: float) -> None:
        x = float(_LEFT)
        entries = (
            (_RMS, "root mean square of the difference"),
            (_LARGEST, "largest difference"),
            (_LIMIT, f"tolerance {self._report.tolerance:g}"),
        )
        for colour, words in entries:
            self._parts.append(f'<rect x="{x:g}" y="{y:g}" width="14" height="4" rx="2" fill="{colour}"/>')
            self._text(x + 20, y + 6, words, 12, _INK)
            x += 20 + len(words) * 12 * 0.56 + 18

    def _x(self, index: int) -> float:
        last = max(1, len(self._report.rows) - 1)
        return _LEFT + index / last * (_WIDTH - _MARGIN - _LEFT)

    def _y(self, value: float) -> float:
        power = math.inf if math.isinf(value) else math.log10(value) if value > 0 else -math.inf
        power = min(max(power, self._bottom), self._top)
        return self._origin + (self._top - power) / (self._top - self._bottom) * _HEIGHT

    def _axes(self) -> None:
        right = _WIDTH - _MARGIN
        for power in range(self._bottom, self._top + 1):
            y = self._y(10.0**power)
            self._rule(_LEFT, y, right, y, _GREY if power == self._bottom else _GRID)
            words = f"1e{power:+03d}" if power else "1"
            if power == self._bottom and any(row.rms_rel < 10.0**power for row in self._report.rows):
                words = f"up to {words}"
            self._text(_LEFT - 8, y + 4, words, 11, _GREY, text_anchor="end")
        count = len(self._report.rows)
        floor = self._origin + _HEIGHT
        for index in sorted({round(part * (count - 1) / 4) for part in range(5)}) if count else ():
            self._text(self._x(index), floor + 16, str(index + 1), 11, _GREY, text_anchor="middle")
        middle = (_LEFT + right) / 2
        self._text(
            middle, floor + 34, "tensors along the model, in its order", 12, _GREY, text_anchor="middle"
        )
        if self._report.tolerance > 0:
            y = self._y(self._report.tolerance)
            self._rule(_LEFT, y, right, y, _LIMIT, "5 4")

    def _line(self, field: str, colour: str, width: float) -> None:
        rows = self._report.rows
        points = " ".join(f"{self._x(row.index):.1f},{self._y(getattr(row, field)):.1f}" for row in rows)
        self._parts.append(
            f'<polyline points="{points}" fill="none" stroke="{colour}" stroke-width="{width:g}"'
            ' stroke-linejoin="round"/>'
        )
        if field != "rms_rel" or len(rows) > 2000:
            return
        for row in rows:
            words = f"{row.index + 1}: {row.tensor}, {row.title}: rms {figure(row.rms_rel)}"
            self._parts.append(
                f'<circle cx="{self._x(row.index):.1f}" cy="{self._y(row.rms_rel):.1f}" r="2.2"'
                f' fill="{colour}"><title>{escape(words)}</title></circle>'
            )

    def _marks(self) -> None:
        first, jump = self._report.first, self._report.jump
        marks: list[tuple[LayerRow, str]] = []
        if first is not None:
            marks.append((first, "first beyond" if jump is not first else "first beyond, and largest jump"))
        if jump is not None and jump is not first:
            marks.append((jump, "largest jump"))
        for at, (row, words) in enumerate(marks):
            x, floor = self._x(row.index), self._origin + _HEIGHT
            self._rule(x, self._origin, x, floor, _INK, "2 3")
            self._parts.append(
                f'<circle cx="{x:.1f}" cy="{self._y(row.rms_rel):.1f}" r="5" fill="none" stroke="{_INK}"'
                ' stroke-width="1.5"/>'
            )
            left = x < _WIDTH * 0.6
            text = f"{words}: {row.op} {row.index + 1}"
            y = floor - 12 - 18 * at
            self._text(
                x + (8 if left else -8), y, text, 12, _INK,
                text_anchor="start" if left else "end", font_weight="600",
                stroke="#ffffff", stroke_width="4", paint_order="stroke",
            )  # fmt: skip
