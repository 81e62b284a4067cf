# SPDX-License-Identifier: Apache-2.0
"""The report's charts, as inline SVG; the numbers stand beside them as text."""

from __future__ import annotations

import html
import math
import re
from collections.abc import Sequence
from typing import Any

import numpy as np

from wasinn.agreement.examples import OutputExample, View
from wasinn.agreement.report_style import COLOURS
from wasinn.agreement.words import figure

Array = np.ndarray[Any, Any]


def escaped(text: object) -> str:
    """For HTML text and attributes; control characters, which neither may have, are shown as such."""
    shown = "".join(
        each if each.isprintable() or each == " " else "\N{REPLACEMENT CHARACTER}" for each in str(text)
    )
    return html.escape(shown, quote=True)


def breakable(name: str) -> str:
    """A file's name, escaped, that may break where its words end and not within them."""
    return re.sub(r"(_|\.(?!\d))(?=.)", r"\1<wbr>", escaped(name))


def letter(at: int) -> str:
    """What a side is called in charts: A, B, ... Z, then S27 and so on."""
    return chr(ord("A") + at) if at < 26 else f"S{at + 1}"


def badge(at: int, name: str = "") -> str:
    title = f' title="{escaped(name)}"' if name else ""
    return f'<span class="badge side{at % COLOURS}"{title}>{letter(at)}</span>'


def best_list(view: View, first: View | None, scale: float, at: int) -> str:
    """The best classes with bars. `scale` is the score of a full bar; `first` marks what differs from it."""
    known = {line for line, _, _ in first.best} if first is not None else None
    items = []
    for rank, (line, label, score) in enumerate(view.best):
        mark = ""
        if first is not None and known is not None and first.best:
            if rank == 0 and line != first.best[0][0]:
                mark = f"another best class than {letter(0)}"
            elif line not in known:
                mark = f"not among {letter(0)}'s best {len(known)}"
        # Only another best class is a disagreement by itself.
        kind = ' class="other"' if mark and rank == 0 else ""
        note = (
            f'<div class="mark">{mark}</div>'
            if kind
            else f'<div class="soft small">{mark}</div>'
            if mark
            else ""
        )
        items.append(
            f'<li{kind}><div class="line"><span class="label" '
            f'title="{escaped(label)}">{escaped(label)}</span>'
            f'<span class="number">{figure(score)}</span></div>{bar(score, scale, at)}{note}</li>'
        )
    return f'<ol class="best">{"".join(items)}</ol>'


def bar(value: float, scale: float, at: int) -> str:
    share = value / scale * 100 if scale > 0 and math.isfinite(value) else 0.0
    width = min(max(share, 0.0), 100.0)
    return (
        f'<svg class="bar side{at % COLOURS}" viewBox="0 0 100 8" preserveAspectRatio="none" '
        'aria-hidden="true">'
        f'<rect class="track" width="100" height="8"/><rect class="fill" width="{width:.2f}" '
        'height="8"/></svg>'
    )


def gap_list(output: OutputExample, names: Sequence[str]) -> str:
    """For each class, a bar to the left or right of zero for each side but the first."""
    known = [gap for _, _, gaps in output.gaps for gap in gaps[1:] if gap is not None and math.isfinite(gap)]
    scale = max((abs(gap) for gap in known), default=0.0)
    if scale == 0:
        return ""
    rows = []
    for _, label, gaps in output.gaps:
        lines = []
        for at, gap in enumerate(gaps):
            if at == 0 or (output.views[at] is None):
                continue
            # Beside large ones, what is left of rounding would only draw the eye.
            small = gap is not None and abs(gap) < scale * 1e-4
            text = "not there" if gap is None else "0" if not gap else "about 0" if small else f"{gap:+.3g}"
            lines.append(
                f'<div class="gap">{badge(at, names[at])}{_gap_bar(gap, scale, at)}'
                f'<span class="number small">{text}</span></div>'
            )
        rows.append(
            f'<li><div class="label" title="{escaped(label)}">{escaped(label)}</div>{"".join(lines)}</li>'
        )
    return (
        f'<p class="soft small">By how much each score is above (to the right of the line) or below that of '
        f"{letter(0)}. Half of a bar's width is {figure(scale)}.</p>"
        f'<ul class="gaps">{"".join(rows)}</ul>'
    )


def _gap_bar(gap: float | None, scale: float, at: int) -> str:
    width = 0.0 if gap is None or not math.isfinite(gap) else min(abs(gap) / scale, 1.0) * 100
    left = 100 - width if gap is not None and gap < 0 else 100
    return (
        f'<svg class="bar side{at % COLOURS}" viewBox="0 0 200 8" preserveAspectRatio="none" '
        'aria-hidden="true">'
        f'<rect class="track" width="200" height="8"/><rect class="fill" x="{left:.2f}" width="{width:.2f}" '
        'height="8"/><line class="zero" x1="100" x2="100" y1="0" y2="8"/></svg>'
    )


def histogram(edges: Array, counts: Array, at: int) -> str:
    """How many numbers differ by how much; the heights are logarithms, so that few are seen beside many."""
    heights = np.log1p(counts.astype(np.float64))
    top = float(heights.max()) or 1.0
    width = 400 / len(counts)
    bars = "".join(
        f'<rect class="fill" x="{at_bin * width + 0.5:.2f}" y="{100 - height / top * 100:.2f}" '
        f'width="{width - 1:.2f}" height="{height / top * 100:.2f}"/>'
        for at_bin, height in enumerate(heights)
        if height > 0
    )
    low, high = figure(float(edges[0])), figure(float(edges[-1]))
    return (
        f'<svg class="histogram side{at % COLOURS}" viewBox="0 0 400 100" preserveAspectRatio="none" '
        'role="img" '
        f'aria-label="Histogram of the differences, from {low} to {high}; the most in one bar are '
        f'{int(counts.max())} of {int(counts.sum())} numbers"><rect class="track" width="400" '
        f'height="100"/>{bars}'
        '<line class="zero" x1="200" x2="200" y1="0" y2="100"/></svg>'
        f'<div class="axis"><span>{low}</span><span>0</span><span>{high}</span></div>'
        f'<p class="soft small">Differences from {letter(0)}; heights on a logarithmic scale.</p>'
    )
