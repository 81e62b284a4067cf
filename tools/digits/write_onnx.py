# SPDX-License-Identifier: Apache-2.0
"""Write the digits network as ONNX, from `weights.npz`.

    python tools/digits/write_onnx.py

Needs onnx only. Writes two files that differ in their first dimension alone:

    digits.onnx        image f32 [1, 1, 8, 8] -> probabilities f32 [1, 10]
    digits_batch.onnx  image f32 [N, 1, 8, 8] -> probabilities f32 [N, 10]

An image is white on black, 0 to 1; probability `i` is that of the digit `i`. The same
weights give the same bytes.
"""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import ModelProto, TensorProto, checker, helper, numpy_helper

WEIGHTS = Path(__file__).with_name("weights.npz")
MODELS = Path(__file__).parents[2] / "src" / "wasinn" / "shipped" / "models"

DESCRIPTION = (
    "Handwritten digits 0 to 9. image: one channel of 8x8 pixels, white on black, "
    "0 to 1. probabilities: one for each digit. Trained on the UCI ML hand-written "
    "digits (CC BY 4.0) as found in scikit-learn."
)


def load_weights() -> dict[str, NDArray[np.float32]]:
    """Return the weights by name; `train.py` lists their names and shapes."""
    with np.load(WEIGHTS) as archive:
        return {name: archive[name] for name in archive.files}


def build(weights: dict[str, NDArray[np.float32]], batch: int | str) -> ModelProto:
    """Return the network for a batch of that size, or of any size if it is a name."""
    conv: dict[str, Any] = {"kernel_shape": [3, 3], "pads": [1, 1, 1, 1]}
    pool: dict[str, Any] = {"kernel_shape": [2, 2], "strides": [2, 2]}
    nodes = [
        helper.make_node("Conv", ["image", "conv1.weight", "conv1.bias"], ["conv1"], **conv),
        helper.make_node("Relu", ["conv1"], ["relu1"]),
        helper.make_node("MaxPool", ["relu1"], ["pool1"], **pool),
        helper.make_node("Conv", ["pool1", "conv2.weight", "conv2.bias"], ["conv2"], **conv),
        helper.make_node("Relu", ["conv2"], ["relu2"]),
        helper.make_node("MaxPool", ["relu2"], ["pool2"], **pool),
        helper.make_node("Flatten", ["pool2"], ["flat"], axis=1),
        helper.make_node("Gemm", ["flat", "linear.weight", "linear.bias"], ["logits"], transB=1),
        helper.make_node("Softmax", ["logits"], ["probabilities"], axis=1),
    ]
    image = helper.make_tensor_value_info("image", TensorProto.FLOAT, [batch, 1, 8, 8])
    probabilities = helper.make_tensor_value_info("probabilities", TensorProto.FLOAT, [batch, 10])
    graph = helper.make_graph(
        nodes,
        "digits",
        [image],
        [probabilities],
        [numpy_helper.from_array(weights[name], name) for name in sorted(weights)],
    )
    # Opset 17 and IR version 8 are of 2022: runtimes of the last years all read them.
    model = helper.make_model(
        graph,
        opset_imports=[helper.make_opsetid("", 17)],
        ir_version=8,
        producer_name="wasinn",
    )
    helper.set_model_props(model, {"description": DESCRIPTION})
    checker.check_model(model, full_check=True)
    return model


def main() -> None:
    """Write both files and print their sizes."""
    weights = load_weights()
    MODELS.mkdir(parents=True, exist_ok=True)
    for name, batch in (("digits.onnx", 1), ("digits_batch.onnx", "N")):
        data = build(weights, batch).SerializeToString(deterministic=True)
        (MODELS / name).write_bytes(data)
        print(f"{name}: {len(data)} bytes")


if __name__ == "__main__":
    main()
