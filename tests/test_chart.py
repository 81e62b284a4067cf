# SPDX-License-Identifier: Apache-2.0
"""The drawing of the benchmarks' chart: that everything measured is in it, and inside the picture."""

from __future__ import annotations

import importlib.util
import itertools
import sys
from pathlib import Path
from types import ModuleType
from typing import Any
from xml.etree import ElementTree

import pytest

FILE = Path(__file__).parents[1] / "benchmarks" / "chart_svg.py"
SVG = "{http://www.w3.org/2000/svg}"


@pytest.fixture(scope="module")
def svg() -> ModuleType:
    """`benchmarks` is no package, and its `models` is not that of the tests: only this file is loaded."""
    spec = importlib.util.spec_from_file_location("chart_svg", FILE)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["chart_svg"] = module
    spec.loader.exec_module(module)
    return module


def chart(svg: ModuleType, *notes: str) -> Any:
    def group(name: str, native: float, guest: float) -> Any:
        bars = (svg.Bar(svg.Side.NATIVE, native), svg.Bar(svg.Side.GUEST, guest, "1.00 x native"))
        return svg.Group(name, "1.0, ONNX", bars)

    wasm = svg.Group("onnxruntime-web", "1.2", (svg.Bar(svg.Side.WASM, 0.0261, "7 x a <guest> & more"),))
    return svg.Chart(
        "Title",
        "Subtitle",
        (
            svg.Panel("small", (group("one", 0.0031, 0.0032), group("two", 0.0001, 0.00011), wasm)),
            svg.Panel("large", (group("one", 0.2, 0.21),)),
        ),
        notes,
        ("a machine", "versions"),
    )


def texts(root: ElementTree.Element) -> list[str]:
    return ["".join(each.itertext()) for each in root.iter(f"{SVG}text")]


def test_every_bar_is_there_with_its_time(svg: ModuleType) -> None:
    root = ElementTree.fromstring(svg.draw(chart(svg)))
    bars = [each for each in root.iter(f"{SVG}rect") if "bar" in each.get("class", "").split()]
    assert [bar.get("class") for bar in bars] == [*["bar native", "bar guest"] * 2, "bar wasm"] + [
        "bar native",
        "bar guest",
    ]
    said = " ".join(texts(root))
    for time in ("3.10 ms", "3.20 ms", "0.100 ms", "0.110 ms", "26.1 ms", "200 ms", "210 ms"):
        assert time in said
    assert "7 x a <guest> & more" in said


def test_within_a_panel_lengths_are_as_the_times(svg: ModuleType) -> None:
    root = ElementTree.fromstring(svg.draw(chart(svg)))
    bars = [each for each in root.iter(f"{SVG}rect") if each.get("class")]
    widths = [float(bar.get("width", 0)) for bar in bars]
    assert widths[4] / widths[0] == pytest.approx(0.0261 / 0.0031, rel=0.01)
    assert widths[6] / widths[5] == pytest.approx(0.21 / 0.2, rel=0.01)


def test_nothing_leaves_the_picture_or_lies_on_another_bar(svg: ModuleType) -> None:
    root = ElementTree.fromstring(svg.draw(chart(svg, "Left out: " + "many things, " * 40)))
    width, height = float(root.get("width", 0)), float(root.get("height", 0))
    assert root.get("viewBox") == f"0 0 {width:g} {height:g}"
    for text in root.iter(f"{SVG}text"):
        length = len("".join(text.itertext())) * float(text.get("font-size", 0)) * 0.5
        end = text.get("text-anchor") == "end"
        start = float(text.get("x", 0)) - (length if end else 0)
        assert start >= 0
        assert start + length <= width
        assert float(text.get("y", 0)) <= height
    tops = [float(each.get("y", 0)) for each in root.iter(f"{SVG}rect") if each.get("class")]
    assert all(below - above >= svg.BAR for above, below in itertools.pairwise(tops))


def test_what_is_missing_is_said(svg: ModuleType) -> None:
    note = "Left out: pure wasm (Node.js is not installed)."
    root = ElementTree.fromstring(svg.draw(chart(svg, note)))
    assert note in texts(root)
    assert note not in texts(ElementTree.fromstring(svg.draw(chart(svg))))


def test_it_can_be_read_without_being_seen(svg: ModuleType) -> None:
    root = ElementTree.fromstring(svg.draw(chart(svg)))
    assert root.get("role") == "img"
    described = {each.get("id"): each.text or "" for each in root}
    assert described["title"] == "Title"
    assert "small, two, guest: 0.110 ms" in described["desc"]


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.00451, "4.51 ms"), (0.0261, "26.1 ms"), (0.134, "134 ms"), (1.2, "1200 ms"), (0.00005, "0.050 ms")],
)
def test_times_have_three_digits(svg: ModuleType, seconds: float, text: str) -> None:
    assert svg.time(seconds) == text
