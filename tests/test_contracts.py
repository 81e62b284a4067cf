# SPDX-License-Identifier: Apache-2.0
# ruff: noqa: E501  (a row of a table stands on one line)
"""The contract's format: what is read, what is refused and how, and that reading and writing agree."""

from __future__ import annotations

import importlib.util
import json
import re
import tomllib
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wasinn.contracts.bound import bind
from wasinn.contracts.contract import (
    BOX_FORMATS,
    BOX_FORMS,
    COLOURS,
    FITS,
    IMAGE_LAYOUTS,
    OUTPUT_KINDS,
    RESIZES,
    Contract,
)
from wasinn.contracts.keys import INPUT_KEYS, OUTPUT_KEYS
from wasinn.contracts.lines import line_of
from wasinn.contracts.parse import parse_contract, read_contract
from wasinn.contracts.schema import contract_schema
from wasinn.contracts.write import to_toml
from wasinn.errors import ConfigError
from wasinn.graphs.config import read_config
from wasinn.spec import TensorType
from wasinn.tensors import Quantization, TensorSpec

ROOT = Path(__file__).parents[1]
IMAGE = '[input.image]\nlayout = "NCHW"\nsize = [224, 224]\n'
INTEGER = '[input.image]\ntype = "u8"\nlayout = "NHWC"\nsize = [2, 2]\n'
CLASSES = '[output.classes]\nkind = "logits"\n'


def parse(text: str, folder: Path = Path(".")) -> Contract:
    return parse_contract(tomllib.loads(text), folder, "c.toml", text)


GOOD = [
    IMAGE,
    IMAGE + 'port = 3\ntype = "f16"\ncolour = "BGR"\nrange = [-1, 1]\nmean = 0.5\nstd = [1, 2, 3]\n',
    IMAGE + 'fit = "crop"\ncrop = 256\nresize = "area"\nantialias = false\ninvert = true\n',
    IMAGE + 'fit = "letterbox"\nfill = 114\n',
    IMAGE + 'fit = "letterbox"\nfill = [114, 0, 255]\n',
    '[input.image]\nlayout = "HW"\nsize = [1, 16384]\nrange = [0, 255]\nmean = [33.0]\n',
    '[input.image]\nlayout = "NCHW"\ncolour = "GRAY"\nsize = [8, 8]\nstd = [255]\n',
    INTEGER,
    INTEGER + 'quantization = "model"\nrange = [-1.0, 1.0]\n',
    INTEGER + "quantization = { scale = 0.5, zero_point = 3 }\n",
    INTEGER + "quantization = { scale = [0.5, 1, 2], zero_point = [1, 2, 3], axis = 3 }\n",
    '[input.x]\nkind = "tensor"\n',
    '[input.x]\ntype = "i64"\ndims = [1, -1, 0]\n',
    '[input."a b"]\ndims = []\n',
    CLASSES,
    CLASSES + 'labels = ["a", "", "c"]\nlabel_offset = -1\nclasses = 4\n',
    '[output.m]\nkind = "mask"\nlayout = "HW"\ntype = "u8"\nquantization = "none"\n',
    '[output.b]\nkind = "boxes"\nscores = "s"\nclass_port = 2\ncount = 3\nthreshold = 0\niou = 1\n',
    '[output.b]\nkind = "boxes"\nform = "yolo"\nobjectness = true\nformat = "xyxy"\nrelative = true\n',
    '[output.b]\nkind = "boxes"\nform = "ssd"\n',
    "input.image.size = [2, 2]\ninput.image.layout = 'HWC'\n",
    "output = { y = {} }\n",
]

#: What is wrong, what the error says, and whether the schema can say it as well.
BAD = [
    ("", "c.toml: an empty contract; write an", True),
    ("[input]\n", "empty contract", True),
    ("[inputs.image]\n", r"line 1: unknown key inputs \(is it \"input\"\?\)", True),
    ("input = 3\n", r"line 1: input is tables, \[input.NAME\], not 3", True),
    ('[input]\nlayout = "NCHW"\n', r"line 2: \[input.layout\]: layout is not in a table with a name", True),
    ("[[input.image]]\n", r"line 1: .*list of tables; write \[input.image\], in single", True),
    ('[input.""]\n', "a name is 1 to 200 printable characters", True),
    ('[input."a\\u001b[31m"]\n', "printable characters, not", False),
    (IMAGE + "sise = 3\n", r"line 4: \[input.image\]: unknown key sise \(is it \"size\"\?\); known: ", True),
    (IMAGE + 'colour = "RGB"\ncolor = "BGR"\n', "line 5: .*colour and color are one key in two", True),
    (IMAGE + 'colour = "RGBA"\n', 'line 4: .*one of "RGB", "BGR", "GRAY", not "RGBA"', True),
    (IMAGE + "colour = true\n", "not true", True),
    ('[input.image]\nlayout = "NCHW"\n', r"size is missing: .* size = \[224, 224\]", True),
    ("[input.image]\nsize = [2, 2]\n", 'layout is missing: .* layout = "NCHW"', True),
    ('[input.image]\nkind = "image"\n', "layout is missing", True),
    ('[input.image]\nlayout = "NCHW"\nsize = [0, 0]\n', r"line 3: .*1 to 16384 pixels, not \[0, 0\]", True),
    ('[input.image]\nlayout = "NCHW"\nsize = [224]\n', r"not \[224\]", True),
    ('[input.image]\nlayout = "NCHW"\nsize = [224.0, 224.0]\n', r"not \[224.0, 224.0\]", False),
    ('[input.image]\nlayout = "NCHW"\nsize = [true, 2]\n', r"not \[true, 2\]", True),
    ('[input.image]\nlayout = "NCHW"\nsize = [9999999999999999999999, 2]\n', "not .9999999999999999999999", True),
    (f'[input.image]\nlayout = "NCHW"\nsize = [2, 0x{"f" * 5000}]\n', "a number of 20000 bits", True),
    ('[input.image]\nlayout = "NCHWD"\nsize = [2, 2]\n', "layout is one of", True),
    ('[input.image]\nlayout = "HW"\ncolour = "RGB"\nsize = [2, 2]\n', "line 2: .*layout HW has no C", True),
    (IMAGE + "mean = [0.5, 0.5]\n", "line 4: .*mean has 2 numbers, and the colour RGB has 3 channels", True),
    (IMAGE + 'colour = "GRAY"\nmean = [1, 2, 3]\n', "line 5: .*3 numbers, and the colour GRAY has 1 channel;", True),
    (IMAGE + "mean = []\n", "mean has 0 numbers", True),
    (IMAGE + 'mean = "0.5"\n', 'mean is a number, or one for each channel, not "0.5"', True),
    (IMAGE + "mean = [nan, 0, 0]\n", "mean is a number", False),
    (IMAGE + "mean = 1e400\n", "not inf", True),
    (IMAGE + "mean = true\n", "not true", True),
    (IMAGE + "std = 0\n", "line 4: .*std divides: it is above 0, not 0", True),
    (IMAGE + "std = [1, -1, 1]\n", "std divides", True),
    (IMAGE + "std = 1e-300\n", "std divides", True),
    (IMAGE + "range = [0, 0]\n", "two different numbers, not 0 twice", False),
    (IMAGE + "range = 255\n", r"range is two numbers, as in \[0.0, 1.0\], not 255", True),
    (IMAGE + "range = [0, nan]\n", "range is two numbers", False),
    (IMAGE + "crop = 256\n", 'line 4: .*needs fit = "crop", not "stretch"', True),
    (IMAGE + 'fit = "crop"\ncrop = 100\n', "line 5: .*at least 224 for this size, not 100", False),
    (IMAGE + "fill = 3\n", "line 4: .*fill is the colour of bars", True),
    (IMAGE + 'fit = "letterbox"\nfill = 256\n', "level from 0 to 255", True),
    (IMAGE + 'fit = "letterbox"\nfill = [1, 2]\n', r"not \[1, 2\]", True),
    (IMAGE + "antialias = 1\n", "antialias is true or false, not 1", True),
    (IMAGE + 'resize = "lanczos"\n', 'resize is one of "bilinear"', True),
    (IMAGE + 'fit = "cover"\n', "fit is one of", True),
    (IMAGE + "dims = [1]\n", "line 4: .*follow from its layout and size", True),
    (IMAGE + 'kind = "tensor"\n', "layout is of images, and kind is", True),
    (IMAGE + 'type = "bool"\n', "the type of an image is one of f16", True),
    (IMAGE + 'type = "float32"\n', 'line 4: .*type is one of f16, f32, .* not "float32" .is it "f32"', True),
    (IMAGE + 'type = "Int8"\n', 'is it "i8"', True),
    (IMAGE + "mean = 123.675\n", r"line 4: .*mean 123.675 lies outside range \[0, 1\].*range = \[0.0, 255", False),
    (IMAGE + "type = 32\n", "not 32", True),
    (IMAGE + 'port = ""\n', "its name or its index", True),
    (IMAGE + "port = -1\n", "an index from 0 on, not -1", True),
    (IMAGE + "port = true\n", "not true", True),
    (IMAGE + "port = 99999999999999999999\n", "an index from 0 on", True),
    (IMAGE + "port = 1.5\n", "its name or its index, not 1.5", True),
    (IMAGE + 'quantization = "model"\n', "line 4: .*quantization is of integers .* type is f32", True),
    (INTEGER + "range = [0, 1]\n", "line 5: .*becomes 0 to 1, and u8 holds whole numbers alone; write", False),
    (INTEGER + "range = [-1.0, 255.0]\n", r"u8 cannot hold \(0 to 255\); write range = \[0.0, 255.0\]", False),
    (INTEGER.replace("u8", "i8"), r"i8 cannot hold \(-128 to 127\); write range = \[-128.0, 127.0\]", False),
    (INTEGER + "quantization = 3\n", 'is "none", "model"', True),
    (INTEGER + "quantization = {}\n", "not {}", True),
    (INTEGER + "quantization = { scale = 0 }\n", "line 5: .*a scale is a number above 0, not 0", True),
    (INTEGER + "quantization = { scale = 1e-60 }\n", "above 0, not 1e-60", True),
    (INTEGER + "quantization = { scale = 1, zero = 2 }\n", "zero = 2", True),
    (INTEGER + "quantization = { scale = 1, zero_point = 256 }\n", "from 0 to 255, not 256", False),
    (INTEGER + "quantization = { scale = 1, zero_point = 1.0 }\n", "whole number", False),
    (INTEGER + "quantization = { scale = [1, 2] }\n", "several scales need an axis", True),
    (INTEGER + "quantization = { scale = [1, 2], zero_point = [1], axis = 0 }\n", "2 scales and 1 zero", False),
    (INTEGER + "quantization = { scale = [1, 2], axis = -1 }\n", "axis is a dimension's index", True),
    ("[input.x]\ndims = [1, -2]\n", r"line 2: .*with -1 for any, as in \[1, 10\], not \[1, -2\]", True),
    ("[input.x]\ndims = 3\n", "dims is a list of sizes", True),
    (f"[input.x]\ndims = {[1] * 33}\n", "33 dimensions, and no tensor more than 32", True),
    ('[output.x]\nkind = "classes"\n', 'kind is one of "logits"', True),
    (CLASSES + "iou = 0.5\n", "line 3: .*iou is of boxes", True),
    (CLASSES + 'layout = "HW"\n', "layout is of masks", True),
    (CLASSES + "labels = []\n", "a file with a label on each line", True),
    (CLASSES + "labels = [1]\n", r"not \[1\]", True),
    (CLASSES + 'labels = "nowhere.txt"\n', "line 3: .*nowhere.txt' is not there; the path is relative", False),
    (CLASSES + 'labels = "a\\u0000b"\n', "cannot read|is not there", False),
    (CLASSES + 'labels = "."\n', "no file", False),
    (CLASSES + "label_offset = 0.5\n", "a whole number", True),
    (CLASSES + "classes = 0\n", "from 1 to", True),
    ('[output.x]\ntype = "f32"\nquantization = "model"\n', "quantization is of integers", True),
    ('[output.b]\nkind = "boxes"\n', "line 1: .*scores is missing", True),
    ('[output.b]\nkind = "boxes"\nform = "yolo"\nscores = 1\n', "line 4: .*has all in one", True),
    ('[output.b]\nkind = "boxes"\nscores = 1\nobjectness = true\n', 'objectness is of form = "yolo"', True),
    ('[output.b]\nkind = "boxes"\nscores = 1\nthreshold = 50\n', "threshold is a number from 0 to 1, not 50", True),
    ('[output.b]\nkind = "boxes"\nscores = 1\nformat = "xxyy"\n', "format is one of", True),
    ("input.image.a.b.c = 3\n", "line 1: .*unknown key a", True),
    ("output.x.kind = 1979-05-27\n", "not 1979-05-27", False),
]  # fmt: skip


@pytest.mark.parametrize("text", GOOD)
def test_good_contracts_are_read_and_agree_with_the_schema(text: str) -> None:
    contract = parse(text)
    assert contract.inputs or contract.outputs
    assert holds(contract_schema(), tomllib.loads(text))


@pytest.mark.parametrize(("text", "says", "in_schema"), BAD)
def test_bad_contracts_are_refused(text: str, says: str, in_schema: bool) -> None:
    with pytest.raises(ConfigError, match=says) as caught:
        parse(text)
    assert "c.toml" in str(caught.value)
    assert len(str(caught.value)) < 600
    if in_schema:
        assert not holds(contract_schema(), tomllib.loads(text))


def holds(schema: Any, value: Any) -> bool:
    """Whether a value is as a JSON schema says: the words that the contract's schema uses, and no others."""
    if isinstance(schema, bool):
        return schema
    known = {"$schema", "title", "description", "then", "else"} | set(_CHECKS)
    assert set(schema) <= known, set(schema) - known
    if "if" in schema and not holds(
        schema.get("then" if holds(schema["if"], value) else "else", True), value
    ):
        return False
    return all(check(schema[word], value, schema) for word, check in _CHECKS.items() if word in schema)


_TYPES: dict[str, Any] = {
    "object": lambda value: isinstance(value, dict),
    "array": lambda value: isinstance(value, list),
    "string": lambda value: isinstance(value, str),
    "boolean": lambda value: isinstance(value, bool),
    "integer": lambda value: isinstance(value, int | float) and not isinstance(value, bool) and value % 1 == 0,
    "number": lambda value: isinstance(value, int | float) and not isinstance(value, bool),
}  # fmt: skip


def _of(kind: str, check: Any) -> Any:
    return lambda wanted, value, schema: not _TYPES[kind](value) or check(wanted, value, schema)


_CHECKS: dict[str, Any] = {
    "if": lambda *_: True,
    "type": lambda wanted, value, _: _TYPES[wanted](value),
    "enum": lambda wanted, value, _: any(type(each) is type(value) and each == value for each in wanted),
    "const": lambda wanted, value, _: type(wanted) is type(value) and wanted == value,
    "not": lambda wanted, value, _: not holds(wanted, value),
    "anyOf": lambda wanted, value, _: any(holds(each, value) for each in wanted),
    "allOf": lambda wanted, value, _: all(holds(each, value) for each in wanted),
    "minimum": _of("number", lambda wanted, value, _: value >= wanted),
    "maximum": _of("number", lambda wanted, value, _: value <= wanted),
    "minLength": _of("string", lambda wanted, value, _: len(value) >= wanted),
    "maxLength": _of("string", lambda wanted, value, _: len(value) <= wanted),
    "items": _of("array", lambda wanted, value, _: all(holds(wanted, each) for each in value)),
    "minItems": _of("array", lambda wanted, value, _: len(value) >= wanted),
    "maxItems": _of("array", lambda wanted, value, _: len(value) <= wanted),
    "required": _of("object", lambda wanted, value, _: all(key in value for key in wanted)),
    "minProperties": _of("object", lambda wanted, value, _: len(value) >= wanted),
    "propertyNames": _of("object", lambda wanted, value, _: all(holds(wanted, key) for key in value)),
    "properties": _of(
        "object",
        lambda wanted, value, _: all(holds(each, value[key]) for key, each in wanted.items() if key in value),
    ),
    "additionalProperties": _of(
        "object",
        lambda wanted, value, schema: all(
            holds(wanted, each) for key, each in value.items() if key not in schema.get("properties", {})
        ),
    ),
}


def test_the_shipped_schema_is_the_generated_one() -> None:
    path = ROOT / "tools" / "write_schema.py"
    spec = importlib.util.spec_from_file_location("write_schema", path)
    assert spec is not None
    assert spec.loader is not None
    tool = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(tool)
    assert tool.TARGET.read_text() == tool.content(), "run tools/write_schema.py"
    assert json.loads(tool.content())["$schema"].endswith("2020-12/schema")


def test_american_spelling_and_any_case() -> None:
    image = parse(IMAGE.replace("NCHW", "nchw") + 'color = "bgr"\nresize = "Bicubic"\n').inputs["image"].image
    assert image is not None
    assert (image.layout, image.colour, image.resize) == ("NCHW", "BGR", "bicubic")


# Files


def test_a_file_with_a_byte_order_mark_and_windows_lines(tmp_path: Path) -> None:
    path = tmp_path / "c.toml"
    (tmp_path / "l.txt").write_bytes("\ufeffone\r\n\r\nthree \r\n\u2028four\r\n\r\n".encode())
    path.write_bytes(("\ufeff" + IMAGE + CLASSES + 'labels = "l.txt"\n').replace("\n", "\r\n").encode())
    contract = read_contract(path)
    # The empty line keeps the number of what follows; U+2028 ends no line.
    assert contract.outputs["classes"].labels == ("one", "", "three", "four")
    path.write_bytes(b"\r\n\r\n[input.image]\r\nsize = 3\r\nlayout = 'NCHW'\r\n")
    with pytest.raises(ConfigError, match=re.escape(f"{path}, line 4: [input.image]: size is")):
        read_contract(path)


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"[input.image\n", r"is not TOML: .*line 1"),
        (b"a = 1\nb = \xff\n", "line 2: not UTF-8"),
        (b"a = " + b"[" * 100_000, "is not TOML: .*nested too deeply"),
        (b"a = " + b"9" * 5000, "is not TOML"),
        (b".".join([b"input"] * 20_000) + b" = 1", "unknown key input"),
        (b"input.x.kind = { " + b".".join([b"a"] * 5000) + b" = 1 }", "kind is one of"),
        (b"\x00", "is not TOML"),
    ],
)
def test_files_that_are_no_contract(tmp_path: Path, content: bytes, says: str) -> None:
    path = tmp_path / "c.toml"
    path.write_bytes(content)
    with pytest.raises(ConfigError, match=says) as caught:
        read_contract(path)
    assert str(path) in str(caught.value)


@pytest.mark.parametrize("kind", ["missing", "folder", "null"])
def test_what_is_no_file(tmp_path: Path, kind: str) -> None:
    path = {"missing": tmp_path / "x.toml", "folder": tmp_path, "null": Path("a\0b")}[kind]
    with pytest.raises(ConfigError, match="cannot read the contract"):
        read_contract(path)


@pytest.mark.parametrize(
    ("content", "says"), [(b"", "has no labels"), (b"\n \n", "has no labels"), (b"a\nb\xff", "in its line 2")]
)
def test_label_files_that_are_none(tmp_path: Path, content: bytes, says: str) -> None:
    (tmp_path / "l.txt").write_bytes(content)
    with pytest.raises(ConfigError, match=rf"c.toml, line 3: \[output.classes\]: labels: .*{says}"):
        parse(CLASSES + 'labels = "l.txt"\n', tmp_path)


def test_an_error_in_wasinn_toml_names_file_table_and_line_once(tmp_path: Path) -> None:
    path = tmp_path / "wasinn.toml"
    path.write_text(
        '[graphs.m]\nfiles = ["@digits"]\n\n[graphs.m.contract.input.image]\nsize = [0, 0]\nlayout = "NCHW"\n'
    )
    with pytest.raises(ConfigError) as caught:
        read_config(path)
    told = str(caught.value)
    assert told.startswith(f"{path}: [graphs.m]: line 5: [contract.input.image]: size is [height, width]")
    assert told.count("wasinn.toml") == told.count("line") == 1


# Lines


DOCUMENT = '''\
# [input.image]
text = """
[input.image]
size = 1 \\"""
"""
list = [
  "size = 1", # ]
  [2], { size = 3 },
]
input.image.size = [1,
  2]
[ "output" . 'a.b' ]  # [x]
"k\\u0069nd" = 'raw'
q = { scale = 1, deep.er = 2 }
[[many]]
a = 1979-05-27T07:32:00Z
[[many]]
b = \'\'\'
a = 1\'\'\'\''
[last]'''


@pytest.mark.parametrize(
    ("path", "line"),
    [
        (("input", "image", "size"), 10),
        (("input", "image", "layout"), 10),
        (("output", "a.b"), 12),
        (("output", "a.b", "kind"), 13),
        (("output", "a.b", "q", "scale"), 14),
        (("output", "a.b", "q", "deep", "er"), 14),
        (("output", "a.b", "missing"), 12),
        (("many", "b"), 18),
        (("last", "x"), 20),
        (("list", "size"), 8),
        (("many",), 15),
        (("nowhere", "x"), None),
    ],
)
def test_the_line_of_a_key(path: tuple[str, ...], line: int | None) -> None:
    tomllib.loads(DOCUMENT)
    assert line_of(DOCUMENT, path) == line


# Whatever comes


words = st.sampled_from(
    [
        *("input", "output", "image", "tensor", "NCHW", "HW", "RGB", "GRAY", "u8", "f32", "model", "none"),
        *("logits", "mask", "boxes", "yolo", "scale", "zero_point", "axis", *INPUT_KEYS, *OUTPUT_KEYS),
    ]
)
scalars = st.one_of(
    words,
    st.text(max_size=5),
    st.booleans(),
    st.integers(),
    st.integers(-2, 300),
    st.floats(),
    st.integers(0, 10**400),
    st.dates(),
)
values = st.recursive(
    scalars,
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(words | st.text(max_size=3), inner, max_size=4)
    ),
    max_leaves=12,
)
tables = st.dictionaries(words | st.text(max_size=3), values, max_size=6)


@given(
    st.fixed_dictionaries(
        {},
        optional={
            "input": st.dictionaries(st.text(max_size=3), tables, max_size=2),
            "output": st.dictionaries(st.text(max_size=3), tables, max_size=2),
            "else": values,
        },
    )
)
def test_any_document_is_a_contract_or_refused(document: dict[str, Any]) -> None:
    try:
        contract = parse_contract(document, Path("/nowhere"), "c.toml")
    except ConfigError:
        return
    assert parse(to_toml(contract)) == Contract(contract.inputs, contract.outputs, "c.toml")
    assert holds(contract_schema(), document)


@given(st.binary(max_size=60) | st.text(alphabet="[]{}=.\"'#\n\\ a1-", max_size=60).map(str.encode))
def test_any_text_is_a_contract_or_refused(content: bytes) -> None:
    text = content.decode("utf-8", "replace")
    line = line_of(text, ("input", "x"))  # whatever the text
    assert line is None or 1 <= line <= text.count("\n") + 1
    try:
        document = tomllib.loads(text)
        parse_contract(document, Path("/nowhere"), "c.toml", text)
    except (ConfigError, ValueError):
        pass


levels = st.floats(-1e6, 1e6).map(lambda value: value or 0.0)
scales = st.floats(1e-20, 1e20)
ports = st.none() | st.integers(0, 9) | st.text(min_size=1, max_size=4)


@st.composite
def inputs(draw: Any) -> dict[str, Any]:
    table: dict[str, Any] = {}
    if (port := draw(ports)) is not None:
        table["port"] = port
    if draw(st.booleans()):
        table["dims"] = draw(st.lists(st.integers(-1, 5), max_size=4))
        table["type"] = draw(st.sampled_from([each.label for each in TensorType]))
        return table
    table["layout"] = draw(st.sampled_from(["NCHW", "NHWC", "CHW", "HWC", "NHW", "HW"]))
    gray = "C" not in table["layout"] or draw(st.booleans())
    table["colour"] = "GRAY" if gray else draw(st.sampled_from(["RGB", "BGR"]))
    table["size"] = [draw(st.integers(1, 500)), draw(st.integers(1, 500))]
    channels = 1 if gray else 3
    table["std"] = draw(st.lists(scales, min_size=channels, max_size=channels))
    table["range"] = draw(st.lists(levels, min_size=2, max_size=2, unique=True))
    # A mean far outside of the range is refused.
    most = 2 * max(map(abs, table["range"]))
    means = levels.map(lambda level: max(-most, min(most, level)))
    table["mean"] = draw(st.lists(means, min_size=channels, max_size=channels))
    table["fit"] = draw(st.sampled_from(["stretch", "crop", "letterbox"]))
    if table["fit"] == "crop":
        table["crop"] = draw(st.integers(500, 1000))
    if table["fit"] == "letterbox":
        table["fill"] = draw(st.lists(st.integers(0, 255), min_size=3, max_size=3))
    for key in ("invert", "antialias"):
        table[key] = draw(st.booleans())
    if draw(st.booleans()):
        table["type"] = "i8"
        table["quantization"] = draw(
            st.just("model")
            | st.builds(
                lambda scale, point: {"scale": scale, "zero_point": point}, scales, st.integers(-128, 127)
            )
        )
    return table


names = st.text(min_size=1, max_size=5).filter(lambda text: text.isprintable() and text.strip())


@given(
    st.dictionaries(names, inputs(), min_size=1, max_size=2),
    st.lists(st.text(max_size=5), min_size=1, max_size=30),
)
def test_a_contract_that_is_written_is_read_again_the_same(tables: dict[str, Any], labels: list[str]) -> None:
    document = {
        "input": tables,
        "output": {"y": {"kind": "probabilities", "labels": labels, "label_offset": 1}},
    }
    contract = parse_contract(document, Path("."), "c.toml")
    assert holds(contract_schema(), document)
    notes = {("input", name, "type"): "a guess\nwith # and \x00" for name in tables}
    assert parse(to_toml(contract, notes)) == contract


def test_what_is_guessed_is_marked() -> None:
    text = to_toml(parse(IMAGE + CLASSES), {("input", "image", "layout"): "guessed: dim 1 is 3"})
    (line,) = [line for line in text.splitlines() if "guessed" in line]
    assert re.fullmatch(r'layout = "NCHW" +# guessed: dim 1 is 3', line)


# Against a graph


def port(name: str, dims: tuple[int | None, ...] | None, kind: str = "f32", **more: Any) -> TensorSpec:
    return TensorSpec(name, TensorType.parse(kind), dims, **more)


RGB = port("input", (1, 3, 224, 224))
SCORES = port("scores", (1, 10))
TEN = CLASSES + f"labels = {json.dumps([str(each) for each in range(10)])}\n"
BOXES = '[output.b]\nkind = "boxes"\n'

#: A contract, the graph's ports, and what the error says.
UNFIT: list[tuple[str, list[TensorSpec], list[TensorSpec], str]] = [
    (IMAGE + 'port = "data"\n', [RGB], [], r"\[input.image\]: the graph has no input 'data'; it has: 0 'input' \(f32"),
    (IMAGE + "port = 1\n", [RGB], [], "no input 1; it has: 0 'input'"),
    (IMAGE, [RGB, RGB], [], "no input 'image'"),
    (IMAGE, [], [], "it has: none"),
    (IMAGE + '[input.b]\nport = "input"\n', [RGB], [], r"\[input.b\] and \[input.image\] are both .*its own"),
    (IMAGE + 'type = "f16"\n', [RGB], [], 'type is f16, but .* write type = "f32"'),
    (IMAGE, [port("x", (1, 224, 224, 3))], [], r'make \[1,3,224,224\], .*layout = "NHWC" and size = \[224, 224\] would'),
    (IMAGE, [port("x", (1, 3, 96, 128))], [], r'layout = "NCHW" and size = \[96, 128\] would fit'),
    (IMAGE, [port("x", (3, 224, 224))], [], 'layout = "CHW"'),
    (IMAGE, [port("x", (1, 1, 28, 28))], [], r'size = \[28, 28\] and colour = "GRAY" would fit'),
    (IMAGE, [port("x", (4, 3, 224, 224))], [], "is it a picture"),
    (IMAGE, [port("x", (1, 10))], [], "A tensor that is none has dims"),
    ("[input.x]\ndims = [1, 2]\n", [port("x", (1, None, 3))], [], r"dims are \[1,2\], .* write dims = \[1, -1, 3\]"),
    (INTEGER + 'quantization = "model"\n', [port("x", (1, 2, 2, 3), "u8")], [], "has none in the model's file"),
    (INTEGER + "quantization = { scale = [1, 2], axis = 3 }\n", [port("x", (1, 2, 2, 3), "u8")], [], "2 scales along axis 3"),
    (CLASSES + 'port = "y"\n', [], [SCORES], "no output 'y'"),
    (CLASSES + "[output.b]\nport = 0\n", [], [SCORES], "are both the output 'scores'"),
    (CLASSES + 'type = "f16"\n', [], [SCORES], "type is f16, but the graph's output"),
    (CLASSES + "classes = 11\n", [], [SCORES], "classes is 11, .*which has 10; write classes = 10"),
    (TEN, [], [port("y", (1, 11))], "10 labels are too few for the 11 .* label_offset = -1 if class 0 is"),
    (TEN, [], [port("y", (1, 20))], "another network's label file"),
    (TEN, [], [port("y", (1, 9))], "too many for the 9 classes .* write label_offset = 1 if"),
    (TEN + "label_offset = 1\n", [], [SCORES], "10 labels, from label_offset 1 on, are too few .* label_offset = 0 would fit"),
    (TEN + "classes = 12\n", [], [port("y", None)], "too few for the 12"),
    (CLASSES + "quantization = { scale = 1 }\n", [], [SCORES], "real numbers already; leave it out"),
    ('[output.m]\nkind = "mask"\n', [], [port("y", (1, 8, 8))], 'layout is NCHW, but .*write layout = "CHW" or .*"NHW"'),
    ('[output.m]\nkind = "mask"\n', [], [port("y", (2, 4, 8, 8))], "mask of one picture"),
    (BOXES + "scores = 1\n", [], [port("b", (1, 9, 4))], r"\[output.b\]: scores: the graph has no output 1"),
    (BOXES + "scores = 0\n", [], [port("b", (1, 9, 4))], "port and scores are both output 'b'"),
    (BOXES + "port = 0\nscores = 1\n", [], [port("b", (1, 9, 5)), SCORES], r"are \[1, N, 4\], but"),
    (BOXES + 'form = "ssd"\n', [], [port("b", (1, 1, 9, 6))], r"are \[1, 1, N, 7\], but"),
]  # fmt: skip


@pytest.mark.parametrize(("text", "ins", "outs", "says"), UNFIT)
def test_a_contract_that_does_not_fit(
    text: str, ins: list[TensorSpec], outs: list[TensorSpec], says: str
) -> None:
    with pytest.raises(ConfigError, match=f"^c.toml: .*{says}"):
        bind(parse(text), ins, outs)


FIT: list[tuple[str, list[TensorSpec], list[TensorSpec]]] = [
    (IMAGE, [RGB], []),
    (IMAGE, [port("other", (None, 3, None, None))], []),
    (IMAGE, [port("x", None)], []),
    (IMAGE, [port("a", (1,)), port("image", None)], []),
    (IMAGE + 'port = "alias"\n', [port("a", (1,)), port("x", None, aliases=("alias",))], []),
    (IMAGE + 'type = "f16"\n', [port("x", (1, 3, 224, 224), any_type=True)], []),
    ("[input.x]\ndims = [-1, 2]\n", [port("x", (5, 2))], []),
    (TEN, [], [SCORES]),
    (TEN, [], [port("y", (None, 10))]),
    (TEN, [], [port("y", (10,))]),
    (TEN, [], [port("y", (1, 10, 1, 1))]),
    (TEN, [], [port("y", None)]),
    (TEN + "label_offset = -1\n", [], [port("y", (1, 11))]),
    (CLASSES + 'labels = ["no", "yes"]\n', [], [port("y", (1, 1))]),
    ('[output.m]\nkind = "mask"\nlabels = ["no", "yes"]\n', [], [port("y", (None, 1, 8, 8))]),
    (BOXES + "port = 0\nscores = 1\n", [], [port("b", (1, 4, 9)), SCORES]),
]


@pytest.mark.parametrize(("text", "ins", "outs"), FIT)
def test_a_contract_that_fits(text: str, ins: list[TensorSpec], outs: list[TensorSpec]) -> None:
    bound = bind(parse(text), ins, outs)
    assert len(bound.inputs) + len(bound.outputs) == 1


def test_what_binding_fills_in() -> None:
    own = Quantization((0.5,), (3,))
    text = INTEGER + 'quantization = "model"\n' + CLASSES
    bound = bind(
        parse(text),
        [port("x", (1, 2, 2, 3), "u8", quantization=own)],
        [port("y", (None, 7), "u8", quantization=own)],
    )
    assert bound.inputs[0].quantization == bound.outputs[0].quantization == own
    assert bound.outputs[0].classes == 7
    assert (bound.input_index("image"), bound.output_index("classes"), bound.input_index("y")) == (0, 0, None)
    assert bind(parse(CLASSES), [], [SCORES]).outputs[0].quantization == "none"


# The page


PAGE = (ROOT / "docs" / "contracts.md").read_text()


def test_the_page_has_every_key_and_every_word() -> None:
    documented = set(re.findall(r"`([a-z_]+)`", PAGE))
    assert {*INPUT_KEYS, *OUTPUT_KEYS} <= documented
    words = {*IMAGE_LAYOUTS, *COLOURS, *RESIZES, *FITS, *OUTPUT_KINDS, *BOX_FORMATS, *BOX_FORMS}
    assert words <= set(re.findall(r'"([A-Za-z]+)"', PAGE))


def test_the_example_of_the_page_and_its_errors_are_real(tmp_path: Path) -> None:
    example, *_ = re.findall(r"```toml\n(.*?)```", PAGE, re.DOTALL)
    (tmp_path / "imagenet_1000.txt").write_text("label\n" * 1000)
    graph = [port("input", (1, 3, 224, 224))], [port("logits", (1, 1000))]
    assert bind(parse(example, tmp_path), *graph).outputs[0].classes == 1000
    shown = re.findall(r"^wasinn: (c\.toml.*)$", PAGE, re.MULTILINE)
    changes = [
        (r"size   = .*", "size = [0, 224]"),
        (r"mean   = .*", "mean = [0.485, 0.456]"),
        (r"mean   = .*", "mean = [123.675, 116.28, 103.53]"),
        (r"resize = ", "resise = "),
        (r"imagenet_1000", "imagenet"),
        (r'"input"', '"data"'),
        (r"NCHW", "NHWC"),
        (r"\[output.classes\]", "[output.classes]\nlabel_offset = 1"),
    ]
    assert len(shown) == len(changes)
    for (pattern, wrong), line in zip(changes, shown, strict=True):
        with pytest.raises(ConfigError) as caught:
            bind(parse(re.sub(pattern, wrong, example), tmp_path), *graph)
        assert str(caught.value).replace(f"{tmp_path}/", "") == line
