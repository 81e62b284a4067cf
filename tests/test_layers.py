# SPDX-License-Identifier: Apache-2.0
"""Where two runtimes of one model drift apart: on real runtimes, and with one weight changed."""

from __future__ import annotations

import argparse
import json
import math
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

import models
from conftest import require_backend
from wasinn import ConfigError, GraphSource, TensorType, WasiNNError, shipped
from wasinn.agreement import layers_chart, layers_text
from wasinn.agreement.layers import compare_layers, first_cure
from wasinn.agreement.layers_model import read_structure, with_outputs
from wasinn.agreement.layers_rows import LayerRow, LayersReport, drift
from wasinn.backends import onnx_proto
from wasinn.backends.base import Model
from wasinn.cli import diagnose_layers
from wasinn.cli.main import main
from wasinn.tensors import Tensor

FLOAT = TensorProto.FLOAT
DEPTH = 8


def chain(changed: int | None = None, change: float = 1.05, dims: models.Dims = (1, 16)) -> bytes:
    """DEPTH layers of MatMul and Tanh; the weight of layer `changed` is multiplied by `change`."""
    generator = np.random.default_rng(1)
    nodes, weights = [], {}
    for layer in range(DEPTH):
        before = "x" if layer == 0 else f"tanh{layer - 1}"
        after = f"tanh{layer}" if layer < DEPTH - 1 else "y"
        weight = (generator.standard_normal((16, 16)) / 4).astype("<f4")
        weights[f"w{layer}"] = weight * np.float32(change) if layer == changed else weight
        nodes.append(
            helper.make_node("MatMul", [before, f"w{layer}"], [f"product{layer}"], name=f"/m{layer}")
        )
        nodes.append(helper.make_node("Tanh", [f"product{layer}"], [after], name=f"/t{layer}"))
    return models.onnx_model(nodes, [("x", FLOAT, dims)], [("y", FLOAT, dims)], weights)


def source(model: bytes, backend: str = "onnxruntime", **options: Any) -> GraphSource:
    return GraphSource.from_bytes(model, encoding="onnx", backend=backend, **options)


def ones(*dims: int) -> dict[int, Tensor]:
    return {0: Tensor.of(np.linspace(-1, 1, math.prod(dims), dtype="<f4").reshape(dims))}


def tensors_of(report: LayersReport) -> list[str]:
    return [row.tensor for row in report.rows]


# -- what is found ------------------------------------------------------------------------------------


@pytest.mark.parametrize("layer", [0, 3, 7])
def test_the_one_node_whose_weight_differs_is_named(layer: int) -> None:
    report = compare_layers(source(chain()), source(chain(layer)), ones(1, 16))
    assert report.first is not None
    assert (report.first.node, report.first.op, report.first.index) == (f"/m{layer}", "MatMul", 2 * layer)
    assert report.first.rms_rel == pytest.approx(0.05, rel=1e-3)
    assert report.first.max_rel == pytest.approx(0.05, rel=1e-3)
    assert report.first.inputs_rms == 0
    assert report.jump is report.first
    assert [row.rms_rel for row in report.rows[: 2 * layer]] == [0] * (2 * layer)
    assert report.plain > report.tolerance
    assert (report.fused, report.left_out, report.cured) == (None, (), False)


def test_a_jump_below_the_tolerance_is_not_the_first_beyond_it() -> None:
    """A difference of 5e-4 in layer 1 is below the tolerance of 1e-3; 2 % in layer 5 are not."""
    broken = onnx.load_from_string(chain(1, 1.0005))
    weight = next(each for each in broken.graph.initializer if each.name == "w5")
    weight.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(weight) * np.float32(1.02), "w5"))
    report = compare_layers(source(chain()), source(broken.SerializeToString()), ones(1, 16))
    assert report.first is not None
    assert report.jump is not None
    assert (report.first.node, report.jump.node) == ("/m5", "/m1")
    assert report.first.inputs_rms > 0


@pytest.mark.parametrize("backend", ["openvino", "tract"])
def test_nothing_drifts_where_the_runtimes_agree(backend: str) -> None:
    require_backend(backend)
    report = compare_layers(source(chain()), source(chain(), backend), ones(1, 16))
    assert (report.first, report.jump, report.fused) == (None, None, None)
    assert len(report.rows) == 2 * DEPTH
    assert max(row.rms_rel for row in report.rows) < 1e-5
    assert "No tensor differs beyond the tolerance" in " ".join(layers_text.findings(report))


def test_bf16_starts_at_the_first_product() -> None:
    require_backend("openvino")
    options = {"precision": "bf16"}
    try:
        report = compare_layers(source(chain()), source(chain(), "openvino", **options), ones(1, 16))
    except WasiNNError as error:
        pytest.skip(f"this CPU has no bf16: {error}")
    assert report.names == ("onnxruntime", "openvino (bf16)")
    assert report.first is not None
    assert report.first.node == "/m0"


def test_mobilenet_in_bf16_starts_at_its_first_convolution(data: Path) -> None:
    require_backend("openvino")
    model = data / "mobilenet_v2" / "mobilenet_v2.onnx"
    pixels = np.fromfile(data / "mobilenet_v2" / "kitten.tensor", "<f4").reshape(1, 3, 224, 224)
    a, b = (GraphSource.parse(f"onnx:{model}{query}") for query in ("", "?backend=openvino&precision=bf16"))
    try:
        report = compare_layers(a, b, {0: Tensor.of(pixels)})
    except WasiNNError as error:
        pytest.skip(f"this CPU has no bf16: {error}")
    assert report.first is not None
    assert (report.first.op, report.first.node) == ("Conv", "/n/f/f.0/Conv")
    assert report.jump is report.first
    assert report.first.dims == (1, 32, 112, 112)
    assert len(report.rows) > 100


def test_dynamic_dims_and_small_parts() -> None:
    """A part of 200 bytes has one tensor of 3 x 16 floats: as many runs as tensors, and the same rows."""
    told: list[str] = []
    model, broken = chain(dims=("n", 16)), chain(4, dims=("n", 16))
    whole = compare_layers(source(model), source(broken), ones(3, 16))
    parts = compare_layers(
        source(model),
        source(broken),
        ones(3, 16),
        most_bytes=200,
        progress=lambda *each: told.append(each[2]),
    )
    assert parts.rows == whole.rows
    assert parts.first == whole.first
    assert told.count("1 tensors exposed") == 2 * DEPTH


def test_integers_are_counted_where_they_differ() -> None:
    def model(scale: float) -> bytes:
        nodes = [
            helper.make_node("Mul", ["x", "scale"], ["scaled"]),
            helper.make_node("Cast", ["scaled"], ["whole"], to=TensorProto.INT32),
            helper.make_node("Cast", ["whole"], ["y"], to=FLOAT),
        ]
        weights = {"scale": np.array(scale, "<f4")}
        return models.onnx_model(nodes, [("x", FLOAT, (4,))], [("y", FLOAT, (4,))], weights)

    given = {0: Tensor.of(np.array([1, 2, 3, 4], "<f4"))}
    report = compare_layers(source(model(1)), source(model(0.9999)), given)
    whole = report.rows[1]
    assert (whole.tensor, whole.type, whole.rms_rel, whole.beyond) == ("whole", "i32", 1.0, True)
    assert report.first is whole
    assert whole.note == "4 of 4 elements differ"


def test_what_does_not_depend_on_the_inputs_and_subgraphs_are_left_out() -> None:
    body = helper.make_graph(
        [helper.make_node("Add", ["x", "one"], ["inner"])],
        "then",
        [],
        [helper.make_tensor_value_info("inner", FLOAT, (2,))],
    )
    other = helper.make_graph(
        [helper.make_node("Sub", ["x", "one"], ["inner2"])],
        "else",
        [],
        [helper.make_tensor_value_info("inner2", FLOAT, (2,))],
    )
    nodes = [
        helper.make_node("Neg", ["one"], ["constant"]),
        helper.make_node("If", ["yes"], ["chosen"], then_branch=body, else_branch=other),
        helper.make_node("Mul", ["chosen", "constant"], ["y"]),
    ]
    weights = {"one": np.ones(2, "<f4"), "yes": np.array(True)}
    model = models.onnx_model(nodes, [("x", FLOAT, (2,))], [("y", FLOAT, (2,))], weights)
    structure = read_structure(Model(builders=(model,)))
    assert list(structure.makers) == ["chosen", "y"]
    report = compare_layers(source(model), source(model), ones(2))
    assert tensors_of(report) == ["chosen", "y"]


def test_a_tensor_that_a_runtime_does_not_give_is_left_out_alone() -> None:
    nodes = [
        helper.make_node("Neg", ["x"], ["before"]),
        helper.make_node("SequenceConstruct", ["before", "x"], ["sequence"]),
        helper.make_node("ConcatFromSequence", ["sequence"], ["joined"], axis=0),
        helper.make_node("Abs", ["joined"], ["y"]),
    ]
    model = models.onnx_model(nodes, [("x", FLOAT, (2,))], [("y", FLOAT, (4,))])
    report = compare_layers(source(model), source(model), ones(2))
    assert report.left_out == ("sequence",)
    assert tensors_of(report) == ["before", "joined", "y"]
    assert "Not compared" in " ".join(layers_text.findings(report))


def test_a_kernel_that_a_runtime_merges_is_found_by_exposing_less() -> None:
    """f16 that overflows after two factors, and comes back after two more: onnxruntime computes f16 in f32,
    and rounds only what it must give; openvino folds constant factors into one."""
    require_backend("openvino")
    names = ["big", "big", "small", "small"]
    nodes = [
        helper.make_node("Mul", [f"t{at - 1}" if at else "x", name], [f"t{at}"])
        for at, name in enumerate(names)
    ]
    nodes.append(helper.make_node("Neg", ["t3"], ["y"]))
    weights = {"big": np.full(4, 60000, "<f2"), "small": np.full(4, 1e-4, "<f2")}
    half = TensorProto.FLOAT16
    model = models.onnx_model(nodes, [("x", half, (4,))], [("y", half, (4,))], weights)
    given = {0: Tensor.of(np.array([1, 2, 3, 4], "<f2"))}
    report = compare_layers(source(model), source(model, "openvino"), given)
    if report.plain <= report.tolerance:
        pytest.skip("these versions agree")
    assert (report.first, report.cured, report.differs) == (None, True, True)
    assert report.fused in ("t0", "t1", "t2", "t3")
    text = " ".join(layers_text.findings(report))
    assert "No tensor differs at all." in text
    assert f"It is enough to expose the tensors up to tensor {report.fused!r}" in text


def test_isolated_graphs_are_compared_as_well() -> None:
    require_backend("openvino")
    report = compare_layers(source(chain()), source(chain(2), "openvino", isolation="process"), ones(1, 16))
    assert report.first is not None
    assert report.first.node == "/m2"


def test_external_data_stays_outside(tmp_path: Path) -> None:
    require_backend("openvino")
    onnx.save_model(
        onnx.load_from_string(chain()),
        str(tmp_path / "m.onnx"),
        save_as_external_data=True,
        location="weights.bin",
        size_threshold=0,
    )
    a, b = (
        GraphSource.from_files(tmp_path / "m.onnx", encoding="onnx", backend=backend)
        for backend in ("onnxruntime", "openvino")
    )
    report = compare_layers(a, b, ones(1, 16))
    assert len(report.rows) == 2 * DEPTH
    assert report.first is None
    assert sorted(path.name for path in tmp_path.iterdir()) == ["m.onnx", "weights.bin"]
    (tmp_path / "weights.bin").unlink()
    with pytest.raises((ConfigError, WasiNNError)):
        compare_layers(a, b, ones(1, 16))
    assert [path.name for path in tmp_path.iterdir()] == ["m.onnx"]


def test_external_data_elsewhere_is_refused(tmp_path: Path) -> None:
    model = onnx.load_from_string(chain())
    weight = model.graph.initializer[0]
    weight.ClearField("raw_data")
    weight.data_location = TensorProto.EXTERNAL
    weight.external_data.add(key="location", value="../secret")
    (tmp_path / "m.onnx").write_bytes(model.SerializeToString())
    with (
        pytest.raises(ConfigError, match=r"'../secret', which is not in its folder"),
        with_outputs(Model(files=(tmp_path / "m.onnx",)), ["tanh0"]),
    ):
        pass
    assert [path.name for path in tmp_path.iterdir()] == ["m.onnx"]


@pytest.mark.parametrize("backend", ["onnxruntime", "openvino", "tract"])
def test_every_runtime_takes_outputs_without_a_type(backend: str) -> None:
    require_backend(backend)
    names = [f"product{layer}" for layer in range(DEPTH)]
    from wasinn.runtime.direct import DirectGraph

    with with_outputs(Model(builders=(chain(),)), names) as model:
        assert onnx_proto.output_names(model.builders[0]) == ["y", *names]
        onnx.load_from_string(model.builders[0])
        with DirectGraph("m", source(model.builders[0], backend)) as graph:
            found = graph.infer(ones(1, 16)).outputs
    weights = {
        each.name: numpy_helper.to_array(each) for each in onnx.load_from_string(chain()).graph.initializer
    }
    np.testing.assert_allclose(found[1], ones(1, 16)[0].numpy() @ weights["w0"], rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("model", [b"", b"nonsense", b"\xff" * 40])
def test_what_is_no_model(model: bytes) -> None:
    with pytest.raises(ConfigError, match="layers"):
        compare_layers(source(model), source(model), {})


def test_another_encoding_has_no_layers() -> None:
    other = GraphSource.from_files("@digits.tflite", encoding="tensorflowlite")
    with pytest.raises(
        ConfigError, match="layers are compared of ONNX models, and this one is tensorflowlite"
    ):
        compare_layers(other, other, {})


# -- the arithmetic -----------------------------------------------------------------------------------

F32 = (TensorType.F32, TensorType.F32)


def f32(*values: float) -> np.ndarray[Any, Any]:
    return np.array(values, "<f4")


def test_differences_are_relative() -> None:
    found = drift(f32(3, 4), f32(3, 4.5), F32, 1e-3)
    assert found.rms_rel == pytest.approx(0.5 / 5)
    assert found.max_rel == pytest.approx(0.5 / 4)
    assert found.beyond
    assert drift(f32(3, 4) * 1e6, f32(3, 4.5) * 1e6, F32, 1e-3).rms_rel == pytest.approx(found.rms_rel)
    assert not drift(f32(3, 4), f32(3, 4.5), F32, 0.2).beyond


@pytest.mark.parametrize(
    ("a", "b", "beyond"),
    [
        (f32(0, 0), f32(0, 0), False),
        (f32(0, 0), f32(0, 1e-20), False),
        (f32(0, 0), f32(0, 1), True),
        (f32(), f32(), False),
        (f32(math.nan, 1), f32(math.nan, 1), False),
        (f32(math.nan, 1), f32(2, 1), True),
        (f32(math.inf, 1), f32(math.inf, 1), False),
        (f32(math.inf, 1), f32(-math.inf, 1), True),
        (f32(math.inf, 1), f32(3e38, 1), True),
        (f32(math.nan), f32(math.nan), False),
        (f32(1, 2), f32(1, 2, 3), True),
        (f32(3e38, 3e38), f32(-3e38, 3e38), True),
    ],
)
def test_odd_numbers(a: Any, b: Any, beyond: bool) -> None:
    found = drift(a, b, F32, 1e-3)
    assert found.beyond is beyond
    assert not math.isnan(found.rms_rel)
    assert bool(found.note) is (found.rms_rel == math.inf)


def test_bf16_is_read_as_what_it_is() -> None:
    a = (f32(1.5, -2).view("<u4") >> 16).astype("<u2")
    assert drift(a, f32(1.5, -2), (TensorType.BF16, TensorType.F32), 1e-3).rms_rel == 0
    assert drift(a, f32(1.5, 2), (TensorType.BF16, TensorType.F32), 1e-3).beyond


@pytest.mark.parametrize("place", range(9))
def test_bisection_finds_the_first_cure(place: int) -> None:
    names = [f"t{number}" for number in range(9)]
    asked: list[int] = []

    def cured(exposed: Any) -> bool:
        asked.append(len(exposed))
        return names[place] in exposed

    assert first_cure(names, cured) == names[place]
    assert len(asked) <= 6


def test_bisection_without_a_cure() -> None:
    assert first_cure(["a", "b"], lambda _: False) is None
    assert first_cure([], lambda _: True) is None


# -- the words, the bars, the chart -------------------------------------------------------------------


def report_of(*values: float, tolerance: float = 1e-3) -> LayersReport:
    rows = tuple(
        LayerRow(at, f"t{at}<&>", f"/n{at}", "Conv", "f32", (1, 2), 2 * value, value, value > tolerance)
        for at, value in enumerate(values)
    )
    first = next((row for row in rows if row.beyond), None)
    return LayersReport(("a", "b"), rows, tolerance, values[-1], values[-1], first, first)


def test_bars_show_powers_of_ten_and_the_tolerance() -> None:
    lines = layers_text.bars(report_of(0, 1e-7, 1e-5, 1.1e-2, 1.1e-1))
    assert lines[0] == "  1e-01 |    #"
    assert lines[1] == "  1e-02 |   ##"
    assert lines[2] == "  1e-03 |---##"
    assert lines[-2] == "  1e-07 | ####"
    assert lines[-1] == "        |   >"


@pytest.mark.parametrize("count", [1, 2, 71, 72, 500, 5000])
def test_bars_fit_the_terminal(count: int) -> None:
    values = [1e-6] * (count - 1) + [0.5]
    lines = layers_text.bars(report_of(*values), 80)
    assert max(map(len, lines)) <= 80
    assert lines[-1].endswith(">")
    assert lines[0].endswith("#")


@pytest.mark.parametrize(
    "values", [(0.0,), (0.0, math.inf), (math.inf, 1e-30), (1e-3, 1e30), (1e-20, 1e-3), (5.0,)]
)
def test_extremes_are_drawn(values: tuple[float, ...]) -> None:
    report = report_of(*values)
    layers_text.bars(report)
    text = layers_chart.draw(report, "a < b")
    root = ElementTree.fromstring(text)
    attributes = [value for each in root.iter() for value in each.attrib.values()]
    assert not [value for value in attributes if "nan" in value or "inf" in value]
    (line, _) = (each for each in root.iter() if each.tag.endswith("polyline"))
    numbers = [float(part) for point in line.attrib["points"].split() for part in point.split(",")]
    assert all(0 <= number <= 900 for number in numbers)
    assert layers_chart.draw(report, "a < b") == text
    json.dumps(report.as_dict(), allow_nan=False)


# -- the command --------------------------------------------------------------------------------------


def run(*arguments: str) -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--graph", action="append")
    parser.add_argument("--json")
    parser.add_argument("--contract")
    parser.add_argument("--input", action="append", default=[])
    parser.add_argument("pictures", nargs="*")
    diagnose_layers.add_layer_options(parser)
    return diagnose_layers.run_layers(parser.parse_args(arguments))


def test_the_command_names_draws_and_lists(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    require_backend("openvino")
    (tmp_path / "m.onnx").write_bytes(chain())
    np.save(tmp_path / "x.npy", ones(1, 16)[0].numpy())
    common = ("--graph", str(tmp_path / "m.onnx"), "--backends", "onnxruntime,openvino")
    assert run(*common, "--input", f"x={tmp_path / 'x.npy'}", "--chart", str(tmp_path / "c.svg")) == 0
    text = capsys.readouterr().out
    assert "onnxruntime and openvino: 16 tensors compared" in text
    assert "No tensor differs beyond the tolerance" in text
    assert (tmp_path / "c.svg").read_text().startswith("<svg ")
    # A tolerance that f32 cannot hold: something is beyond it, and the exit code says so.
    assert run(*common, "--tolerance", "1e-12", "--json", "-") == 1
    report = json.loads(capsys.readouterr().out)
    assert report["first"]["op"] in ("MatMul", "Tanh")
    assert len(report["tensors"]) == 16
    assert "random numbers (seed 0)" in report["inputs"]


def test_a_picture_goes_by_the_contract(capsys: pytest.CaptureFixture[str]) -> None:
    """The model and the picture that wasinn ships, through the command itself."""
    require_backend("openvino")
    picture = shipped.ROOT / "pictures" / "seven.png"
    arguments = ["diagnose", "--layers", "--graph", "onnx:@digits", "--backends", "onnxruntime,openvino"]
    assert main([*arguments, "--json", "-", str(picture)]) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["inputs"].endswith("seven.png")
    assert report["first"] is None
    assert max(each["rms_rel"] for each in report["tensors"]) < 1e-5


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--graph", "{a}"), "two ways to run one model"),
        ((), "two ways to run one model"),
        (("--graph", "{a}", "--graph", "{b}"), "are two models"),
        (("--graph", "{a}", "--backends", "openvino"), "one --graph on two --backends"),
        (("--graph", "{a}", "--graph", "{a}", "--backends", "a,b"), "one --graph on two --backends"),
        (("--graph", "{a}", "--graph", "{a}", "--tolerance", "0"), "--tolerance must be"),
        (("--graph", "{a}", "--graph", "{a}", "--tolerance", "nan"), "--tolerance must be"),
        (("--graph", "{a}", "--graph", "{a}", "--chart", "/nowhere/c.svg"), "cannot be written"),
        (("--graph", "{a}", "--graph", "{a}", "--input", "z={a}"), "z"),
        (("--graph", "{a}", "--graph", "{a}", "{x}", "{x}"), "is given twice"),
    ],
)
def test_the_command_refuses(tmp_path: Path, arguments: tuple[str, ...], message: str) -> None:
    files = {"a": tmp_path / "a.onnx", "b": tmp_path / "b.onnx"}
    files["x"] = tmp_path / "x.raw"
    files["x"].write_bytes(bytes(64))
    files["a"].write_bytes(chain())
    files["b"].write_bytes(chain(1))
    with pytest.raises(ConfigError, match=message):
        run(*(each.format(**files) for each in arguments))
