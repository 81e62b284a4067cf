# SPDX-License-Identifier: Apache-2.0
"""A guest in Python: classifies pictures and raw tensors with a model of the host's.

    wasinn run classify.wasm -- [--name NAME] [--top K] FILE...

FILE is a PNG, PPM, PGM or BMP picture, resized to the model's input and scaled to 0..1; or else the bytes
of the input tensor as they are. What the model takes is asked of the host. For each file the largest values
of the first output are printed with their places.
"""

import json
import math
import sys
from array import array

import pictures
import wit_world
from componentize_py_types import Err
from wit_world import exports
from wit_world.imports import environment, graph, inference, introspection
from wit_world.imports.tensor import Tensor, TensorType
from wit_world.imports.values import Value

TYPES = {"FP32": TensorType.FP32, "UINT8": TensorType.U8}
SIZES = {TensorType.FP32: 4, TensorType.U8: 1}


class GuestError(Exception):
    """What the user is told before the guest fails."""


class Run(exports.Run):
    """The export `wasi:cli/run`: componentize-py finds the class by its name."""

    def run(self) -> None:
        try:
            main(environment.get_arguments()[1:])
        except GuestError as error:
            print(f"classify: {error}", file=sys.stderr)
            # How a function of the type `result` fails: the exit code is 1.
            raise Err(None) from None


class WitWorld(wit_world.WitWorld):
    """The exported functions that are in no interface: componentize-py finds this class by its name too."""

    def infer(self, model: str, inputs: list[Value]) -> list[Value]:
        try:
            with checked(graph.load_by_name, model) as loaded:
                context = checked(loaded.init_execution_context)
            # The context keeps the graph alive.
            with context:
                tensors = [(each.name, Tensor(each.dims, each.ty, each.data)) for each in inputs]
                return [given_back(*output) for output in checked(context.compute, tensors)]
        except GuestError as error:
            raise Err(str(error)) from None


def given_back(name: str, tensor: Tensor) -> Value:
    with tensor:
        return Value(name, tensor.dimensions(), tensor.ty(), tensor.data())


def main(arguments: list[str]) -> None:
    name, top, files = "default", "5", []
    words = iter(arguments)
    for word in words:
        if word == "--name":
            name = next(words, "")
        elif word == "--top":
            top = next(words, "")
            if not top.isdecimal():
                raise GuestError(f"--top needs a number, not {top!r}")
        elif word.startswith("--"):
            raise GuestError(f"there is no option {word}: there are --name NAME and --top K")
        else:
            files.append(word)
    if not files:
        raise GuestError("no file is given")
    with checked(graph.load_by_name, name) as model:
        port = json.loads(checked(introspection.graph_metadata, model))["inputs"][0]
        if port["datatype"] not in TYPES:
            raise GuestError(f"the model takes {port['datatype']}; this guest gives {', '.join(TYPES)}")
        with checked(model.init_execution_context) as context:
            for file in files:
                values = classify(context, port, file)
                best = sorted(range(len(values)), key=lambda place: -values[place])[: int(top)]
                print(file)
                for place in best:
                    print(f"{place} {values[place]:.3f}")


def classify(context: inference.GraphExecutionContext, port: dict, file: str) -> array:
    """The values of the first output."""
    try:
        with open(file, "rb") as opened:
            content = opened.read()
    except OSError as error:
        raise GuestError(f"{file}: {error.strerror} (a guest sees only what --dir gives it)") from None
    kind = TYPES[port["datatype"]]
    # A size that the model leaves open is -1.
    dims = [max(1, size) for size in port["shape"]]
    if pictures.is_picture(content):
        try:
            content = pictures.to_tensor(content, dims, as_bytes=kind is TensorType.U8)
        except ValueError as error:
            raise GuestError(f"{file}: {error}") from None
    elif len(content) != math.prod(dims) * SIZES[kind]:
        size = math.prod(dims) * SIZES[kind]
        raise GuestError(f"{file} has {len(content)} bytes; {dims} of {port['datatype']} has {size}")
    # `compute` takes the tensor away, so it is not this guest's to drop. The outputs are.
    outputs = checked(context.compute, [(port["name"], Tensor(dims, kind, content))])
    with outputs[0][1] as scores:
        values = array("B" if scores.ty() is TensorType.U8 else "f", scores.data())
    for _, other in outputs[1:]:
        with other:
            pass
    return values


def checked(function, *arguments):
    """Calls what may fail. A failure is an `Err`: of an error resource that has the reason, or of text."""
    try:
        return function(*arguments)
    except Err as error:
        if isinstance(error.value, str):
            reason = error.value
        else:
            with error.value as resource:  # dropped at once, and not when Python collects its garbage
                reason = resource.data()
        raise GuestError(reason) from None
