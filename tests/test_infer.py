# SPDX-License-Identifier: Apache-2.0
"""`wasinn infer` and DirectGraph: a graph without a guest."""

from __future__ import annotations

import json
import shutil
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx import TensorProto, helper
from PIL import Image

import models
from conftest import Run, require_backend
from contract_texts import LABELLED_DIGITS, MOBILENET, WORDS, lite
from wasinn import GraphSource, WasiNNError, shipped
from wasinn.cli.graphs import named_graph
from wasinn.cli.main import main
from wasinn.contracts.parse import parse_contract
from wasinn.errors import ConfigError
from wasinn.runtime.direct import DirectGraph
from wasinn.runtime.numbers import numbers
from wasinn.spec import TensorType
from wasinn.tensors import Tensor

MODELS, PICTURES = shipped.ROOT / "models", shipped.ROOT / "pictures"
ROADSEG = """
[input.image]
layout = "NCHW"
size = [512, 896]
colour = "BGR"
range = [0, 255]
[output.road]
kind = "mask"
labels = ["background", "road", "curb", "mark"]
"""


@pytest.fixture
def infer(run: Run) -> Run:
    return partial(run, "infer")


@pytest.fixture
def digits(tmp_path: Path) -> Path:
    """A copy of the model, with a contract beside it."""
    path = tmp_path / "digits.onnx"
    shutil.copy(MODELS / "digits.onnx", path)
    (tmp_path / "digits.onnx.contract.toml").write_text(LABELLED_DIGITS)
    return path


def picture(name: str) -> Path:
    (found,) = PICTURES.glob(f"{name}.*")
    return found


def contract(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "contract.toml"
    path.write_text(text)
    return path


def as_tensor(name: str) -> np.ndarray[Any, Any]:
    """A digit as the model takes it: f32 [1, 1, 8, 8], 0 to 1."""
    small = Image.open(picture(name)).convert("L").resize((8, 8), Image.Resampling.BILINEAR)
    return (np.asarray(small, np.float32) / 255)[None, None]


# -- pictures -----------------------------------------------------------------------------------------


def test_pictures_are_classified_by_the_contract_beside_the_model(infer: Run, digits: Path) -> None:
    results = json.loads(infer(digits, *(picture(word) for word in WORDS), "--json", "--top", 2))
    assert [each["outputs"][0]["top"][0]["label"] for each in results] == list(WORDS)
    for each in results:
        first, second = each["outputs"][0]["top"]
        assert 1 >= first["score"] > second["score"] >= 0
        assert each["inputs"][0]["dims"] == [1, 1, 8, 8]
        assert each["inputs"][0]["kind"] == "picture"
        assert each["backend"] == "onnxruntime"
        assert each["seconds"] > 0


def test_the_text_has_ranks_scores_and_labels(infer: Run, digits: Path) -> None:
    lines = infer(digits, "--top", 3, picture("seven"), picture("two")).splitlines()
    assert lines[0] == str(picture("seven"))
    assert lines[1] == "  digit  f32 [1,10]  probabilities"
    rank, score, percent, index, label = lines[2].split()
    assert (rank, percent, index, label) == ("1", "%", "7", "seven")
    assert 50 < float(score) <= 100
    assert [line.split()[0] for line in lines[2:5]] == ["1", "2", "3"]
    assert lines[5].startswith("  onnxruntime, ")
    assert lines[6] == ""
    assert lines[7] == str(picture("two"))


@pytest.mark.parametrize("backend", ["onnxruntime", "openvino", "tract"])
def test_every_backend_answers_the_same(infer: Run, digits: Path, backend: str) -> None:
    require_backend(backend)
    (result,) = json.loads(infer(digits, picture("eight"), "--backend", backend, "--json"))
    assert result["backend"] == backend
    assert result["outputs"][0]["top"][0]["label"] == "eight"


@pytest.mark.parametrize(
    ("name", "backend"),
    [
        ("@digits", "onnxruntime"),
        ("@digits_batch", "onnxruntime"),
        ("@digits.tflite", "litert"),
        ("@digits_u8.tflite", "litert"),
        ("@digits_i8.tflite", "litert"),
        ("@digits.xml,@digits.bin", "openvino"),
    ],
)
def test_the_shipped_models_need_no_more_than_a_picture(infer: Run, name: str, backend: str) -> None:
    require_backend(backend)
    results = json.loads(infer(name, picture("zero"), picture("seven"), "--json"))
    assert [each["outputs"][0]["top"][0]["index"] for each in results] == [0, 7]


def test_a_quantized_model_takes_its_scale_from_its_file(infer: Run, tmp_path: Path) -> None:
    require_backend("litert")
    path = contract(tmp_path, lite(LABELLED_DIGITS, "u8"))
    (result,) = json.loads(infer("@digits_u8.tflite", picture("four"), "--contract", path, "--json"))
    assert result["graph"] == "@digits_u8.tflite"
    assert result["inputs"][0]["type"] == "u8"
    (output,) = result["outputs"]
    assert output["type"] == "u8"
    assert output["top"][0]["label"] == "four"
    assert 0.5 < output["top"][0]["score"] <= 1


def test_affine_quantization_of_the_graph_is_not_done_twice(tmp_path: Path) -> None:
    require_backend("litert")
    read = parse_contract(_toml(lite(LABELLED_DIGITS, "u8")), tmp_path)
    scores = []
    for option in ("raw", "affine"):
        source = GraphSource.from_files(MODELS / "digits_u8.tflite", quantization=option)
        with DirectGraph("d", source, contract=read) as graph:
            feed = graph.feed("image", picture("four"))
            assert feed.tensor.type is (TensorType.U8 if option == "raw" else TensorType.F32)
            (output,) = graph.infer({feed.index: feed.tensor}).outputs
            scores.append(graph.real(0, output))
    assert scores[0].dtype == np.float32
    np.testing.assert_allclose(scores[0], scores[1], atol=1e-6)


def _toml(text: str) -> dict[str, Any]:
    import tomllib

    return tomllib.loads(text)


def test_a_picture_without_a_contract_is_an_error_that_tells_how_to_get_one(
    infer: Run, tmp_path: Path
) -> None:
    model = tmp_path / "bare.onnx"
    shutil.copy(MODELS / "digits.onnx", model)
    error = infer(model, picture("two"), fails=2)
    assert f"wasinn inspect --contract {model} > {model}.contract.toml" in error
    assert "two.png is a picture" in error
    assert "wasinn inspect --contract @identity.onnx > FILE" in infer("@identity", picture("two"), fails=2)


def test_the_answer_is_drawn_beneath_the_picture(infer: Run, digits: Path, tmp_path: Path) -> None:
    infer(digits, picture("two"), picture("six"), "--draw", tmp_path / "drawn.png")
    for name in ("two", "six"):
        drawn = Image.open(tmp_path / f"drawn-{name}.png")
        # Eight pixels are enlarged, and a panel for five classes comes beneath.
        assert drawn.width >= 64
        assert drawn.height > drawn.width / 4


# -- tensors ------------------------------------------------------------------------------------------


def test_npy_and_raw_files_give_what_the_picture_gives(infer: Run, digits: Path, tmp_path: Path) -> None:
    values = as_tensor("three")
    np.save(tmp_path / "three.npy", values)
    np.save(tmp_path / "wide.npy", values.astype(np.float64))
    np.save(tmp_path / "fortran.npy", np.asfortranarray(values))
    values.tofile(tmp_path / "three.tensor")
    files = ["three.npy", "wide.npy", "fortran.npy", "three.tensor"]
    given = json.loads(infer(digits, picture("three"), *(tmp_path / file for file in files), "--json"))
    scores = [[each["score"] for each in result["outputs"][0]["top"]] for result in given]
    assert [result["inputs"][0]["kind"] for result in given] == ["picture", "npy", "npy", "npy", "raw"]
    for each in scores[1:]:
        assert each == pytest.approx(scores[0], abs=1e-6)


def test_raw_bytes_of_a_wrong_size_name_both_sizes(infer: Run, digits: Path, tmp_path: Path) -> None:
    path = tmp_path / "short.tensor"
    path.write_bytes(bytes(64))
    error = infer(digits, path, fails=2)
    assert "has 64 bytes, and input 'image' of graph " in error
    assert " takes 256 bytes (f32 [1,1,8,8]); that is 1 byte an element" in error
    path.write_text("zero\none\n", encoding="utf-8")
    assert "is it text, not a tensor?" in infer(digits, path, fails=2)
    path.write_bytes(b"\xff\x00")
    assert "is it a picture, not a tensor?" in infer(digits, path, fails=2)


def test_a_folder_and_a_picture_in_the_model_s_place_are_said(
    infer: Run, digits: Path, tmp_path: Path
) -> None:
    assert f"'{tmp_path}' is a folder; give the files in it" in infer(digits, tmp_path, fails=2)
    error = infer(picture("two"), digits, fails=2)
    assert "is a picture; the model comes first: wasinn infer MODEL PICTURE" in error


def test_real_numbers_for_whole_ones_name_the_option(infer: Run, tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", np.zeros((1, 8, 8, 1), np.float32))
    require_backend("litert")
    error = infer("@digits_u8.tflite", tmp_path / "x.npy", fails=1)
    assert "with ?quantization=affine after the graph it takes and gives real numbers" in error
    infer("@digits_u8.tflite?quantization=affine", tmp_path / "x.npy")


def test_a_contract_that_does_not_fit_is_a_mistake_wherever_it_is_given(
    infer: Run, digits: Path, tmp_path: Path
) -> None:
    wrong = contract(tmp_path, LABELLED_DIGITS.replace("[8, 8]", "[9, 8]"))
    for arguments in ((f"{digits}?contract={wrong}",), (digits, "--contract", wrong)):
        error = infer(*arguments, picture("two"), fails=2)
        assert "layout and size make [1,1,9,8]" in error
        assert "runtime_error" not in error


def test_unknown_options_name_the_command_and_the_likely_one(
    digits: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for arguments, said in (
        ((str(digits), picture("two"), "--topk", "3"), "unknown option --topk (is it --top?)"),
        ((str(digits), picture("two"), "--topk=3"), "unknown option --topk (is it --top?)"),
        ((str(digits), "--xyzzy"), "unknown option --xyzzy; see wasinn infer --help"),
    ):
        with pytest.raises(SystemExit) as ended:
            main(["infer", *map(str, arguments)])
        assert ended.value.code == 2
        error = capsys.readouterr().err
        assert error.startswith("usage: wasinn infer")
        assert said in error
    with pytest.raises(SystemExit):
        main(["show", "a.npy", "b.npy"])
    assert "wasinn show: error: too many arguments: b.npy; see wasinn show --help" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        main(["infer"])
    assert capsys.readouterr().err.endswith("required: GRAPH\n")


def test_raw_bytes_fix_one_dynamic_dimension(infer: Run, tmp_path: Path) -> None:
    path = tmp_path / "three.tensor"
    np.concatenate([as_tensor("one"), as_tensor("nine")]).tofile(path)
    bare = tmp_path / "bare.onnx"
    shutil.copy(MODELS / "digits_batch.onnx", bare)
    under = (bare, "--contract", contract(tmp_path, LABELLED_DIGITS))
    for arguments in ((bare,), under):
        (result,) = json.loads(infer(*arguments, path, "--json"))
        assert result["inputs"][0]["dims"] == [2, 1, 8, 8]
        assert result["outputs"][0]["dims"] == [2, 10]
        assert result["outputs"][0]["statistics"]["count"] == 20


def test_numbers_without_a_contract_are_shown_as_such(infer: Run, tmp_path: Path) -> None:
    model = tmp_path / "bare.onnx"
    shutil.copy(MODELS / "digits.onnx", model)
    np.save(tmp_path / "x.npy", as_tensor("five"))
    (result,) = json.loads(infer(model, tmp_path / "x.npy", "--json", "--top", 1))
    (output,) = result["outputs"]
    assert output["kind"] == "raw"
    assert output["largest"][0]["index"] == 5
    assert output["statistics"]["count"] == 10
    text = infer(model, tmp_path / "x.npy")
    assert "  in  f32 [1,1,8,8] (npy)" in text
    assert "largest  5: " in text


def test_wrong_dims_are_the_hosts_own_error_and_exit_with_1(infer: Run, digits: Path, tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", as_tensor("five")[0])
    error = infer(digits, tmp_path / "x.npy", fails=1)
    assert "is the batch dimension missing" in error
    assert "input 'image'" in error


def test_nan_is_null_in_json(infer: Run, tmp_path: Path) -> None:
    model = tmp_path / "identity.onnx"
    model.write_bytes(models.identity())
    with DirectGraph("identity", GraphSource.from_files(model)) as graph:
        dims = [dim or 2 for dim in graph.inputs[0].dims or ()]
    values = np.full(dims, np.nan, np.float32)
    values.reshape(-1)[0] = np.inf
    np.save(tmp_path / "x.npy", values)
    text = infer(model, tmp_path / "x.npy", "--json")
    assert "NaN" not in text
    assert "Infinity" not in text
    (output,) = json.loads(text)[0]["outputs"]
    assert output["first"][0] is None
    assert output["statistics"]["infinite"] == 1
    assert output["statistics"]["nan"] == values.size - 1


# -- several inputs and outputs -----------------------------------------------------------------------


@pytest.fixture
def two_by_two(tmp_path: Path) -> Path:
    """Inputs a and b of three numbers; outputs their sum, and `x/../y:0`, their difference."""

    def port(name: str) -> Any:
        return helper.make_tensor_value_info(name, TensorProto.FLOAT, [3])

    nodes = [helper.make_node("Add", ["a", "b"], ["sum"]), helper.make_node("Sub", ["a", "b"], ["x/../y:0"])]
    graph = helper.make_graph(nodes, "two", [port("a"), port("b")], [port("sum"), port("x/../y:0")])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    path = tmp_path / "two.onnx"
    path.write_bytes(model.SerializeToString())
    np.save(tmp_path / "a.npy", np.array([1, 2, 3], np.float32))
    np.array([10, 20, 30], "<f4").tofile(tmp_path / "b.raw")
    return path


def test_inputs_by_name_or_index_and_outputs_in_files(infer: Run, two_by_two: Path, tmp_path: Path) -> None:
    folder = tmp_path / "made" / "here"
    a, b = f"a={tmp_path / 'a.npy'}", f"1={tmp_path / 'b.raw'}"
    (result,) = json.loads(infer(two_by_two, "--input", a, "--input", b, "--save", folder, "--json"))
    assert [each["name"] for each in result["outputs"]] == ["sum", "x/../y:0"]
    assert result["outputs"][0]["first"] == [11, 22, 33]
    assert sorted(path.name for path in folder.glob("*.npy")) == ["sum.npy", "x_.._y_0.npy"]
    assert np.load(folder / "x_.._y_0.npy").tolist() == [-9, -18, -27]
    (result,) = json.loads(infer(two_by_two, "--input", a, "--input", b, "--output", "sum", "--json"))
    assert [each["name"] for each in result["outputs"]] == ["sum"]


def test_mistakes_with_inputs(infer: Run, two_by_two: Path, tmp_path: Path) -> None:
    a, b = tmp_path / "a.npy", tmp_path / "b.raw"
    assert "also needs --input NAME=FILE for: b (f32 [3])" in infer(two_by_two, "--input", f"a={a}", fails=2)
    assert "is given twice" in infer(two_by_two, "--input", f"a={a}", "--input", f"0={a}", fails=2)
    error = infer(two_by_two, "--input", f"c={a}", fails=2)
    assert "no input 'c'; it has: 0 'a' (f32 [3]), 1 'b' (f32 [3])" in error
    assert "name them" in infer(two_by_two, a, fails=2)
    assert "has no output 'z'" in infer(two_by_two, "--input", f"a={a}", "--output", "z", fails=2)
    assert "not both" in infer(two_by_two, a, "--input", f"b={b}", fails=2)
    assert "nothing to infer from" in infer(two_by_two, fails=2)
    assert "has no file" in infer(two_by_two, "--input", "a=", fails=2)


def test_other_mistakes(infer: Run, digits: Path, tmp_path: Path) -> None:
    assert "there is no file" in infer(digits, tmp_path / "missing.png", fails=2)
    fake = tmp_path / "fake.png"
    fake.write_text("no picture")
    assert "fake.png" in infer(digits, fake, fails=2)
    broken = tmp_path / "broken.npy"
    broken.write_bytes(b"\x93NUMPY\x01\x00garbage")
    assert "is not an array that NumPy reads" in infer(digits, broken, fails=2)
    np.save(tmp_path / "objects.npy", np.array([{}]), allow_pickle=True)
    assert "is not an array that NumPy reads" in infer(digits, tmp_path / "objects.npy", fails=2)
    np.save(tmp_path / "text.npy", np.array(["seven"]))
    assert "no tensor type" in infer(digits, tmp_path / "text.npy", fails=2)
    assert "there is no file" in infer(tmp_path / "missing.onnx", fake, fails=2)
    assert "--top" in infer(digits, picture("two"), "--top", 0, fails=2)
    assert "kind in the contract" in infer(digits, picture("two"), "--save-mask", tmp_path / "m.png", fails=2)
    model = tmp_path / "garbage.onnx"
    model.write_bytes(b"no model")
    assert "garbage.onnx" in infer(f"onnx:{model}", picture("two"), fails=1)


def test_a_contract_that_does_not_fit_is_a_mistake_of_the_operator(
    infer: Run, digits: Path, tmp_path: Path
) -> None:
    path = contract(tmp_path, LABELLED_DIGITS.replace("[8, 8]", "[9, 8]"))
    error = infer(digits, picture("two"), "--contract", path, fails=2)
    assert "[input.image]" in error
    assert "[1,1,9,8]" in error


# -- boxes --------------------------------------------------------------------------------------------


@pytest.fixture
def detector(tmp_path: Path) -> Path:
    """Finds a cat in the left half and a dog in the lower right quarter of every picture."""
    boxes = np.array([[[0, 0, 0.5, 1], [0.5, 0.5, 1, 1], [0.01, 0, 0.5, 1]]], np.float32)
    scores = np.array([[[0.9, 0.0], [0.1, 0.75], [0.8, 0.1]]], np.float32)
    nodes = [
        helper.make_node(
            "Constant", [], [name], value=helper.make_tensor(name, 1, array.shape, array.reshape(-1))
        )
        for name, array in (("boxes", boxes), ("scores", scores))
    ]
    outputs = [("boxes", TensorProto.FLOAT, boxes.shape), ("scores", TensorProto.FLOAT, scores.shape)]
    path = tmp_path / "detector.onnx"
    path.write_bytes(models.onnx_model(nodes, [("image", TensorProto.FLOAT, (1, 3, 32, 32))], outputs))
    (tmp_path / "detector.onnx.contract.toml").write_text(
        '[input.image]\nlayout = "NCHW"\nsize = [32, 32]\nfit = "letterbox"\n'
        '[output.animals]\nport = "boxes"\nkind = "boxes"\nscores = "scores"\nlabels = ["cat", "dog"]\n'
    )
    return path


def test_boxes_are_in_pixels_of_the_picture(infer: Run, detector: Path, tmp_path: Path) -> None:
    Image.new("RGB", (200, 200), (90, 90, 90)).save(tmp_path / "square.png")
    Image.new("RGB", (200, 100), (90, 90, 90)).save(tmp_path / "wide.png")
    square, wide = json.loads(
        infer(
            detector,
            *(tmp_path / "square.png", tmp_path / "wide.png"),
            *("--json", "--draw", tmp_path / "drawn.png"),
        )
    )
    (output,) = square["outputs"]
    found = [
        (each["label"], each["left"], each["top"], each["right"], each["bottom"]) for each in output["boxes"]
    ]
    # The third box is the first one again.
    assert found == [("cat", 0, 0, 100, 200), ("dog", 100, 100, 200, 200)]
    # A wide picture has bars above and beneath: the lower half of the input is its lower half and a bar.
    found = [(each["label"], each["top"], each["bottom"]) for each in wide["outputs"][0]["boxes"]]
    assert found == [("cat", 0, 100), ("dog", 50, 100)]
    drawn = np.asarray(Image.open(tmp_path / "drawn-square.png"))
    assert (drawn != 90).any()
    assert (drawn[150, 150] == 90).all()
    lines = infer(detector, tmp_path / "square.png").splitlines()
    assert lines[2].split() == ["score", "left", "top", "right", "bottom", "class"]
    assert lines[3].split() == ["1", "90.00", "%", "0", "0", "100", "200", "cat"]


# -- how a graph is written ---------------------------------------------------------------------------


def test_graphs_on_the_command_line(digits: Path, tmp_path: Path) -> None:
    assert named_graph(str(digits))[0] == "digits.onnx"
    assert named_graph("@digits")[0] == "@digits"
    assert named_graph(f"mine={digits}?threads=2")[0] == "mine"
    name, source = named_graph(f"onnx:{digits}?threads=2&backend=onnxruntime")
    assert (name, source.options.threads, source.backend) == ("digits.onnx", 2, "onnxruntime")
    odd = tmp_path / "a=b,c?d:e.onnx"
    shutil.copy(digits, odd)
    assert named_graph(str(odd))[1].model.files == (odd,)
    parts = [tmp_path / "a=b.xml", tmp_path / "onnx:c.bin"]
    for part in parts:
        shutil.copy(digits, part)
    name, source = named_graph(",".join(map(str, parts)))
    assert (name, source.model.files) == ("a=b.xml", tuple(parts))
    name, source = named_graph(f"my net=onnx:{parts[0]}?threads=2")
    assert (name, source.model.files, source.options.threads) == ("my net", (parts[0],), 2)
    with pytest.raises(ConfigError, match="unknown encoding 'onxx'"):
        named_graph("onxx:a.onnx")
    with pytest.raises(ConfigError, match=r"nor does the configuration .* \(known\)"):
        named_graph("other", {"known": source})


def test_a_graph_of_a_configuration(infer: Run, digits: Path, tmp_path: Path) -> None:
    config = tmp_path / "wasinn.toml"
    (tmp_path / "digits.onnx.contract.toml").rename(tmp_path / "c.toml")
    config.write_text('[graphs.d]\nfiles = ["digits.onnx"]\ncontract = "c.toml"\n')
    (result,) = json.loads(infer("d", picture("nine"), "--config", config, "--json"))
    assert result["graph"] == "d"
    assert result["outputs"][0]["top"][0]["label"] == "nine"


def test_guests_contracts_hold_for_callers(digits: Path, tmp_path: Path) -> None:
    guests = parse_contract(
        _toml(LABELLED_DIGITS.replace("NCHW", "NHWC").replace("colour", "range=[0,255]\ncolour")), tmp_path
    )
    own = parse_contract(_toml(LABELLED_DIGITS), tmp_path)
    with DirectGraph("d", GraphSource.from_files(digits, contract=own, guests=guests)) as graph:
        feed = graph.feed("image", picture("nine"))
        assert feed.tensor.dims == (1, 8, 8, 1)
        assert feed.tensor.numpy().max() > 1
        assert int(graph.infer({0: feed.tensor}).outputs[0].argmax()) == 9


# -- DirectGraph --------------------------------------------------------------------------------------


def test_outputs_are_copies_and_a_closed_graph_says_so(digits: Path) -> None:
    graph = DirectGraph("d", GraphSource.from_files(digits))
    one = graph.infer({0: graph.feed(None, picture("one")).tensor})
    kept = one.outputs[0].copy()
    graph.infer({0: graph.feed(None, picture("two")).tensor})
    np.testing.assert_array_equal(one.outputs[0], kept)
    graph.close()
    graph.close()
    with pytest.raises(ConfigError, match="graph 'd' is closed"):
        graph.infer({0: as_tensor("one")})


def test_a_graph_from_text_takes_arrays_by_name(digits: Path) -> None:
    with DirectGraph("d", f"onnx:{digits}") as graph:
        wanted = graph.infer({0: graph.feed(None, as_tensor("one")).tensor}).outputs[0]
        for key in (0, "0", "image"):
            np.testing.assert_array_equal(graph.infer({key: as_tensor("one")}).outputs[0], wanted)
        for tensors, said in (
            ({1: as_tensor("one")}, "graph 'd' has no input 1; it has: 0 'image'"),
            ({"x": as_tensor("one")}, "has no input 'x'"),
            ({0: as_tensor("one"), "image": as_tensor("one")}, "input 'image' is given twice"),
            ({0: "one.png"}, "a NumPy array or a tensor is wanted, not str"),
            (as_tensor("one"), "infer takes the inputs by index or name"),
        ):
            with pytest.raises(ConfigError, match=said):
                graph.infer(tensors)  # type: ignore[arg-type]
        for index in (1, -1, "image"):
            with pytest.raises(ConfigError, match=r"has no output .*it has: 0 'probabilities'"):
                graph.output_contract(index)  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="is a GraphSource or text, not 3"):
        DirectGraph("d", 3)  # type: ignore[arg-type]


def test_a_batch_of_pictures(tmp_path: Path) -> None:
    read = parse_contract(_toml(LABELLED_DIGITS.replace("labels", "# labels")), tmp_path)
    with DirectGraph("d", GraphSource.from_files("@digits_batch"), contract=read) as graph:
        feed = graph.feed_picture(None, [picture(word) for word in WORDS])
        assert feed.tensor.dims == (10, 1, 8, 8)
        (output,) = graph.infer({0: feed.tensor}).outputs
        assert output.argmax(axis=1).tolist() == list(range(10))
        with pytest.raises(ConfigError, match="at least one picture"):
            graph.feed_picture(None, [])


def test_what_infer_refuses(digits: Path) -> None:
    with DirectGraph("d", GraphSource.from_files(digits)) as graph:
        with pytest.raises(WasiNNError, match=r"input 'image' .* was not given"):
            graph.infer({})
        short = Tensor((1, 1, 8, 8), TensorType.F32, memoryview(bytes(255)))
        with pytest.raises(WasiNNError, match="are 256 bytes, but the tensor's data has 255"):
            graph.infer({0: short})
        with pytest.raises(ConfigError, match=r"no input 'picture'.*its contract calls them: 'image'"):
            graph.input_index("picture")
        with pytest.raises(ConfigError, match="no tensor type"):
            graph.feed(None, np.array([1j]))
        # What was refused leaves a graph that works.
        assert int(graph.infer({0: graph.feed(None, picture("six")).tensor}).outputs[0].argmax()) == 6


def test_a_graph_in_a_worker_process(infer: Run, digits: Path) -> None:
    (result,) = json.loads(infer(f"{digits}?isolation=process", picture("six"), "--json"))
    assert result["outputs"][0]["top"][0]["label"] == "six"


@pytest.mark.parametrize(
    "name", ["bfloat16", "float8_e4m3fn", "float8_e4m3fnuz", "float8_e5m2", "float8_e5m2fnuz"]
)
def test_the_numbers_of_small_floats_are_those_of_ml_dtypes(name: str) -> None:
    import ml_dtypes

    dtype = np.dtype(getattr(ml_dtypes, name))
    label = "bf16" if name == "bfloat16" else "f8" + name.removeprefix("float8_").replace("_", "")
    bits = np.arange(1 << (8 * dtype.itemsize), dtype=f"u{dtype.itemsize}")
    expected = bits.view(dtype).astype(np.float32)
    np.testing.assert_array_equal(numbers(bits, TensorType.parse(label)), expected)


# -- real models --------------------------------------------------------------------------------------


def test_mobilenet_on_the_manifests_pictures(infer: Run, data: Path, tmp_path: Path) -> None:
    labels = str(data / "mobilenet_v2" / "imagenet_labels_1001.txt")
    path = contract(tmp_path, MOBILENET.replace("labels.txt", labels))
    images = [data / "images" / f"{name}.bmp" for name in ("cat", "grace_hopper", "bird")]
    model = data / "mobilenet_v2" / "mobilenet_v2.onnx"
    results = json.loads(infer(model, "--contract", path, *images, "--json", "--top", 1))
    found = [
        (each["outputs"][0]["top"][0]["index"], each["outputs"][0]["top"][0]["label"]) for each in results
    ]
    assert found == [(285, "Egyptian cat"), (652, "military uniform"), (19, "chickadee")]


def test_mobilenet_on_a_raw_tensor_gives_the_manifests_numbers(infer: Run, data: Path) -> None:
    folder = data / "mobilenet_v2"
    (result,) = json.loads(
        infer(folder / "mobilenet_v2.onnx", folder / "kitten.tensor", "--top", 3, "--json")
    )
    found = result["outputs"][0]["largest"]
    assert [each["index"] for each in found] == [281, 282, 283]
    assert [each["value"] for each in found] == pytest.approx([13.693, 11.015, 8.772], abs=2e-3)


def test_roadseg_mask_and_overlay(infer: Run, data: Path, tmp_path: Path) -> None:
    require_backend("openvino")
    folder = data / "roadseg"
    picture = folder / "empty_road_mapillary.jpg"
    text = infer(
        folder / "road-segmentation-adas-0001.xml",
        picture,
        *("--contract", contract(tmp_path, ROADSEG), "--save-mask", tmp_path / "mask.png"),
        *("--draw", tmp_path / "over.png"),
    )
    mask = Image.open(tmp_path / "mask.png")
    assert (mask.mode, mask.size) == ("P", (896, 512))
    counts = np.bincount(np.asarray(mask).reshape(-1), minlength=4)
    golden = np.array([356434, 88052, 9992, 4274])
    assert (np.abs(counts - golden) <= 0.001 * golden).all(), counts
    rows = [line.split() for line in text.splitlines() if " pixels " in line]
    assert [row[-1] for row in rows] == ["background", "road", "curb", "mark"]
    assert [int(row[2]) for row in rows] == counts.tolist()
    # Beneath the picture is the legend; the road (class 1) has been coloured, and is no longer gray.
    over, plain = np.asarray(Image.open(tmp_path / "over.png"), int), np.asarray(Image.open(picture), int)
    height, width = plain.shape[:2]
    assert over.shape[1] == width
    assert over.shape[0] > height
    road = (int(height * 0.9), width // 2)
    assert np.ptp(plain[road]) < 40
    assert np.ptp(over[road]) > 60
