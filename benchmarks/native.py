# SPDX-License-Identifier: Apache-2.0
"""Each runtime called from Python without wasinn: the references of `backends` and of the chart.

Every function opens a model for one input and returns the call of one inference, written as someone
would who knows the runtime, on one thread and in f32. Where the runtime lets two share a loaded model,
the call runs on the very one that the guest's graph has: two lie differently in memory, which alone
makes up to 1.5 % with the SqueezeNet-size model. `graph` is wasinn's, and `file` what it was loaded from.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

Array = np.ndarray[Any, np.dtype[np.float32]]


@dataclass(frozen=True)
class Native:
    """`run` infers once; `array` makes its answer an array, which no timing includes."""

    run: Callable[[], Any]
    array: Callable[[Any], Any]

    def output(self) -> Array:
        return np.array(self.array(self.run()), np.float32)


Opener = Callable[[Path, Any, Array], Native]


def onnxruntime(file: Path, graph: Any, source: Array) -> Native:
    """`session.run`, on the graph's session."""
    session = graph._session
    return Native(partial(session.run, None, {session.get_inputs()[0].name: source}), lambda found: found[0])


def openvino(file: Path, graph: Any, source: Array) -> Native:
    """`infer` of a request on the graph's compiled model. Its tensors are set ahead: OpenVINO reads and
    writes them in place."""
    import openvino

    compiled = graph._copies.all[0].request.__self__  # a bound method of the compiled model
    request = compiled.create_infer_request()
    answer = np.empty(tuple(compiled.output(0).shape), np.float32)
    request.set_input_tensor(openvino.Tensor(source, shared_memory=True))
    request.set_output_tensor(openvino.Tensor(answer, shared_memory=True))
    return Native(partial(request.infer, share_outputs=True), lambda _: answer)


def litert(file: Path, graph: Any, source: Array) -> Native:
    """`set_tensor`, `invoke` and `get_tensor` of an interpreter of its own: one serves one thread."""
    from ai_edge_litert.interpreter import Interpreter

    interpreter: Any = Interpreter(model_path=str(file), num_threads=1)
    interpreter.allocate_tensors()
    into = interpreter.get_input_details()[0]["index"]
    out_of = interpreter.get_output_details()[0]["index"]

    def run() -> Any:
        interpreter.set_tensor(into, source)
        interpreter.invoke()
        return interpreter.get_tensor(out_of)

    return Native(run, lambda found: found)


def torch(file: Path, graph: Any, source: Array) -> Native:
    """The loaded module, the graph's, under `inference_mode`."""
    import torch

    torch.set_num_threads(1)
    module = graph.program.module
    tensor = torch.from_numpy(source)

    def run() -> Any:
        with torch.inference_mode():
            return module(tensor)

    return Native(run, lambda found: found.numpy())


def tract(file: Path, graph: Any, source: Array) -> Native:
    """`run` of a runnable, the graph's."""
    runnable = graph.plan((source.shape,))
    return Native(lambda: runnable.run([source]), lambda found: found[0].to_numpy())


def limit_tensorflow() -> None:
    """Has TensorFlow compute on one thread. Its threads are the process's, and fixed by its first
    tensor; without this it would run branches of a network on several."""
    import os

    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    import tensorflow as tf

    tf.config.threading.set_intra_op_parallelism_threads(1)
    tf.config.threading.set_inter_op_parallelism_threads(1)


def tensorflow(file: Path, graph: Any, source: Array) -> Native:
    """The SavedModel's signature, a function."""
    import tensorflow as tf

    loaded = tf.saved_model.load(str(file))
    function = loaded.signatures["serving_default"]
    ((name, _),) = function.structured_input_signature[1].items()
    tensor = tf.constant(source)

    def run() -> Any:
        return function(**{name: tensor})

    run.model = loaded  # type: ignore[attr-defined]  # the function does not keep its variables alive
    return Native(run, lambda found: next(iter(found.values())).numpy())
