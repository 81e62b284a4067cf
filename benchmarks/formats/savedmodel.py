# SPDX-License-Identifier: Apache-2.0
"""A network as TensorFlow's SavedModel, a folder. TensorFlow's convolutions on a CPU keep the channels
last: the model's input is batch, height, width, channels."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import tensorflow as tf

from formats import network as net

_OPERATORS: dict[str, Any] = {"Add": tf.add, "Sub": tf.subtract, "Mul": tf.multiply}


def write(network: net.Network, path: Path) -> None:
    """Writes it; the signature has one input `x` and one output `y`, channels last."""
    batch, channels, height, width = network.dims
    spec = tf.TensorSpec((batch, height, width, channels), tf.float32, name="x")

    def forward(x: Any) -> dict[str, Any]:
        values = {network.input: x}
        for layer in network.layers:
            values[layer.output] = _run(layer, [values[name] for name in layer.inputs])
        return {"y": values[network.output.output]}

    module: Any = tf.Module()
    module.forward = tf.function(forward, input_signature=[spec], autograph=False)
    tf.saved_model.save(module, str(path), signatures=module.forward)


def _run(layer: net.Layer, inputs: list[Any]) -> Any:
    x = inputs[0]
    match layer:
        case net.Conv():
            return _conv(layer, x)
        case net.MaxPool():
            return tf.nn.max_pool2d(x, layer.size, layer.strides, "VALID")
        case net.Concat():
            return tf.concat(inputs, 3)
        case net.Mean():
            return tf.reduce_mean(x, (1, 2), keepdims=True)
        case net.Flatten():
            return tf.reshape(x, layer.dims)
        case net.Tail():
            return x[:, layer.start :]
        case net.Add():
            return x + inputs[1]
        case net.Constant():
            return _OPERATORS[layer.operator](x, layer.value)
    raise TypeError(f"no translation of {type(layer).__name__}")


def _conv(layer: net.Conv, x: Any) -> Any:
    top, left, bottom, right = layer.pads
    pads = ((0, 0), (top, bottom), (left, right), (0, 0))
    down, across = layer.strides
    weight = layer.weight.transpose(2, 3, 1, 0)  # height, width, inputs, outputs
    if layer.groups == 1:
        x = tf.nn.conv2d(x, weight, layer.strides, pads)
    else:  # depthwise: height, width, inputs, 1
        # It takes paddings that are equal on both sides only.
        x = tf.nn.depthwise_conv2d(tf.pad(x, pads), weight.swapaxes(2, 3), (1, down, across, 1), "VALID")
    x = tf.nn.bias_add(x, layer.bias)
    if layer.ceiling is None:
        return x
    return tf.nn.relu6(x) if layer.ceiling == 6 else tf.nn.relu(x)
