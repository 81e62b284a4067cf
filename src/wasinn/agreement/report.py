# SPDX-License-Identifier: Apache-2.0
"""A comparison as one HTML file that needs nothing else: no script, no font, no picture from outside."""

from __future__ import annotations

import datetime
from collections.abc import Sequence

import wasinn
from wasinn.agreement.compare import Comparison, Outcome
from wasinn.agreement.report_cards import card
from wasinn.agreement.report_charts import badge, breakable, escaped
from wasinn.agreement.report_style import CSS
from wasinn.agreement.summary import side_state, summary_figures, verdict
from wasinn.agreement.words import duration, short

#: So many inputs are in the report's list; those that disagree come first.
LISTED = 200


def html_report(found: Comparison) -> str:
    """The whole page. Names and labels come from files: every one is escaped."""
    inputs, sides = len(found.outcomes), len(found.sides)
    title = f"Comparison: {inputs} input{'' if inputs == 1 else 's'}, {sides} sides"
    names = [side.facts.name for side in found.sides]
    anchors = {example.name: f"input-{at}" for at, example in enumerate(found.examples)}
    cards = "".join(card(each, names, f"input-{at}") for at, each in enumerate(found.examples))
    left = inputs - len(found.examples)
    shown = (
        f'<p class="soft small">{len(found.examples)} of {inputs}, those that differ most.</p>'
        if left
        else ""
    )
    parts = [
        f"<h1>{escaped(title)}</h1>",
        f'<p class="soft">What is compared with what, and whether the answers are the same. The first side, '
        f"{badge(0)}, is what the others are held against.</p>",
        _verdict(found),
        "<h2>Summary</h2>",
        _summary(found),
        "<h2>Sides</h2>",
        _sides(found),
        "<h2>Inputs</h2>",
        _inputs(found.outcomes, names, anchors),
        f"<h2>Answers</h2>{shown}{cards}" if cards else "",
        f"<footer>wasinn {escaped(wasinn.__version__)}, {datetime.date.today().isoformat()}</footer>",
    ]
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        # A browser asks for a picture of the site otherwise.
        '<link rel="icon" href="data:,">\n'
        f"<title>{escaped(title)}</title>\n<style>{CSS}</style>\n</head>\n<body>\n<main>\n"
        + "\n".join(filter(None, parts))
        + "\n</main>\n</body>\n</html>\n"
    )


def _verdict(found: Comparison) -> str:
    text = verdict(found)
    head, _, rest = text.partition(": ")
    if found.agrees:
        said = escaped(_capital(rest or head))
        return f'<div class="verdict"><strong>&#10003; All agree</strong><p>{said}</p></div>'
    head = "They disagree" if any(side.disagreeing for side in found.sides) else "Not all could be compared"
    lines = []
    for at, side in enumerate(found.sides):
        if not side.agrees:
            state = side_state(side, reference=at == 0)
            lines.append(f"<li>{badge(at)} {escaped(side.facts.name)}: {escaped(state)}</li>")
    unread = [each for each in found.outcomes if each.error]
    lines += [f"<li>{escaped(each.name)}: {escaped(each.error)}</li>" for each in unread[:10]]
    return (
        f'<div class="verdict bad"><strong>&#10007; {head}</strong><p>{escaped(_capital(text))}</p>'
        f"<ul>{''.join(lines)}</ul></div>"
    )


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:] + "."


def _summary(found: Comparison) -> str:
    heads = ("Time", "Top-1", f"Top-{found.top}", "Largest", "Mean")
    rows = []
    for at, side in enumerate(found.sides):
        figures = ("", "", "", "") if at == 0 else summary_figures(side)
        cells = [duration(side.seconds), *figures]
        kind = "plain" if at == 0 and side.agrees else "" if side.agrees else "bad"
        state = f'<span class="chip {kind}">{escaped(side_state(side, reference=at == 0))}</span>'
        rows.append(
            f'<tr><th scope="row">{badge(at)} {breakable(side.facts.name)}</th>'
            f'<td class="words">{escaped(side.facts.backend)} {escaped(side.facts.version)}</td>'
            + "".join(f'<td class="number">{escaped(cell)}</td>' for cell in cells)
            + f'<td class="state">{state}</td></tr>'
        )
    top = "".join(f'<th scope="col" class="number">{head}</th>' for head in heads)
    return (
        # Outside of the box that scrolls sideways, so that it is as wide as the window.
        f'<p class="soft small">Time: the median of a compute. Top-1: inputs with the same best class. '
        f"Top-{found.top}: the share of the best classes that both have. Largest and mean difference: of "
        "probabilities or numbers; of masks and boxes, the share that differs.</p>"
        '<div class="panel scroll"><table class="grid">'
        f'<thead><tr><th scope="col">Side</th><th scope="col">Backend</th>{top}<th '
        'scope="col">Result</th></tr>'
        f"</thead><tbody>{''.join(rows)}</tbody></table></div>"
    )


def _sides(found: Comparison) -> str:
    optional = any(side.facts.options for side in found.sides)
    rows = []
    for at, side in enumerate(found.sides):
        facts = side.facts
        # A long name may break where its words do.
        files = "<br>".join(breakable(path.name) for path in facts.files)
        guest = f'<div class="small soft">guest: {escaped(facts.guest)}</div>' if facts.guest else ""
        options = f"<td>{escaped(facts.options)}</td>" if optional else ""
        contract = "<br>".join(escaped(line) for line in facts.contract) or '<span class="soft">none</span>'
        rows.append(
            f'<tr><th scope="row">{badge(at)} {breakable(facts.name)}{guest}</th><td>{files}</td>'
            f'<td class="word">{escaped(facts.encoding)}</td>{options}'
            f'<td class="contract">{contract}</td></tr>'
        )
    columns = ["Side", "File", "Encoding", *(["Options"] if optional else []), "Contract"]
    heads = "".join(f'<th scope="col">{head}</th>' for head in columns)
    return (
        f'<div class="panel scroll"><table class="grid"><thead><tr>{heads}</tr></thead>'
        f"<tbody>{''.join(rows)}</tbody></table></div>"
    )


def _inputs(outcomes: Sequence[Outcome], names: Sequence[str], anchors: dict[str, str]) -> str:
    ordered = sorted(outcomes, key=lambda each: each.agrees)
    rows = []
    for outcome in ordered[:LISTED]:
        name = breakable(outcome.name)
        if outcome.name in anchors:
            name = f'<a href="#{anchors[outcome.name]}">{name}</a>'
        if outcome.error:
            cells = f'<td colspan="{len(names)}">{escaped(outcome.error)}</td>'
        else:
            cells = "".join(
                f"<td>{escaped(row.answer or short(row.error, 100))}</td>" for row in outcome.rows
            )
        chip = '<span class="chip">agree</span>' if outcome.agrees else '<span class="chip bad">differ</span>'
        if outcome.error or any(row.error for row in outcome.rows):
            chip = '<span class="chip bad">failed</span>'
        rows.append(f'<tr><th scope="row">{name}</th>{cells}<td class="state">{chip}</td></tr>')
    heads = "".join(
        f'<th scope="col">{badge(at)} {breakable(short(name, 32))}</th>' for at, name in enumerate(names)
    )
    more = len(ordered) - LISTED
    note = f'<p class="soft small">and {more} others.</p>' if more > 0 else ""
    return (
        '<div class="panel scroll"><table class="grid"><thead><tr><th scope="col">Input</th>'
        f'{heads}<th scope="col">Result</th></tr></thead><tbody>{"".join(rows)}</tbody></table>{note}</div>'
    )
