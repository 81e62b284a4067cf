# SPDX-License-Identifier: Apache-2.0
"""Draws bars of times, in groups, as SVG: nothing but the standard library, and the same bytes for the
same figures.

The colours are of the palette of Okabe and Ito, which people tell apart who see few colours; they also
differ in lightness. The background is white whatever the page's is.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import Enum
from textwrap import wrap
from xml.sax.saxutils import escape


class Side(Enum):
    """Who runs the model: the words of the legend and the colour."""

    NATIVE = ("native, from Python", "#56b4e9")
    GUEST = ("the same through a guest of wasinn", "#00578a")
    WASM = ("pure wasm: the runtime is wasm too", "#d55e00")

    def __init__(self, words: str, colour: str) -> None:
        self.words = words
        self.colour = colour


@dataclass(frozen=True)
class Bar:
    """`label` stands behind the time."""

    side: Side
    seconds: float
    label: str = ""

    @property
    def text(self) -> str:
        return f"{time(self.seconds)}  {self.label}".rstrip()


@dataclass(frozen=True)
class Group:
    """The bars of one runtime; `detail` stands below its name."""

    name: str
    detail: str
    bars: tuple[Bar, ...]


@dataclass(frozen=True)
class Panel:
    """The groups of one model, on a scale of their own."""

    title: str
    groups: tuple[Group, ...]


@dataclass(frozen=True)
class Chart:
    """`notes`: what is not there, and why. `foot`: the machine and the versions, in small print."""

    title: str
    subtitle: str
    panels: tuple[Panel, ...]
    notes: tuple[str, ...]
    foot: tuple[str, ...]


WIDTH, MARGIN, GUTTER = 900, 28, 190
BAR, BETWEEN_BARS, BETWEEN_GROUPS = 15, 3, 15
FONT = "system-ui, -apple-system, 'Segoe UI', Roboto, 'Helvetica Neue', Arial, sans-serif"
#: The mean width of a letter, as a part of the font's size; on the safe side.
LETTER = 0.56
INK, GREY, GRID = "#1b1f24", "#57606a", "#dfe3e8"


def time(seconds: float) -> str:
    """Three digits: `4.51 ms`, `26.1 ms`, `134 ms`."""
    value = seconds * 1e3
    return f"{value:.{max(0, 2 - math.floor(math.log10(value))) if value >= 1 else 3}f} ms"


def draw(chart: Chart) -> str:
    """The chart as an SVG document."""
    drawing = _Drawing()
    drawing.chart(chart)
    height = round(drawing.y)
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{height}"'
            f' viewBox="0 0 {WIDTH} {height}" role="img" aria-labelledby="title desc"'
            f' font-family="{FONT}">',
            f'<title id="title">{escape(chart.title)}</title>',
            f'<desc id="desc">{escape(" ".join(_in_words(chart)))}</desc>',
            f'<rect width="{WIDTH}" height="{height}" fill="#ffffff"/>',
            *drawing.parts,
            "</svg>",
            "",
        ]
    )


def _in_words(chart: Chart) -> Iterator[str]:
    """For who does not see the bars."""
    for panel in chart.panels:
        for group in panel.groups:
            for bar in group.bars:
                yield f"{panel.title}, {group.name}, {bar.side.name.lower()}: {bar.text}."
    yield from chart.notes


class _Drawing:
    """Elements, and how far down they reach."""

    def __init__(self) -> None:
        self.parts: list[str] = []
        self.y: float = MARGIN

    def chart(self, chart: Chart) -> None:
        self._lines([chart.title], 20, INK, "600")
        self._lines(wrap(chart.subtitle, 115), 13, GREY)
        self.y += 10
        self._legend({bar.side for panel in chart.panels for group in panel.groups for bar in group.bars})
        for panel in chart.panels:
            self._panel(panel)
        small = [line for text in (*chart.notes, *chart.foot) for line in wrap(text, 140)]
        self.y += 16
        self.parts.append(
            f'<line x1="{MARGIN}" x2="{WIDTH - MARGIN}" y1="{self.y:g}" y2="{self.y:g}" stroke="{GRID}"/>'
        )
        self.y += 10
        self._lines(small, 11.5, GREY)
        self.y += MARGIN - 10

    def _text(self, x: float, y: float, text: str, size: float, colour: str, **more: str) -> None:
        extra = "".join(f' {key.replace("_", "-")}="{value}"' for key, value in more.items())
        self.parts.append(
            f'<text x="{x:g}" y="{y:g}" font-size="{size:g}" fill="{colour}"{extra}>{escape(text)}</text>'
        )

    def _lines(self, lines: Sequence[str], size: float, colour: str, weight: str = "400") -> None:
        for line in lines:
            self.y += size * 1.15
            self._text(MARGIN, self.y, line, size, colour, font_weight=weight)
            self.y += size * 0.3

    def _legend(self, used: set[Side]) -> None:
        x = float(MARGIN)
        for side in Side:
            if side not in used:
                continue
            width = 18 + len(side.words) * 12 * LETTER + 16
            if x > MARGIN and x + width > WIDTH - MARGIN:
                x, self.y = MARGIN, self.y + 20
            self.parts.append(
                f'<rect x="{x:g}" y="{self.y:g}" width="12" height="12" rx="2" fill="{side.colour}"/>'
            )
            self._text(x + 18, self.y + 10.5, side.words, 12, INK)
            x += width
        self.y += 20

    def _panel(self, panel: Panel) -> None:
        bars = [bar for group in panel.groups for bar in group.bars]
        left, right = MARGIN + GUTTER, WIDTH - MARGIN
        # Each bar leaves room for its own text.
        scale = min((right - left - 14 - len(bar.text) * 12 * LETTER) / bar.seconds for bar in bars)
        self.y += 22
        self._lines([panel.title], 15, INK, "600")
        self.y += 8
        top = self.y
        heights = [max(len(group.bars) * (BAR + BETWEEN_BARS) - BETWEEN_BARS, 30) for group in panel.groups]
        bottom = top + sum(heights) + BETWEEN_GROUPS * len(heights)
        self._axis(top, bottom, left, scale, max(bar.seconds for bar in bars))
        self.y += BETWEEN_GROUPS / 2
        for group, height in zip(panel.groups, heights, strict=True):
            self._group(panel, group, height, left, scale)
            self.y += height + BETWEEN_GROUPS
        self.y = bottom + 20

    def _axis(self, top: float, bottom: float, left: float, scale: float, longest: float) -> None:
        rough = longest / 6
        power = 10 ** math.floor(math.log10(rough))
        step = next(factor * power for factor in (1, 2, 5, 10) if factor * power >= rough)
        for tick in range(math.floor(longest / step + 1e-9) + 1):
            x = round(left + tick * step * scale, 2)
            self.parts.append(
                f'<line x1="{x:g}" x2="{x:g}" y1="{top:g}" y2="{bottom:g}"'
                f' stroke="{GREY if tick == 0 else GRID}"/>'
            )
            words = f"{tick * step * 1e3:g}" + (" ms" if tick == 0 else "")
            self._text(x, bottom + 15, words, 11, GREY, text_anchor="middle")

    def _group(self, panel: Panel, group: Group, height: float, left: float, scale: float) -> None:
        middle = self.y + height / 2
        self._text(left - 12, middle - 2, group.name, 13, INK, text_anchor="end", font_weight="500")
        self._text(left - 12, middle + 13, group.detail, 11, GREY, text_anchor="end")
        y = middle - (len(group.bars) * (BAR + BETWEEN_BARS) - BETWEEN_BARS) / 2
        for bar in group.bars:
            width = max(bar.seconds * scale, 1)
            words = escape(f"{panel.title}, {group.name}, {bar.side.words}: {bar.text}")
            self.parts.append(
                f'<rect class="bar {bar.side.name.lower()}" x="{left:g}" y="{y:g}" width="{width:.2f}"'
                f' height="{BAR}" fill="{bar.side.colour}"><title>{words}</title></rect>'
            )
            self._value(bar, left + width + 6, y + BAR - 3)
            y += BAR + BETWEEN_BARS

    def _value(self, bar: Bar, x: float, y: float) -> None:
        # White below: the lines of the grid do not run through the words.
        self._text(x, y, bar.text, 12, "#ffffff", stroke="#ffffff", stroke_width="4", aria_hidden="true")
        self.parts.append(
            f'<text x="{x:g}" y="{y:g}" font-size="12"><tspan fill="{INK}" font-weight="600">'
            f'{time(bar.seconds)}</tspan><tspan fill="{GREY}" dx="8">{escape(bar.label)}</tspan></text>'
        )
