# SPDX-License-Identifier: Apache-2.0
"""The report of `wasinn compare`: one file, which a browser opens without errors or asking for more."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Sequence
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from wasinn.agreement.answers import Answer
from wasinn.agreement.compare import Comparison, compare
from wasinn.agreement.examples import SIDE
from wasinn.agreement.inputs import Input
from wasinn.agreement.report import html_report
from wasinn.agreement.report_charts import breakable
from wasinn.agreement.report_pictures import DIFFERENT, difference_map, overlay
from wasinn.agreement.report_style import CSS
from wasinn.agreement.sides import Run, SideFacts
from wasinn.contracts.contract import OutputContract
from wasinn.imaging.boxes import Box
from wasinn.imaging.masks import palette
from wasinn.imaging.preprocess import Placement

Array = np.ndarray[Any, Any]

HOSTILE = '<script>alert("x")</script>&\'\x00\x1b[2J'
LONG = "a-label-without-any-space-" * 12


class Fixed:
    """A side that gives what it was given, for each input in turn; a text is a failure."""

    def __init__(self, name: str, *answers: Sequence[Answer] | Exception, placement: Any = None) -> None:
        self.facts = SideFacts(
            name,
            (Path(f"{name[:20]}.onnx"),),
            "onnx",
            "none",
            "1.0",
            (f"image: {LONG}",),
            guest="",
            options="",
        )
        self._answers = iter(answers)
        self._placement = placement

    def run(self, given: Input, pixels: Any) -> Run:
        found = next(self._answers)
        if isinstance(found, Exception):
            raise found
        return Run(list(found), 0.012, self._placement)

    def close(self) -> None: ...


def classes(*values: float, labels: tuple[str, ...] = (HOSTILE, LONG, "cat", "dog")) -> Answer:
    contract = OutputContract("classes", kind="probabilities", labels=labels)
    return Answer("classes", "classes", np.array(values), contract)


def mask(values: Array) -> Answer:
    return Answer("mask", "mask", values, OutputContract("mask", kind="mask", labels=("ground", HOSTILE)))


def raw(values: Array) -> Answer:
    return Answer("numbers", "raw", values, OutputContract("numbers"))


def boxes(*found: Box) -> Answer:
    return Answer("boxes", "boxes", np.empty(0), OutputContract("boxes", kind="boxes"), boxes=found)


def picture(height: int = 480, width: int = 800) -> Array:
    y, x = np.mgrid[0:height, 0:width]
    return np.stack([x * 255 // width, y * 255 // height, (x + y) % 256], axis=2).astype(np.uint8)


def compared(sides: Sequence[Fixed], count: int = 1, pixels: Array | None = None) -> Comparison:
    given = [Input(f"{number} {HOSTILE}.png", Path("x.png"), True) for number in range(count)]
    return compare(given, sides, examples=24, read=lambda _: pixels)


class Page(HTMLParser):
    """What a page refers to, and how its elements nest."""

    VOID = frozenset(("meta", "link", "img", "br", "wbr", "rect", "line"))

    def __init__(self, text: str) -> None:
        super().__init__()
        self.links: list[str] = []
        self.tags: list[str] = []
        self.alts: list[str | None] = []
        self.ids: set[str] = set()
        self.handlers: list[str] = []
        self.text = ""
        self._open: list[str] = []
        self.feed(text)
        self.close()
        assert self._open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        found = dict(attrs)
        self.links += [
            value or ""
            for key, value in attrs
            if key in ("src", "href", "srcset", "data", "action", "poster", "background", "xlink:href")
        ]
        self.handlers += [key for key, _ in attrs if key.startswith("on")]
        if tag == "img":
            self.alts.append(found.get("alt"))
        if found.get("id"):
            self.ids.add(found["id"] or "")
        if tag not in self.VOID:
            self._open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if tag not in self.VOID:
            assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        if "style" not in self._open:
            self.text += data


def everything() -> Comparison:
    """Two inputs with an output of each kind, three sides, of which one fails and one differs."""
    one = np.zeros((48, 80), np.uint8)
    two = one.copy()
    two[10:20, 30:50] = 1
    box = Box(100, 50, 400, 300, 0.9, 0, HOSTILE)
    numbers = np.arange(12.0).reshape(3, 4)
    first = [classes(0.7, 0.1, 0.1, 0.1), mask(one), boxes(box), raw(numbers)]
    other = [
        classes(0.2, 0.6, 0.1, 0.1),
        mask(two),
        boxes(box, Box(500, 200, 700, 400, 0.6, 1, None)),
        raw(numbers + 0.5),
    ]
    place = Placement((480, 800), (48, 80), 0.1, 0.1, 0.0, 0.0)
    from wasinn.errors import ConfigError

    return compared(
        [
            Fixed("first", first, first, placement=place),
            Fixed(f"{LONG}{HOSTILE}", other, first, placement=place),
            Fixed("failing", first, ConfigError(f"it failed: {HOSTILE}"), placement=place),
        ],
        2,
        picture(),
    )


@pytest.fixture(scope="module")
def page() -> str:
    return html_report(everything())


# -- the file ---------------------------------------------------------------------------------------------


def test_nothing_comes_from_outside(page: str) -> None:
    found = Page(page)
    assert found.links
    for link in found.links:
        assert link.startswith(("data:", "#")), link
        if link.startswith("#"):
            assert link[1:] in found.ids
    assert "url(" not in page
    assert "@import" not in page
    assert not {"script", "iframe", "object", "embed", "form", "base"} & set(found.tags)
    assert found.handlers == []


def test_names_and_labels_are_text(page: str) -> None:
    found = Page(page)
    assert "<script" not in page
    assert '<script>alert("x")</script>' in found.text
    assert not any(ord(each) < 32 and each not in "\n" for each in page)


def test_pictures_have_words_and_tables_heads(page: str) -> None:
    found = Page(page)
    assert len(found.alts) >= 8
    assert all(found.alts)
    assert found.tags.count("th") > 10
    for match in re.finditer(r"<th(?: [^>]*)?>", page):
        assert 'scope="' in match.group()


def test_names_of_files_break_where_their_words_end() -> None:
    assert breakable("mobilenet_v2_1.0_224.tflite") == ("mobilenet_<wbr>v2_<wbr>1.0_<wbr>224.<wbr>tflite")
    assert breakable("<a_") == "&lt;a_"


def test_verdict_and_reasons_are_said(page: str) -> None:
    text = Page(page).text
    assert "They disagree" in text
    assert "They disagree on 1 of 2 inputs" in text
    assert "1 of 2 inputs failed" in text
    # Each is said at its own output alone.
    assert text.count("another best class; a probability differs by 0.5") == 1
    assert text.count("5.21% of the pixels differ") == 1
    assert "it failed" in text
    assert "5.208% of the pixels differ from A" in text  # 200 of 3840


def test_those_that_agree_are_told_so() -> None:
    answers = [classes(0.7, 0.1, 0.1, 0.1)]
    page = html_report(compared([Fixed("a", answers), Fixed("b", answers)], 1, picture(8, 8)))
    assert "All agree" in page
    assert 'class="view side1 bad"' not in page
    assert "data:image/png" in page  # few pixels are kept exactly
    assert "Differences by class" not in page


@pytest.mark.parametrize("count", [2, 3, 4, 5, 6, 9])
def test_any_number_of_sides(count: int) -> None:
    sides = [Fixed(f"side {at}", [classes(0.7 - at / 20, 0.3 + at / 20)]) for at in range(count)]
    page = html_report(compared(sides, 1))
    found = Page(page)
    assert found.tags.count("section") == count
    assert page.count('<ol class="best">') == count


def test_a_tensor_has_no_picture_and_numbers_have_a_histogram() -> None:
    values = np.random.default_rng(3).normal(size=(4, 5, 6))
    sides = [Fixed("a", [raw(values)]), Fixed("b", [raw(values + 0.1)])]
    page = html_report(compared(sides, 1))
    assert "<img" not in page
    assert page.count('<svg class="histogram') == 1
    assert "120 of 120 numbers" in page


def test_nan_and_sizes_that_differ_are_shown() -> None:
    sides = [
        Fixed("a", [raw(np.array([1.0, np.nan])), mask(np.zeros((4, 4), np.uint8))]),
        Fixed("b", [raw(np.array([1.0, 2.0])), mask(np.zeros((5, 4), np.uint8))]),
    ]
    text = Page(html_report(compared(sides, 1, picture(10, 10)))).text
    assert "not all are numbers" in text
    assert "the masks are [4,4] and [5,4] pixels" in text


def test_examples_stay_small() -> None:
    place = Placement((3000, 4000), (600, 800), 0.2, 0.2, 0.0, 0.0)
    big = np.zeros((600, 800), np.uint8)
    other = big.copy()
    other[300, 400] = 1  # one pixel is not lost
    sides = [Fixed("a", [mask(big)], placement=place), Fixed("b", [mask(other)], placement=place)]
    (example,) = compared(sides, 1, picture(3000, 4000)).examples
    assert example.picture is not None
    assert max(example.picture.shape) == SIDE
    first, second = example.outputs[0].views
    assert first is not None
    assert first.classes is not None
    assert first.classes.shape == example.picture.shape[:2]
    assert second is not None
    assert second.differs is not None
    assert second.differs.any()


# -- pictures ---------------------------------------------------------------------------------------------


def test_an_overlay_is_half_picture_and_half_class() -> None:
    base = np.full((2, 2, 3), 100, np.uint8)
    drawn = overlay(base, np.array([[0, 1], [1, -1]], np.int32))
    colours = palette(2).astype(int)
    assert drawn[0, 0].tolist() == [(100 + each) // 2 for each in colours[0]]
    assert drawn[0, 1].tolist() == [(100 + each) // 2 for each in colours[1]]
    assert len({tuple(pixel) for pixel in drawn.reshape(-1, 3).tolist()}) == 3


def test_a_difference_map_has_one_colour_where_masks_differ() -> None:
    base = picture(4, 6)
    differs = np.zeros((4, 6), bool)
    differs[1, 2] = True
    drawn = difference_map(base, differs)
    assert (np.all(drawn == DIFFERENT, axis=2) == differs).all()
    rest = drawn[~differs]
    assert (rest == rest[:, :1]).all()  # the others are gray


# -- contrast ---------------------------------------------------------------------------------------------


def luminance(colour: str) -> float:
    """Relative luminance of #rrggbb, as WCAG 2.1 defines it."""
    parts = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
    linear = [each / 12.92 if each <= 0.04045 else ((each + 0.055) / 1.055) ** 2.4 for each in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(one: str, other: str) -> float:
    light, dark = sorted((luminance(one), luminance(other)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


@pytest.mark.parametrize("scheme", [0, 1], ids=["light", "dark"])
def test_contrast(scheme: int) -> None:
    """The bounds of WCAG 2.1, level AA: 4.5 for text, 3 for what a chart draws."""
    block = re.findall(r":root \{(.*?)\}", CSS, re.DOTALL)[scheme]
    colours = dict(re.findall(r"--([\w-]+): (#\w{6})", block))
    for text, ground in (
        *(("text", each) for each in ("ground", "card", "good-ground", "bad-ground")),
        *(("soft", each) for each in ("ground", "card", "track")),
        *(("link", "card"), ("bad", "card"), ("good", "good-ground"), ("bad", "bad-ground")),
        *(("on-side", f"s{at}") for at in range(6)),
    ):
        assert contrast(colours[text], colours[ground]) >= 4.5, (text, ground)
    for at in range(6):
        for ground in ("card", "track"):
            assert contrast(colours[f"s{at}"], colours[ground]) >= 3, (at, ground)


# -- a browser --------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def browser() -> str:
    for name in ("chromium", "chromium-browser", "google-chrome"):
        found = shutil.which(name)
        if found is not None:
            return found
    reason = "no chromium or google-chrome to open the report with"
    if os.environ.get("WASINN_REQUIRE_BACKENDS"):
        pytest.fail(reason)
    pytest.skip(reason)


def opened(browser: str, file: Path, folder: Path, *more: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [
            browser,
            *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
            *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
            *("--enable-logging=stderr", "--v=0", f"--user-data-dir={folder}"),
            *more,
            file.as_uri(),
        ],
        capture_output=True,
        text=True,
        timeout=90,
        check=True,
    )


def test_a_browser_opens_it_without_errors(browser: str, page: str, tmp_path: Path) -> None:
    file = tmp_path / "report.html"
    # What the page itself shows of its layout, for the test to read in the DOM.
    probe = (
        "<script>addEventListener('load', () => { const d = document.documentElement; d.dataset.probe = "
        "[d.scrollWidth <= d.clientWidth, [...document.images].every(i => i.naturalWidth > 0), "
        "performance.getEntriesByType('resource').filter(e => !e.name.startsWith('data:')).length, "
        "[...document.querySelectorAll('.view')].every(v => v.scrollWidth <= v.clientWidth + 1)].join(); "
        "console.error('the probe ran'); })</script>"
    )
    file.write_text(page.replace("</body>", f"{probe}</body>"), encoding="utf-8")
    for width in (1200, 400):
        folder = tmp_path / f"profile-{width}"
        done = opened(browser, file, folder, "--dump-dom", f"--window-size={width},900")
        messages = [line for line in done.stderr.splitlines() if ":CONSOLE" in line]
        assert len(messages) == 1, messages  # errors of a page would be seen, and there are none
        assert "the probe ran" in messages[0]
        # Nothing is wider than the window or its box, every picture was decoded, nothing was fetched.
        assert 'data-probe="true,true,0,true"' in done.stdout
        assert done.stdout.count("<article") == 2
        assert done.stdout.count('class="view side') == 2 * 4 * 3


def test_it_prints(browser: str, page: str, tmp_path: Path) -> None:
    file, paper = tmp_path / "report.html", tmp_path / "report.pdf"
    file.write_text(page, encoding="utf-8")
    opened(browser, file, tmp_path / "profile", f"--print-to-pdf={paper}", "--no-pdf-header-footer")
    content = paper.read_bytes()
    assert content.startswith(b"%PDF-")
    sizes = {
        tuple(round(float(each)) for each in found.split()[2:])
        for found in re.findall(rb"/MediaBox ?\[([^\]]+)\]", content)
    }
    assert sizes == {(595, 842)}  # A4 in points, upright
