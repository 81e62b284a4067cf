# SPDX-License-Identifier: Apache-2.0
"""What an OpenVINO IR says: layouts, the options of its conversion, the preprocessing in it, and the
operators at its ends.

Inputs and outputs are in the order of the Parameter and Result layers. `mean_values`, `scale_values` and
`reverse_input_channels` were options of the converter, which put them into the model: its pictures are levels
from 0 to 255, and, where the channels were reversed, BGR.
"""

from __future__ import annotations

import re
from itertools import islice

from wasinn.content import Content
from wasinn.graphs.hint import MOST, Hint, Hints
from wasinn.graphs.operators import Operators

_MAX_XML = 64 << 20
#: More layers and edges are not looked at: hostile text can have one in every eight characters.
_MAX_LAYERS, _MAX_EDGES = 100_000, 400_000
#: How much of a Parameter layer is looked at.
_BODY = 8192
# Every repetition is bounded, or ends where the next one begins, so that no text takes long.
_LAYER = re.compile(r"<layer\s([^<>]{0,2000})>")
_EDGE = re.compile(r"<edge\s([^<>]{0,200})>")
_ATTRIBUTE = re.compile(r'(?<![\w-])([\w-]+)="([^"]*)"')
_LAYOUT = re.compile(r'<attribute name="layout"[^<>]{0,100}layout="\[([^"\]]{0,100})\]"')
_OPTION = re.compile(r'<(mean_values|scale_values|reverse_input_channels|framework)\s+value="([^"]{0,2000})"')
#: What an option is that was not given.
_NOTHING = {"", "()", "{}", "[]", "none", "false"}
_KNOWN_LAYOUTS = ("NCHW", "NHWC", "CHW", "HWC", "NHW", "HW")


def read(data: Content, hints: Hints) -> None:
    """Never raises for content that can be read."""
    xml = data[: min(len(data), _MAX_XML)].decode("utf-8", "replace")
    found = Operators()
    parameters, results = _layers(xml, found)
    for index, (name, body) in enumerate(parameters[:MOST]):
        hint = hints.input(index)
        layout = _LAYOUT.search(body)
        letters = layout[1].replace(",", "") if layout else ""
        if letters in _KNOWN_LAYOUTS:
            hint.layout = Hint(letters, "the model's layout attribute")
        hint.raw = found.normalizes(name)
    for index, name in enumerate(results[:MOST]):
        hints.output(index).operator = found.maker(name)
    _options(xml, hints, len(parameters))


def _layers(xml: str, found: Operators) -> tuple[list[tuple[str, str]], list[str]]:
    """The parameters with the text of their layers, and the results, by the layers' ids."""
    makers: dict[str, list[str]] = {}
    for edge in islice(_EDGE.finditer(xml), _MAX_EDGES):
        ends = dict(_ATTRIBUTE.findall(edge[1]))
        # The first input comes first: edges are sorted by the layer that they lead to, and its ports.
        makers.setdefault(ends.get("to-layer", ""), []).append(ends.get("from-layer", ""))
    parameters, results = [], []
    layers = list(islice(_LAYER.finditer(xml), _MAX_LAYERS))
    for layer, after in zip(layers, [*layers[1:], None], strict=True):
        attributes = dict(_ATTRIBUTE.findall(layer[1]))
        name, kind = attributes.get("id", ""), attributes.get("type", "")
        body = xml[layer.end() : min(after.start() if after else len(xml), layer.end() + _BODY)]
        if kind == "Parameter":
            parameters.append((name, body))
        elif kind == "Result":
            results.append(name)
        elif kind == "Convert" and 'destination_type="u8"' in body[:200]:
            kind = "ConvertToBytes"
        found.add("Identity" if kind == "Result" else kind, makers.get(name, []), [name])
    return parameters, results


def _options(xml: str, hints: Hints, inputs: int) -> None:
    """The converter's options, which stand after the layers."""
    options = dict(_OPTION.findall(xml.rpartition("</edges>")[2]))
    given = {key: value for key, value in options.items() if value.lower() not in _NOTHING}
    if inputs != 1:
        return
    hint = hints.input(0)
    for key in ("mean_values", "scale_values"):
        if key in given:
            hint.raw = f"converted with {key}, which the model has in it"
    if "reverse_input_channels" in given:
        hint.colour = Hint("BGR", "converted with reverse_input_channels")
    elif given.get("framework", "").lower() == "caffe":
        hint.colour = Hint("BGR", "guessed: a Caffe model, and Caffe reads pictures as OpenCV does")
        hint.raw = hint.raw or "guessed: a Caffe model; Caffe's pictures are 0 to 255"
