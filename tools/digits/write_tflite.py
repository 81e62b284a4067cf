# SPDX-License-Identifier: Apache-2.0
"""Write the digits network for TensorFlow Lite, from `weights.npz`.

    python tools/digits/write_tflite.py

Needs tensorflow (or tensorflow-cpu) for its converter, and ai-edge-litert to run the files. Writes
three of one function, image [1, 8, 8, 1] -> probabilities [1, 10]:

    digits.tflite     f32
    digits_u8.tflite  integers throughout, u8 at both ends: the bytes of a picture, and 0 to 255 for a
                      probability of 0 to 255/256
    digits_i8.tflite  the same with i8 at both ends: each byte less 128

The ranges of the quantized ones come from the digits that the network was trained on, not from those it
is measured with. The same version of TensorFlow writes the same bytes.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
from ai_edge_litert.interpreter import Interpreter
from dataset import load_split
from numpy.typing import NDArray
from tensorflow.lite.python import schema_py_generated as schema
from tensorflow.lite.tools import flatbuffer_utils
from tensorflow_network import frozen_graph
from verify import MODELS, report
from write_onnx import DESCRIPTION

# What a byte of each type means is written in the file: 0 to 255 is 0 to 1.
FILES = {"digits.tflite": None, "digits_u8.tflite": tf.uint8, "digits_i8.tflite": tf.int8}


def representative_pictures() -> Iterator[list[NDArray[np.float32]]]:
    """Yield pictures from which the converter learns the range of every tensor."""
    seen, _ = load_split()
    for image in seen.images.transpose(0, 2, 3, 1):
        yield [image[np.newaxis]]


def convert(element: tf.DType | None) -> bytes:
    """Return the network as a TFLite file; with `element` at both ends, or as floats."""
    graph = frozen_graph()
    function = tf.compat.v1.wrap_function(
        lambda: tf.graph_util.import_graph_def(graph.as_graph_def(), name=""), []
    ).prune("image:0", "probabilities:0")
    converter = tf.lite.TFLiteConverter.from_concrete_functions([function])
    if element is not None:
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
        converter.representative_dataset = representative_pictures
        converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
        converter.inference_input_type = converter.inference_output_type = element
    return tidy(converter.convert())


def tidy(data: bytes) -> bytes:
    """Return the file with the names and the description of digits.onnx, and without the record of
    its conversion."""
    model = flatbuffer_utils.convert_bytearray_to_object(bytearray(data))
    (subgraph,) = model.subgraphs
    ports = (("image", subgraph.inputs), ("probabilities", subgraph.outputs))
    for name, (index,) in ports:
        subgraph.tensors[index].name = name.encode()
    model.description = DESCRIPTION.encode()
    model.signatureDefs = [signature(subgraph.inputs[0], subgraph.outputs[0])]
    model.metadata = [each for each in model.metadata if each.name != b"CONVERSION_METADATA"]
    return bytes(flatbuffer_utils.convert_object_to_bytearray(model))


def signature(image: int, probabilities: int) -> schema.SignatureDefT:
    """Return the signature that names the two tensors."""
    result = schema.SignatureDefT()
    result.signatureKey = b"serving_default"
    result.inputs, result.outputs = [schema.TensorMapT()], [schema.TensorMapT()]
    result.inputs[0].name, result.inputs[0].tensorIndex = b"image", image
    result.outputs[0].name, result.outputs[0].tensorIndex = b"probabilities", probabilities
    return result


def check(path: Path) -> None:
    """Run the file on the held-out digits, with floats brought to its type and back."""
    interpreter = Interpreter(str(path), num_threads=1)
    interpreter.allocate_tensors()
    (image_port,), (answer_port,) = interpreter.get_input_details(), interpreter.get_output_details()

    def classify(image: NDArray[np.float32]) -> NDArray[np.float32]:
        interpreter.set_tensor(image_port["index"], quantize(image, image_port))
        interpreter.invoke()
        answer: NDArray[np.float32] = interpreter.get_tensor(answer_port["index"])
        scale, zero = answer_port["quantization"]
        return (answer.astype(np.float32) - zero) * np.float32(scale) if scale else answer

    report(path, classify, "NHWC", quantized=bool(image_port["quantization"][0]))
    for port in (image_port, answer_port):
        print(f"    {port['name']:14} {port['dtype'].__name__:8} scale, zero point {port['quantization']}")


def quantize(image: NDArray[np.float32], port: dict[str, Any]) -> NDArray[Any]:
    """Return the image as `port` takes it."""
    scale, zero = port["quantization"]
    if not scale:
        return image
    limits = np.iinfo(port["dtype"])
    quantized: NDArray[Any] = np.clip(np.round(image / scale) + zero, limits.min, limits.max)
    return quantized.astype(port["dtype"])


def main() -> None:
    """Write the files, and run them."""
    for name, element in FILES.items():
        (MODELS / name).write_bytes(convert(element))
        check(MODELS / name)


if __name__ == "__main__":
    main()
