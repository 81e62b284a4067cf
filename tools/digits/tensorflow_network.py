# SPDX-License-Identifier: Apache-2.0
"""The digits network in TensorFlow, from `weights.npz`: what the TensorFlow and TFLite files are made of.

TensorFlow wants pictures channels last, so the layouts of the weights differ from torch's: kernels are
[height, width, in, out], and what the last layer sees is flattened as [2, 2, 32] and not as [32, 2, 2].
"""

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray
from write_onnx import load_weights

IMAGE = (1, 8, 8, 1)


def weights_channels_last() -> dict[str, NDArray[np.float32]]:
    """Return the weights by name, in TensorFlow's layouts; the linear layer's as [in, out]."""
    weights = load_weights()
    for name in ("conv1.weight", "conv2.weight"):
        weights[name] = weights[name].transpose(2, 3, 1, 0)
    linear = weights["linear.weight"].reshape(10, 32, 2, 2)
    weights["linear.weight"] = linear.transpose(2, 3, 1, 0).reshape(128, 10)
    return {name: np.ascontiguousarray(array) for name, array in weights.items()}


def probabilities(image: tf.Tensor, weights: dict[str, tf.Tensor]) -> tf.Tensor:
    """Return the probabilities [1, 10] of `image` [1, 8, 8, 1], from weights channels last."""
    value = image
    for layer in ("conv1", "conv2"):
        value = tf.nn.conv2d(value, weights[f"{layer}.weight"], 1, "SAME")
        value = tf.nn.relu(tf.nn.bias_add(value, weights[f"{layer}.bias"]))
        value = tf.nn.max_pool2d(value, 2, 2, "VALID")
    flat = tf.reshape(value, [1, 128])
    logits = tf.nn.bias_add(tf.linalg.matmul(flat, weights["linear.weight"]), weights["linear.bias"])
    return tf.nn.softmax(logits, name="probabilities")


def frozen_graph() -> tf.Graph:
    """Return a graph with the placeholder `image` and the node `probabilities`."""
    graph = tf.Graph()
    with graph.as_default():
        image = tf.compat.v1.placeholder(tf.float32, IMAGE, "image")
        constants = {
            name: tf.constant(array, name=name.replace(".", "_"))
            for name, array in weights_channels_last().items()
        }
        probabilities(image, constants)
    return graph
