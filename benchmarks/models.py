# SPDX-License-Identifier: Apache-2.0
"""The models that the benchmarks run, made from seeded random weights.

    python benchmarks/models.py FOLDER

What they compute means nothing; their sizes do. `tiny` costs next to nothing, so that a call measures the
host; `squeezenet` is a real workload; `relu` moves many bytes and computes little; `cnn` is the real
workload of the server's measures; `mlp` gains from batching. All have one input `x` and one output `y`,
both float32. The same NumPy and onnx write the same bytes.
"""

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from onnx import NodeProto, TensorProto, helper, numpy_helper

SEED = 20
BIAS = 0.01  # standard deviation

Dims = Sequence[int | str]

# The channels of the two convolutions of each fire module of SqueezeNet 1.1 (squeeze,
# and each half of expand), with None where a max pool stands between two modules.
# https://github.com/forresti/SqueezeNet, SqueezeNet_v1.1/train_val.prototxt
FIRES = (
    (16, 64),
    (16, 64),
    None,
    (32, 128),
    (32, 128),
    None,
    (48, 192),
    (48, 192),
    (64, 256),
    (64, 256),
)
POOL: dict[str, Any] = {"kernel_shape": [3, 3], "strides": [2, 2]}


class Layers:
    """A chain of ONNX nodes under construction, with weights drawn as they are added.

    Each method adds nodes and returns the name of the tensor that they make. Weights
    are normal with the variance 2 / inputs (He et al. 2015), which keeps values at one
    scale through any number of ReLUs; biases are small and not zero.
    """

    def __init__(self) -> None:
        self.nodes: list[NodeProto] = []
        self.weights: list[TensorProto] = []
        self._random = np.random.default_rng(SEED)

    def node(self, operator: str, *inputs: str, **attributes: Any) -> str:
        """Add one node of that operator."""
        output = f"{operator.lower()}{len(self.nodes)}"
        self.nodes.append(helper.make_node(operator, inputs, [output], **attributes))
        return output

    def weight(self, *shape: int, scale: float) -> str:
        """Add a float32 tensor of normal numbers with `scale` as standard deviation."""
        values = self._random.standard_normal(shape, np.float32) * np.float32(scale)
        name = f"weight{len(self.weights)}"
        self.weights.append(numpy_helper.from_array(values, name))
        return name

    def conv(self, x: str, inputs: int, outputs: int, size: int, stride: int = 1) -> str:
        """Add a convolution of size x size with a bias, then a ReLU.

        It pads by `size // 2` where `stride` is 1, which keeps height and width, else not.
        """
        weight = self.weight(outputs, inputs, size, size, scale=(2 / (inputs * size**2)) ** 0.5)
        bias = self.weight(outputs, scale=BIAS)
        pads = [size // 2 if stride == 1 else 0] * 4
        shape: dict[str, Any] = {
            "kernel_shape": [size, size],
            "strides": [stride, stride],
            "pads": pads,
        }
        return self.node("Relu", self.node("Conv", x, weight, bias, **shape))

    def linear(self, x: str, inputs: int, outputs: int) -> str:
        """Add a matrix product and a bias: [N, inputs] to [N, outputs]."""
        weight = self.weight(inputs, outputs, scale=(2 / inputs) ** 0.5)
        return self.node("Gemm", x, weight, self.weight(outputs, scale=BIAS))

    def write(self, path: Path, x: Dims, y: Dims) -> None:
        """Write the model to `path`: `x` of those dims in, the last node as `y` out."""
        self.nodes[-1].output[0] = "y"
        graph = helper.make_graph(
            self.nodes,
            path.stem,
            [helper.make_tensor_value_info("x", TensorProto.FLOAT, x)],
            [helper.make_tensor_value_info("y", TensorProto.FLOAT, y)],
            self.weights,
        )
        opset = helper.make_opsetid("", 17)
        model = helper.make_model(graph, opset_imports=[opset], ir_version=8, producer_name="wasinn")
        path.write_bytes(model.SerializeToString(deterministic=True))


def write_tiny(path: Path) -> None:
    """One matrix product, [1, 16] by [16, 4]."""
    layers = Layers()
    layers.node("MatMul", "x", layers.weight(16, 4, scale=0.25))
    layers.write(path, [1, 16], [1, 4])


def write_squeezenet(path: Path) -> None:
    """SqueezeNet 1.1, its 1.24 million weights random: about 0.35 G multiply-adds."""
    layers = Layers()
    x = layers.conv("x", 3, 64, 3, stride=2)
    x = layers.node("MaxPool", x, **POOL)
    channels = 64
    for fire in FIRES:
        if fire is None:
            x = layers.node("MaxPool", x, **POOL)
            continue
        squeeze, expand = fire
        x = layers.conv(x, channels, squeeze, 1)
        halves = layers.conv(x, squeeze, expand, 1), layers.conv(x, squeeze, expand, 3)
        x = layers.node("Concat", *halves, axis=1)
        channels = 2 * expand
    x = layers.conv(x, channels, 1000, 1)  # the dropout before it does nothing here
    layers.node("Flatten", layers.node("GlobalAveragePool", x))
    layers.write(path, [1, 3, 224, 224], [1, 1000])


def write_relu(path: Path) -> None:
    """One ReLU over 12.6 MB."""
    layers = Layers()
    layers.node("Relu", "x")
    layers.write(path, [1, 3, 1024, 1024], [1, 3, 1024, 1024])


def write_mlp(path: Path) -> None:
    """Four hidden layers of 2048 on a batch of any size: 57 MB of weights."""
    layers = Layers()
    x = "x"
    inputs = 784
    for _ in range(4):
        x = layers.node("Relu", layers.linear(x, inputs, 2048))
        inputs = 2048
    layers.linear(x, inputs, 10)
    layers.write(path, ["N", 784], ["N", 10])


def write_cnn(path: Path) -> None:
    """Convolutions of 64 channels on a picture of 76x76: some 6 ms for an input of 69 KB."""
    layers = Layers()
    x = layers.conv("x", 3, 64, 3)
    for _ in range(3):
        x = layers.conv(x, 64, 64, 3)
    layers.node("Flatten", layers.node("GlobalAveragePool", x))
    layers.write(path, [1, 3, 76, 76], [1, 64])


@dataclass(frozen=True)
class Ports:
    """What one compute takes and gives, both float32.

    input_dims: the dims of the input, and output_bytes: the size of the output; where
    the batch may be of any size, those of a batch of one.
    """

    input_dims: tuple[int, ...]
    output_bytes: int


@dataclass(frozen=True)
class Model:
    """A benchmark model: how to write it, and what one compute takes and gives."""

    write: Callable[[Path], None]
    ports: Ports


MODELS: dict[str, Model] = {
    "tiny": Model(write_tiny, Ports((1, 16), 4 * 4)),
    "squeezenet": Model(write_squeezenet, Ports((1, 3, 224, 224), 4 * 1000)),
    "relu": Model(write_relu, Ports((1, 3, 1024, 1024), 4 * 3 * 1024 * 1024)),
    "cnn": Model(write_cnn, Ports((1, 3, 76, 76), 4 * 64)),
    "mlp": Model(write_mlp, Ports((1, 784), 4 * 10)),
}


def write_all(folder: Path) -> dict[str, Path]:
    """Write every model to `folder`, made if missing, as NAME.onnx; return the paths."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = {name: folder / f"{name}.onnx" for name in MODELS}
    for name, path in paths.items():
        MODELS[name].write(path)
    return paths


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("usage: python benchmarks/models.py FOLDER")
    for written in write_all(Path(sys.argv[1])).values():
        print(f"{written}: {written.stat().st_size} bytes")
