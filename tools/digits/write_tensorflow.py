# SPDX-License-Identifier: Apache-2.0
"""Write the digits network for TensorFlow, from `weights.npz`.

    python tools/digits/write_tensorflow.py

Needs tensorflow (or tensorflow-cpu). Writes, of one function, image f32 [1, 8, 8, 1] ->
probabilities f32 [1, 10]:

    digits.pb           a frozen graph: a GraphDef, its weights as constants
    digits_saved_model  a SavedModel: its weights as variables, its signature `serving_default`

The same version of TensorFlow writes the same bytes.
"""

import shutil

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray
from tensorflow_network import IMAGE, frozen_graph, probabilities, weights_channels_last
from verify import MODELS, report

FROZEN = MODELS / "digits.pb"
SAVED = MODELS / "digits_saved_model"


class Digits(tf.Module):  # type: ignore[misc,unused-ignore]
    """The network with its weights as variables."""

    def __init__(self) -> None:
        super().__init__()
        self.weights = {
            name: tf.Variable(array, trainable=False, name=name.replace(".", "_"))
            for name, array in weights_channels_last().items()
        }

    @tf.function(input_signature=[tf.TensorSpec(IMAGE, tf.float32, name="image")])  # type: ignore[untyped-decorator,unused-ignore]
    def __call__(self, image: tf.Tensor) -> dict[str, tf.Tensor]:
        """Return the outputs by name."""
        return {"probabilities": probabilities(image, self.weights)}


def write_frozen() -> None:
    """Write the GraphDef."""
    FROZEN.write_bytes(frozen_graph().as_graph_def().SerializeToString(deterministic=True))


def write_saved_model() -> None:
    """Write the SavedModel, without what only tools for debugging read."""
    shutil.rmtree(SAVED, ignore_errors=True)
    module = Digits()
    options = tf.saved_model.SaveOptions(save_debug_info=False)
    tf.saved_model.save(module, str(SAVED), signatures=module.__call__, options=options)
    (SAVED / "fingerprint.pb").unlink()
    (SAVED / "assets").rmdir()  # empty; git would not keep it


def main() -> None:
    """Write both, and run them."""
    write_frozen()
    write_saved_model()
    graph = tf.compat.v1.GraphDef.FromString(FROZEN.read_bytes())
    function = tf.compat.v1.wrap_function(lambda: tf.graph_util.import_graph_def(graph, name=""), [])
    frozen = function.prune("image:0", "probabilities:0")
    served = tf.saved_model.load(str(SAVED)).signatures["serving_default"]

    def classify_frozen(image: NDArray[np.float32]) -> NDArray[np.float32]:
        answer: NDArray[np.float32] = frozen(tf.constant(image)).numpy()
        return answer

    def classify_served(image: NDArray[np.float32]) -> NDArray[np.float32]:
        answer: NDArray[np.float32] = served(image=tf.constant(image))["probabilities"].numpy()
        return answer

    report(FROZEN, classify_frozen, "NHWC")
    report(SAVED, classify_served, "NHWC")


if __name__ == "__main__":
    main()
