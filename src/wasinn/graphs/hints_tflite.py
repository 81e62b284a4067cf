# SPDX-License-Identifier: Apache-2.0
"""TensorFlow Lite's metadata: what is done to a picture before the model, and the labels, which are a file in
a zip archive behind the model.

Fields are numbered as in metadata_schema.fbs of tflite-support, and schema.fbs of TensorFlow.
"""

from __future__ import annotations

from wasinn.content import Content
from wasinn.contracts.keys import MAX_LABELS
from wasinn.flatbuffer import Table
from wasinn.graphs import zipped
from wasinn.graphs.hint import MOST, Hint, Hints, InputHints

#: ContentProperties, ProcessUnitOptions, AssociatedFileType and ColorSpaceType of metadata_schema.fbs.
_IMAGE, _NORMALIZATION, _AXIS_LABELS = 2, 1, 2
_COLOURS = {1: "RGB", 2: "GRAY"}
_SAYS = "TFLite metadata"

#: BuiltinOperator of schema.fbs: what makes probabilities.
_OPERATORS = {14: "Sigmoid", 25: "Softmax"}
_MAX_OPERATORS = 50_000
_MAX_LABEL_FILE = 4 << 20
#: Of all label files of a model together.
_MAX_LABEL_BYTES = 8 << 20
#: Outputs whose labels are read.
_MAX_LABELLED = 8


def read(data: Content, hints: Hints) -> None:
    """Raises ValueError where the file breaks off, with the hints found before."""
    model = Table.root(data)
    # Model: subgraphs 2, buffers 4, metadata 6 (name 0, buffer 1); Buffer has data 0.
    for entry in model.tables(6, MOST):
        if entry.text(0) == "TFLITE_METADATA":
            content = model.item(4, entry.number(1, 4)).content(0, 16 << 20)
            _metadata(data, Table.root(content), hints)
            break  # there is one; more would be read for nothing
    _last_operators(model, hints)


def _metadata(data: Content, metadata: Table, hints: Hints) -> None:
    # ModelMetadata: subgraph_metadata 3; SubGraphMetadata: input_tensor_metadata 2, output_tensor_metadata 3.
    for subgraph in metadata.tables(3, 1):
        for index, tensor in enumerate(subgraph.tables(2, MOST)):
            _input(tensor, hints.input(index))
        labels = _LabelFiles(data)
        for index, tensor in enumerate(subgraph.tables(3, _MAX_LABELLED)):
            # TensorMetadata: associated_files 6; AssociatedFile: name 0, type 2, locale 3.
            files = [file for file in tensor.tables(6, MOST) if file.number(2, 1) == _AXIS_LABELS]
            # Without a language the labels may be identifiers: "/m/020f2v".
            files.sort(key=lambda file: (not file.text(3).startswith("en"), not file.text(3)))
            for file in files[:1]:
                found = labels.get(file.text(0))
                why = f"{_SAYS}: {file.text(0, 60)}"
                hints.output(index).labels = Hint(found, why) if found else None


def _archive(data: Content) -> dict[str, zipped.Entry]:
    """The files behind the model; none where there is no archive."""
    try:
        return zipped.entries(data)
    except ValueError:
        return {}


def _input(tensor: Table, hints: InputHints) -> None:
    # TensorMetadata: content 3, process_units 4; Content: content_properties_type 0, content_properties 1.
    content = tensor.table(3)
    if content is not None and content.number(0, 1) == _IMAGE:
        hints.is_image = True
        image = content.table(1)
        colour = _COLOURS.get(image.number(0, 1)) if image is not None else None
        hints.colour = Hint(colour, f"{_SAYS}: its colour space") if colour else None
    # ProcessUnit: options_type 0, options 1; NormalizationOptions: mean 0, std 1, of levels from 0 to 255.
    for unit in tensor.tables(4, MOST):
        options = unit.table(1) if unit.number(0, 1) == _NORMALIZATION else None
        if options is not None:
            hints.mean = Hint(options.floats(0, 4), f"{_SAYS}: its normalization")
            hints.std = Hint(options.floats(1, 4), f"{_SAYS}: its normalization")


class _LabelFiles:
    """The label files in the archive behind a model, each read once, up to a total of bytes: many outputs may
    name one file, or many that unpack to millions of lines."""

    def __init__(self, data: Content) -> None:
        self._data = data
        self._archive = _archive(data)
        self._read: dict[str, tuple[str, ...]] = {}
        self._left = _MAX_LABEL_BYTES

    def get(self, name: str) -> tuple[str, ...]:
        """The lines of a file; none where it is not there or cannot be read."""
        if name not in self._read:
            entry = self._archive.get(name)
            self._read[name] = self._lines(entry) if entry is not None else ()
        return self._read[name]

    def _lines(self, entry: zipped.Entry) -> tuple[str, ...]:
        if self._left <= 0:
            return ()
        try:
            content = zipped.read(self._data, entry, min(_MAX_LABEL_FILE, self._left))
        except ValueError:
            return ()
        self._left -= len(content)
        return _labels(content)


def _labels(content: bytes) -> tuple[str, ...]:
    lines = content.decode("utf-8-sig", "replace").replace("\r\n", "\n").split("\n")
    while lines and not lines[-1].strip():
        lines.pop()
    return tuple(line.strip() for line in lines[:MAX_LABELS])


def _last_operators(model: Table, hints: Hints) -> None:
    # SubGraph: outputs 2, operators 3; Operator: opcode_index 0, outputs 2; Model: operator_codes 1;
    # OperatorCode: deprecated_builtin_code 0, builtin_code 3. Most of what is last is written last.
    codes = [max(code.number(0, 1), code.number(3, 4)) for code in model.tables(1, 4096)]
    for graph in model.tables(2, 1):
        made = {}
        for operator in graph.tables(3, _MAX_OPERATORS):
            index = operator.number(0, 4)
            if index < len(codes) and codes[index] in _OPERATORS:
                for tensor in operator.integers(2, MOST):
                    made[tensor] = _OPERATORS[codes[index]]
        for index, tensor in enumerate(graph.integers(2, MOST)):
            if tensor in made:
                hints.output(index).operator = made[tensor]
