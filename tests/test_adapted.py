# SPDX-License-Identifier: Apache-2.0
"""A graph whose guests speak another contract than the model: what they see, send and get."""

from __future__ import annotations

import logging
import tomllib
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx import TensorProto

import models
import wasinn
from conftest import MakeDriver
from wasinn.backends.base import Bindable, Interruptible
from wasinn.contracts.class_order import class_order
from wasinn.contracts.contract import Contract, OutputContract
from wasinn.contracts.output_conversion import OutputConversion
from wasinn.contracts.parse import parse_contract
from wasinn.errors import ConfigError, WasiNNError
from wasinn.graphs.loader import LoadedGraph, Loader
from wasinn.imaging.masks import class_map
from wasinn.spec import TensorType
from wasinn.tensors import Quantization, Tensor, TensorSpec

Array = np.ndarray[Any, Any]

FLOAT = TensorProto.FLOAT


def parsed(text: str, name: str = "own.toml") -> Contract:
    return parse_contract(tomllib.loads(text), Path(), name, text)


def load(model: bytes, own: str, guests: str) -> LoadedGraph:
    source = wasinn.GraphSource.from_bytes(model, contract=parsed(own), guests=parsed(guests, "guests.toml"))
    return Loader().load(source)


def answer(graph: LoadedGraph, *inputs: Array) -> list[Array]:
    execution = graph.graph.open()
    for index, array in enumerate(inputs):
        execution.set_input(index, Tensor.of(array))
    execution.compute()
    return [execution.output(index).numpy().copy() for index in range(len(graph.graph.outputs))]


# -- what guests see ------------------------------------------------------------------------------------


PICTURE = "[input.image]\nlayout = 'NCHW'\nsize = [2, 3]\n"
BYTES = "[input.image]\ntype = 'u8'\nlayout = 'NHWC'\nsize = [2, 3]\n"


def echo() -> bytes:
    return models.identity(FLOAT, ["n", 3, 2, 3])


def test_a_guest_sees_the_ports_of_its_contract() -> None:
    loaded = load(echo(), PICTURE, BYTES + "port = 'picture'\n[output.echo]\nport = 'y'\n")
    (port,) = loaded.graph.inputs
    assert (port.name, port.type, port.dims) == ("picture", TensorType.U8, (None, 2, 3, 3))
    assert port.aliases == ("image", "x")
    assert loaded.bound is not None
    assert loaded.bound.inputs[0].image is not None
    assert loaded.bound.inputs[0].image.layout == "NHWC"
    batch = np.random.default_rng(0).integers(0, 256, (4, 2, 3, 3), np.uint8)
    (found,) = answer(loaded, batch)
    np.testing.assert_allclose(found, batch.transpose(0, 3, 1, 2) / 255, atol=1e-6)


def test_through_a_guest_by_name_and_with_its_own_dims(drive: MakeDriver) -> None:
    source = wasinn.GraphSource.from_bytes(
        echo(), contract=parsed(PICTURE), guests=parsed(BYTES.replace("NHWC", "HWC"))
    )
    driver = drive({"m": source})
    context = driver.open("m")
    pixels = np.arange(18, dtype=np.uint8)
    for start in (0, 100, 200):  # more often than a hot path needs to take over
        sent = (pixels + start).astype(np.uint8)
        assert driver.set_input(context, 0, (2, 3, 3), 3, sent.tobytes()) == 0
        assert driver.compute(context) == 0
        found = driver.get_f32(context, 0)
        expected = sent.reshape(2, 3, 3).transpose(2, 0, 1).ravel() / 255
        assert found == pytest.approx(expected.tolist(), abs=1e-6)
    # The model's own dims and type are another contract's: refused, with what guests send.
    assert driver.set_input(context, 0, (1, 3, 2, 3), 1, bytes(72)) == 1


def test_names_and_indices_are_those_of_the_guests() -> None:
    own = "[input.left]\nport = 'a'\n[input.right]\nport = 'b'\n[output.sum]\n[output.difference]\n"
    swapped = "[input.left]\nport = 1\n[input.right]\nport = 0\n"
    swapped += "[output.difference]\nport = 0\n[output.sum]\nport = 1\n"
    loaded = load(models.add(), own, swapped)
    assert [spec.name for spec in loaded.graph.inputs] == ["right", "left"]
    a, b = np.full((1, 4), 5, "f4"), np.full((1, 4), 2, "f4")
    found = answer(loaded, b, a)
    assert [each[0, 0] for each in found] == [3, 7]
    with pytest.raises(
        WasiNNError, match=r"guests.toml: \[input.left\]: port is 2 for guests, and the model has 2"
    ):
        load(models.add(), own, "[input.left]\nport = 2\n")


def test_what_one_contract_alone_names_passes_as_it_is() -> None:
    loaded = load(models.add(), "[input.left]\nport = 'a'\ntype = 'f32'\n", "[input.left]\ntype = 'i32'\n")
    assert [(spec.name, spec.type) for spec in loaded.graph.inputs] == [
        ("left", TensorType.I32),
        ("b", TensorType.F32),
    ]
    found = answer(loaded, np.full((1, 4), 5, "i4"), np.full((1, 4), 0.5, "f4"))
    assert [each[0, 0] for each in found] == [5.5, 4.5]
    with pytest.raises(WasiNNError, match="the graph has no input 'c'"):
        load(models.add(), "[input.a]\n[input.b]\n", "[input.a]\n[input.b]\n[input.c]\n")


OWN_PAIR = "[input.left]\nport = 'a'\n[input.right]\nport = 'b'\n[output.sum]\n[output.difference]\n"


def test_several_of_other_names_belong_together_by_their_ports() -> None:
    guests = "[input.R]\nport = 'b'\ntype = 'i32'\n[input.L]\nport = 'a'\ntype = 'u8'\n"
    loaded = load(models.add(), OWN_PAIR, guests)
    assert [(spec.name, spec.type.label) for spec in loaded.graph.inputs] == [("a", "u8"), ("b", "i32")]
    found = answer(loaded, np.full((1, 4), 5, np.uint8), np.full((1, 4), 2, "i4"))
    assert [each[0, 0] for each in found] == [7, 3]
    # What only the guests' contract names is no partner of what only the model's does.
    loaded = load(models.add(), "[input.left]\nport = 'a'\ntype = 'f32'\n", "[input.b]\n")
    assert [spec.name for spec in loaded.graph.inputs] == ["a", "b"]


@pytest.mark.parametrize("guests", ["[input.L]\n[input.R]\n", "[input.c]\n", "[input.L]\nport = 0\n"])
def test_several_that_nothing_tells_apart_are_refused(guests: str) -> None:
    with pytest.raises(
        WasiNNError, match=r"which of \[input.*for guests is which of \[input.left\], \[input.right\] of"
    ):
        load(models.add(), OWN_PAIR, guests)


def test_contexts_do_not_share_what_they_convert_in() -> None:
    loaded = load(echo(), PICTURE, BYTES)
    one, two = loaded.graph.open(), loaded.graph.open()
    for execution, level in ((one, 255), (two, 51)):
        execution.set_input(0, Tensor.of(np.full((1, 2, 3, 3), level, np.uint8)))
    for execution, value in ((one, 1.0), (two, 0.2)):
        execution.compute()
        assert np.allclose(execution.output(0).numpy(), value)
        assert not isinstance(execution, Bindable)
        assert isinstance(execution, Interruptible)
        execution.close()
        execution.close()


def test_the_log_says_what_is_converted_and_what_cannot_be(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "wasinn.graph")
    load(echo(), PICTURE, BYTES + "resize = 'nearest'\n")
    assert [(record.levelname, record.getMessage()) for record in caplog.records] == [
        (
            "WARNING",
            "input 'image': resize is nearest for guests and bilinear for the model, which the host cannot "
            "change",
        ),
        ("INFO", "input 'image': guests send u8 [?,2,3,3], the model takes f32 [?,3,2,3]"),
    ]


@pytest.mark.parametrize(
    ("own", "guests", "reason"),
    [
        (PICTURE, BYTES.replace("[2, 3]", "[4, 4]"), r"guests.toml: \[input.image\]: size is \[4, 4\] for"),
        (PICTURE, BYTES + "quantization = 'model'\n", r'quantization is "model" for guests, of u8, and'),
        (PICTURE, "[input.image]\ntype = 'f32'\n", 'kind is "tensor" for guests and "image"'),
        (
            "[output.y]\nkind = 'mask'\n",
            "[output.y]\nkind = 'logits'\n",
            "kind is logits for guests and mask",
        ),
        (
            "[output.y]\nkind = 'mask'\n",
            "[output.y]\nkind = 'mask'\nclasses = 7\n",
            "classes is 7 for guests",
        ),
        (
            "[output.y]\nkind = 'mask'\n",
            "[output.y]\nkind = 'mask'\nlabel_offset = 1\n",
            "label_offset is 1 for guests and 0 for the model",
        ),
    ],
)
def test_what_cannot_be_converted_is_refused_at_load(own: str, guests: str, reason: str) -> None:
    with pytest.raises(WasiNNError, match=reason):
        load(echo(), own, guests)


# -- masks ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("layout", "kind"), [("NHWC", "f32"), ("CHW", "f32"), ("HWC", "f32"), ("NHW", "i32"), ("HW", "i32")]
)
def test_masks_lie_as_guests_want_them(layout: str, kind: str) -> None:
    own = "[output.mask]\nport = 'y'\nkind = 'mask'\n"
    loaded = load(models.identity(FLOAT, [1, 3, 2, 4]), own, own + f"layout = '{layout}'\n")
    scores = np.random.default_rng(0).normal(size=(1, 3, 2, 4)).astype("f4")
    (found,) = answer(loaded, scores)
    expected = {
        "NHWC": scores.transpose(0, 2, 3, 1),
        "CHW": scores[0],
        "HWC": scores[0].transpose(1, 2, 0),
        "NHW": scores.argmax(1),
        "HW": scores[0].argmax(0),
    }[layout]
    assert loaded.graph.outputs[0].type.label == kind
    assert loaded.graph.outputs[0].dims == expected.shape
    assert found.tolist() == expected.tolist()


def masks(
    guest: dict[str, Any], scores: Any, quantization: Any = "none", own: Any = None, any_type: bool = False
) -> OutputConversion:
    kinds = {"float32": TensorType.F32, "uint8": TensorType.U8}
    spec = TensorSpec("m", kinds[str(scores.dtype)], scores.shape, any_type=any_type)
    model = OutputContract("m", kind="mask", layout="NCHW", type=own, quantization=quantization)
    return OutputConversion(OutputContract("m", kind="mask", **guest), model, spec)


@pytest.mark.parametrize("kind", ["f32", "u8", "i64"])
@pytest.mark.parametrize("quantization", ["none", Quantization((1 / 256,), (10,))])
@pytest.mark.parametrize("dtype", ["float32", "uint8"])
def test_class_ids_in_every_type_are_those_of_the_class_map(kind: str, quantization: Any, dtype: str) -> None:
    if dtype == "float32" and quantization != "none":
        quantization = "none"
    scores = np.random.default_rng(0).integers(0, 255, (1, 3, 2, 4)).astype(dtype)
    conversion = masks({"layout": "NHW", "type": TensorType.parse(kind)}, scores, quantization)
    found = conversion.tensor(Tensor.of(scores))
    assert (found.type.label, conversion.spec.type.label, conversion.spec.quantization) == (kind, kind, None)
    expected = class_map(scores, OutputContract("m", kind="mask", layout="NCHW"))
    assert found.numpy()[0].tolist() == expected.tolist()


def test_class_ids_of_one_channel_and_of_what_is_no_number() -> None:
    one = np.array([[[[0.9, 0.1, 0.5, np.nan]]]], "f4")
    assert masks({"layout": "NHW"}, one)(one).tolist() == [[[1, 0, 0, 0]]]
    bytes_ = np.array([[[[0, 100, 200]]]], np.uint8)
    assert masks({"layout": "HW"}, bytes_, Quantization((1 / 256,), (0,)))(bytes_).tolist() == [[0, 0, 1]]
    nan = np.array([[[[np.nan, 1]], [[5, 2]], [[1, 9]]]], "f4")
    assert masks({"layout": "NHW"}, nan)(nan).tolist() == [[[1, 2]]]


def test_a_quantization_for_each_class_of_a_mask() -> None:
    each = Quantization((1.0, 10.0), (0, 0), 1)
    scores = np.array([[[[9, 9], [9, 9]], [[5, 5], [5, 0]]]], np.uint8)
    assert masks({"layout": "NHW"}, scores, each)(scores).tolist() == [[[1, 1], [1, 0]]]
    real = masks({"layout": "NHWC"}, scores, each)(scores)
    assert real[0].tolist() == [[[9, 50], [9, 50]], [[9, 50], [9, 0]]]
    same = masks({"layout": "NHWC", "type": TensorType.U8}, scores, each)
    assert same.spec.quantization == Quantization((1.0, 10.0), (0, 0), 3)
    assert same(scores).tolist() == scores.transpose(0, 2, 3, 1).tolist()


def test_class_ids_do_not_become_scores() -> None:
    own = "[output.mask]\nport = 'y'\nkind = 'mask'\nlayout = 'NHW'\n"
    with pytest.raises(
        WasiNNError, match="layout is NCHW for guests, a score for each class, and NHW for the"
    ):
        load(models.identity(FLOAT, [1, 2, 4]), own, own.replace("NHW", "NCHW"))


# -- classes --------------------------------------------------------------------------------------------


def classes(kind: str = "logits", labels: Any = None, offset: int = 0, **options: Any) -> OutputContract:
    return OutputContract("c", None, kind, labels=labels, label_offset=offset, **options)


def convert(guest: OutputContract, own: OutputContract, values: Any, dtype: str = "f4") -> Array:
    array = np.array(values, dtype)
    spec = TensorSpec("c", {"f4": TensorType.F32, "u1": TensorType.U8}[dtype], array.shape)
    conversion = OutputConversion(guest, own, spec)
    found = conversion(array)
    assert conversion.spec.dims == found.shape
    return found


NONE: dict[str, Any] = {"quantization": "none"}


def test_logits_become_probabilities_and_back() -> None:
    logits = [[1000.0, 999.0, -5.0]]
    shares = convert(classes("probabilities"), classes(**NONE), logits)
    assert shares[0] == pytest.approx([0.731059, 0.268941, 0], abs=1e-6)
    back = convert(classes(), classes("probabilities", **NONE), shares)
    assert back[0, 0] - back[0, 1] == pytest.approx(1, abs=1e-5)
    assert np.isneginf(back[0, 2])
    assert convert(classes("probabilities"), classes(**NONE), [[np.nan, 1.0]]).shape == (1, 2)


def test_softmax_is_over_all_that_the_model_has() -> None:
    """The guest's two classes do not get the share of the one that it does not know."""
    found = convert(classes("probabilities", offset=1), classes(**NONE), [[0.0, 0.0, 0.0]])
    assert found.tolist() == [pytest.approx([1 / 3, 1 / 3])]


def test_a_background_class_goes_and_comes() -> None:
    names = ("background", "cat", "dog")
    with_, without = classes(labels=names, **NONE), classes(labels=names, offset=1, **NONE)
    assert convert(without, with_, [[1, 2, 3]]).tolist() == [[2, 3]]
    assert convert(with_, without, [[2, 3]]).tolist() == [[-np.inf, 2, 3]]
    shares = classes("probabilities", labels=names, **NONE)
    assert convert(shares, classes("probabilities", names, 1, **NONE), [[0.25, 0.75]]).tolist() == [
        [0, 0.25, 0.75]
    ]
    # The same by files of their own, where both begin with their first class.
    assert convert(classes(labels=("Cat ", "dog")), with_, [[1, 2, 3]]).tolist() == [[2, 3]]
    note = OutputConversion(without, with_, TensorSpec("c", TensorType.F32, (1, 3))).note
    assert note == "2 classes of both, 0 of guests alone, 1 of the model alone"
    # What pooling left behind the classes stays there.
    assert convert(without, with_, [[[[1]], [[2]], [[3]]]]).shape == (1, 2, 1, 1)


def test_classes_in_another_order_are_found_by_their_labels() -> None:
    own = classes(labels=("cat", "dog", "crane", "bird", "crane"), **NONE)
    guest = classes(labels=("bird", "cat", "dog", "fish"))
    assert class_order(guest, own, 5, "") == [3, 0, 1, -1]
    # A label that stands twice follows its neighbours.
    shifted = classes(labels=("none", "cat", "dog", "crane", "bird", "crane"))
    assert class_order(shifted, own, 5, "") == [-1, 0, 1, 2, 3, 4]
    # Labels of another language say nothing: the numbers do, and the log.
    said: list[str] = []
    french = classes(labels=("chat", "chien", "grue", "oiseau", "grue"))
    assert class_order(french, own, 5, "[output.c]", said.append) is None
    assert len(said) == 1
    assert "only 0 of the 5 labels for guests and the 5 for the model are the same" in said[0]
    assert class_order(replace(french, label_offset=1), own, 5, "") == [1, 2, 3, 4]


def test_labels_that_do_not_tell_which_class_is_which_are_refused() -> None:
    own = classes(labels=("cat", "dog", "crane", "bird"), **NONE)
    with pytest.raises(ConfigError, match="only 0 of the 5 labels for guests and the 4 for the model are"):
        class_order(classes(labels=("rien", "chat", "chien", "grue", "oiseau")), own, 4, "")
    with pytest.raises(ConfigError, match=r"only 1 of the 4 .* \('dog' is class 0 and 1\)"):
        class_order(classes(labels=("dog", "chat", "chien", "grue")), own, 4, "")


def test_the_log_says_that_classes_go_by_their_index(caplog: pytest.LogCaptureFixture) -> None:
    own = "[output.y]\nkind = 'logits'\nlabels = ['cat', 'dog']\n"
    load(models.identity(FLOAT, [1, 2]), own, own.replace("'cat', 'dog'", "'chat', 'chien'"))
    assert [record.levelname for record in caplog.records if "two languages" in record.message] == ["WARNING"]


def test_a_single_logit_is_one_of_the_sigmoid_function() -> None:
    shares = convert(classes("probabilities"), classes(**NONE), [[-7.0]])
    assert shares[0] == pytest.approx([0.000911051], rel=1e-5)
    back = convert(classes(), classes("probabilities", **NONE), [[0.25]])
    assert back[0] == pytest.approx([np.log(0.25 / 0.75)])
    assert convert(classes(), classes("probabilities", **NONE), [[1.0]]).tolist() == [[np.inf]]


def test_one_number_for_two_labels_stays_one_number() -> None:
    yes = classes("probabilities", labels=("no", "yes"), **NONE)
    assert convert(yes, classes("probabilities", **NONE), [[0.2]]).tolist() == [[pytest.approx(0.2)]]
    with pytest.raises(ConfigError, match="the model gives one number for two classes"):
        convert(classes("probabilities", labels=("yes", "no")), yes, [[0.2]])
    with pytest.raises(ConfigError, match="and guests want two"):
        convert(classes("probabilities", classes=2), classes("probabilities", **NONE), [[0.2]])


# -- a type that the model does not tell ----------------------------------------------------------------

ANY = TensorSpec("c", TensorType.F32, (1, 2), any_type=True)


def test_the_contract_says_the_type_that_the_model_does_not_tell() -> None:
    own = classes(labels=("a", "b"), type=TensorType.F64, **NONE)
    conversion = OutputConversion(classes(labels=("b", "a")), own, ANY)
    found = conversion.tensor(Tensor.of(np.array([[1.0, 2.0]], "f8")))
    assert (conversion.spec.type, found.type) == (TensorType.F32, TensorType.F32)
    assert found.numpy().tolist() == [[2, 1]]
    with pytest.raises(WasiNNError, match=r"^runtime_error: .*the model gave f16, and its contract says f64"):
        conversion.tensor(Tensor.of(np.array([[1.0, 2.0]], "f2")))


@pytest.mark.parametrize("dtype", ["f2", "f4", "f8", "i8"])
def test_without_a_type_that_of_the_output_counts(dtype: str) -> None:
    sent = Tensor.of(np.array([[1, 2]], dtype))
    scores = OutputConversion(classes(labels=("b", "a")), classes(labels=("a", "b"), **NONE), ANY)
    assert scores.tensor(sent).numpy().tolist() == [[2, 1]]
    assert scores.tensor(sent).type is TensorType.F32
    raw = OutputConversion(OutputContract("c"), OutputContract("c", **NONE), ANY)
    assert raw.spec.any_type
    assert raw.tensor(sent).type is sent.type
    bits = Tensor.of(np.array([[1, 2]], "u2"), TensorType.BF16)
    assert raw.tensor(bits).type is TensorType.BF16
    with pytest.raises(WasiNNError, match="the model gave bf16, which is not converted to f32"):
        scores.tensor(bits)


def test_a_quantization_for_each_class_moves_with_its_class() -> None:
    own = classes(quantization=Quantization((1.0, 2.0, 4.0), (0, 1, 2), 1), labels=("a", "b", "c"))
    spec = TensorSpec("c", TensorType.U8, (1, 3))
    conversion = OutputConversion(classes(labels=("c", "a"), type=TensorType.U8), own, spec)
    assert conversion.spec.quantization == Quantization((4.0, 1.0), (2, 0), 1)
    assert conversion(np.array([[10, 20, 30]], np.uint8)).tolist() == [[30, 10]]


def test_an_array_of_another_width_is_no_tensor_of_a_type() -> None:
    with pytest.raises(ValueError, match="NumPy's int64 is not as wide as f32"):
        Tensor.of(np.zeros(2, "i8"), TensorType.F32)


def test_quantized_scores_in_the_types_of_both() -> None:
    q = Quantization((1 / 256,), (0,))
    own = classes("probabilities", quantization=q)
    assert convert(classes("probabilities"), own, [[0, 128, 64]], "u1").tolist() == [[0, 0.5, 0.25]]
    same = classes("probabilities", type=TensorType.U8)
    raw = np.array([[0, 128, 64]], np.uint8)
    spec = TensorSpec("c", TensorType.U8, (1, 3), q)
    assert OutputConversion(same, own, spec)(raw) is raw
    shifted = classes("probabilities", type=TensorType.U8, offset=-1)
    assert OutputConversion(shifted, own, spec)(raw).tolist() == [[0, 0, 128, 64]]
    bytes_ = classes("probabilities", type=TensorType.U8, quantization=Quantization((1 / 255,), (0,)))
    assert convert(bytes_, classes("probabilities", **NONE), [[0.0, 1.0, 0.25]]).tolist() == [[0, 255, 64]]
    with pytest.raises(ConfigError, match=r"type is u8 for guests and f32 for the model.*write quantization"):
        convert(same, classes("probabilities", **NONE), [[0.0, 1.0]])


def test_classes_that_have_nothing_in_common_are_refused() -> None:
    with pytest.raises(ConfigError, match="the two have no class in common"):
        convert(classes(offset=5, classes=2), classes(**NONE), [[1, 2]])
    with pytest.raises(ConfigError, match="how many classes the model has is not known"):
        OutputConversion(classes(offset=1), classes(**NONE), TensorSpec("c", TensorType.F32, None))


def test_dims_that_no_one_knows_are_those_of_each_output() -> None:
    names = ("background", "cat", "dog")
    spec = TensorSpec("c", TensorType.F32, None)
    conversion = OutputConversion(classes(labels=names), classes(labels=names, offset=1, **NONE), spec)
    assert conversion.spec.dims is None
    assert conversion(np.array([[2, 3]], "f4")).tolist() == [[-np.inf, 2, 3]]
    with pytest.raises(WasiNNError, match=r"the model gave \[1,4\], and its contract means 2 classes"):
        conversion(np.zeros((1, 4), "f4"))


def test_boxes_pass_as_they_are_or_are_refused() -> None:
    text = "[output.y]\nkind = 'boxes'\nform = 'yolo'\n"
    model = models.identity(FLOAT, [1, 10, 85])
    values = np.ones((1, 10, 85), "f4")
    assert answer(load(model, text, text + "threshold = 0.1\n"), values)[0].tolist() == values.tolist()
    with pytest.raises(WasiNNError, match="format is xyxy for guests and cxcywh for the model"):
        load(model, text, text + "format = 'xyxy'\n")
