# SPDX-License-Identifier: Apache-2.0
"""The report's card of one input: its picture, and the answers of all sides beside each other."""

from __future__ import annotations

import math
from collections.abc import Sequence

from wasinn.agreement.answers import Difference
from wasinn.agreement.examples import Example, OutputExample, View
from wasinn.agreement.report_charts import badge, best_list, breakable, escaped, gap_list, histogram, letter
from wasinn.agreement.report_pictures import difference_map, image, legend, overlay, with_boxes
from wasinn.agreement.report_style import COLOURS
from wasinn.agreement.words import figure, short


def card(example: Example, names: Sequence[str], anchor: str) -> str:
    """The <article> of an input; `names` are those of the sides."""
    bad = any(example.reasons)
    chip = '<span class="chip bad">differ</span>' if bad else '<span class="chip">agree</span>'
    size = ""
    if example.size is not None:
        size = f'<span class="soft small">{example.size[1]} x {example.size[0]} pixels</span>'
    wide = any(output.kind in ("mask", "boxes") for output in example.outputs)
    picture = ""
    if example.picture is not None and not wide:
        # Masks and boxes are drawn on it anyway.
        picture = f'<figure class="picture">{image(example.picture, f"The input {example.name}")}</figure>'
    several = len(example.outputs) > 1
    parts = [_output(example, output, names, several) for output in example.outputs]
    # A chart has the whole width where it can only belong to what is above it.
    answers = "".join(views + (chart if several else "") for views, chart in parts)
    beneath = "".join(chart for _, chart in parts) if not several else ""
    if not example.outputs:
        answers = _views(
            [_view_box(at, name, "", example.reasons[at]) for at, name in enumerate(names)], wide=False
        )
    long = " long" if wide or several else ""
    many = " many" if len(names) > 4 and not wide else ""
    return (
        f'<article class="card{long}" id="{anchor}"><div '
        f'class="head"><h3>{escaped(example.name)}</h3>{chip}{size}'
        f'</div><div class="body{many}">{picture}<div class="answers">{answers}</div></div>{beneath}'
        "</article>"
    )


def _output(example: Example, output: OutputExample, names: Sequence[str], several: bool) -> tuple[str, str]:
    """The views of the sides, and the chart that stands beneath."""
    head = f"<h4>Output {escaped(output.name)}</h4>" if several else ""
    boxes = []
    first = output.views[0]
    scale = _scale(output)
    for at, view in enumerate(output.views):
        content = (
            _content(example, view, first if at else None, scale, at, names[at]) if view is not None else ""
        )
        boxes.append(_view_box(at, names[at], content, _reasons(example, output, at), failed=view is None))
    wide = output.kind in ("mask", "boxes")
    chart = gap_list(output, names) if output.gaps and len(names) > 1 else ""
    if chart:
        chart = f"<h4>Differences by class</h4>{chart}"
    return head + _views(boxes, wide), chart


def _reasons(example: Example, output: OutputExample, at: int) -> list[str]:
    """Why a side's output differs, without what is said of other outputs."""
    own = f"{output.name}: "
    others = tuple(f"{each.name}: " for each in example.outputs if each is not output)
    return [reason.removeprefix(own) for reason in example.reasons[at] if not reason.startswith(others)]


def _views(boxes: Sequence[str], wide: bool) -> str:
    return f'<div class="views{" wide" if wide else ""}">{"".join(boxes)}</div>'


def _view_box(at: int, name: str, content: str, reasons: Sequence[str], failed: bool = False) -> str:
    why = f'<p class="why">{escaped("; ".join(reasons))}</p>' if reasons else ""
    if failed and not reasons:
        content = '<p class="soft">no such output</p>'
    return (
        f'<section class="view side{at % COLOURS}{" bad" if reasons else ""}"><header>{badge(at)}'
        f'<b title="{escaped(name)}">{breakable(short(name))}</b></header>{why}{content}</section>'
    )


def _content(example: Example, view: View, first: View | None, scale: float, at: int, name: str) -> str:
    parts = []
    if view.best:
        parts.append(best_list(view, first, scale, at))
    if view.classes is not None:
        parts.append(_mask(example, view, at, name))
    if view.kind == "boxes":
        parts.append(_boxes(example, view, name))
    if view.facts:
        parts.append(_list(view.facts))
    if view.difference is not None and view.kind in ("raw", "boxes"):
        parts.append(f"<h4>Difference from {letter(0)}</h4>" + _list(_difference(view.difference, view.kind)))
    if view.histogram is not None:
        parts.append(histogram(*view.histogram, at))
    return "".join(parts)


def _mask(example: Example, view: View, at: int, name: str) -> str:
    assert view.classes is not None
    covering = ", ".join(f"{label} {share:.1%}" for _, label, share in view.shares[:4])
    drawn = image(overlay(example.picture, view.classes), f"Mask of {name} on {example.name}: {covering}")
    result = f"<figure>{drawn}</figure>{legend(view.shares)}"
    if view.differs is not None and not view.differs.any():
        result += f'<p class="soft small">Every pixel is the same class as in {letter(0)}.</p>'
    elif view.differs is not None and view.difference is not None:
        share = f"{view.difference.distance:.3%} of the pixels differ from {letter(0)}"
        drawn = image(difference_map(example.picture, view.differs), f"{share}: where {name} does")
        result += (
            f"<h4>Where it differs</h4><figure>{drawn}<figcaption>{share} (magenta).</figcaption></figure>"
        )
    elif at == 0 and example.picture is not None:
        result += f"<h4>The input</h4><figure>{image(example.picture, f'The input {example.name}')}</figure>"
    elif view.difference is not None and view.difference.note:
        result += f'<p class="small">{escaped(view.difference.note)}</p>'
    return result


def _boxes(example: Example, view: View, name: str) -> str:
    drawn = with_boxes(example, view)
    shown = ""
    if drawn is not None:
        shown = f"<figure>{image(drawn, f'{len(view.boxes)} boxes of {name} on {example.name}')}</figure>"
    rows = "".join(
        f'<tr><th scope="row">{escaped(box.name)}</th><td class="number">{figure(box.score)}</td>'
        f'<td class="number">{box.left:.0f}, {box.top:.0f}</td>'
        f'<td class="number">{box.right - box.left:.0f} x {box.bottom - box.top:.0f}</td></tr>'
        for box in sorted(view.boxes, key=lambda each: -each.score)[:12]
    )
    heads = '<th scope="col">Box</th>' + "".join(
        f'<th scope="col" class="number">{head}</th>' for head in ("Score", "Left, top", "Size")
    )
    return f"{shown}<table class='small'><thead><tr>{heads}</tr></thead><tbody>{rows}</tbody></table>"


def _difference(found: Difference, kind: str) -> list[tuple[str, str]]:
    if found.note:
        return [("cannot be compared", found.note)]
    if kind == "boxes":
        detail = found.detail
        return [
            (
                "paired",
                f"{detail.get('paired', 0)} of {detail.get('first', 0)} and {detail.get('second', 0)}",
            ),
            ("largest of a score", figure(found.largest)),
        ]
    return [
        ("largest", figure(found.largest)),
        ("mean", figure(found.mean)),
        ("relative to the size", figure(found.distance)),
    ]


def _list(facts: Sequence[tuple[str, str]]) -> str:
    rows = "".join(f"<dt>{escaped(key)}</dt><dd>{escaped(value)}</dd>" for key, value in facts)
    return f'<dl class="facts">{rows}</dl>'


def _scale(output: OutputExample) -> float:
    """The score of a full bar, the same for all sides: 1 for probabilities."""
    scores = [score for view in output.views if view is not None for _, _, score in view.best]
    largest = max((abs(score) for score in scores if math.isfinite(score)), default=0.0)
    return 1.0 if output.kind == "classes" and largest <= 1.0 else largest
