# SPDX-License-Identifier: Apache-2.0
"""OpenVINO IR, ONNX, TensorFlow and TensorFlow Lite models on OpenVINO.

The file reads a model with the frontend of its encoding, and compiles it; openvino_graph.py computes.

Facts behind the code, each measured with 2026.4: without a hint a CPU that has bf16 computes in it (0.2 %
off), and weights compressed to 8 bits have their *activations* quantized too; `NUM_STREAMS: 0` is the
caller's own thread, and then more threads are not used; those of a stream are pinned unless told not to,
and two models then got in each other's way (0.9 times the throughput of one).
`Core.read_model` looks at the content and reads an ONNX model that is called TensorFlow; a frontend that
is asked for by name does not. The frontends for TensorFlow want a path, that for TensorFlow Lite one
that ends in .tflite. A missing or short bin is found when the model is read; the runtime maps files
unless told not to, and a mapped file that is cut short ends the process.
"""

from __future__ import annotations

import ctypes
import functools
import io
import logging
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np

from wasinn.backends import litert_file, onnx_external, openvino_content, openvino_ports
from wasinn.backends.base import Backend, Graph, LoadOptions, Model
from wasinn.backends.common import check_builders, choose_target, installed_version, not_a
from wasinn.backends.openvino_graph import Copies, OpenVinoGraph, Ports, cores
from wasinn.backends.openvino_ports import Lore, reason
from wasinn.errors import WasiNNError, invalid_argument, runtime_error, unsupported
from wasinn.spec import Encoding, Target

logger = logging.getLogger("wasinn.graph")

_DEVICES = {Target.CPU: "CPU", Target.GPU: "GPU", Target.TPU: "NPU"}


class OpenVinoBackend(Backend):
    """`openvino`: see the head of this file."""

    name: ClassVar[str] = "openvino"
    encodings: ClassVar[Mapping[Encoding, int]] = {
        Encoding.OPENVINO: 0,
        Encoding.TENSORFLOW: 0,
        Encoding.ONNX: 1,
        Encoding.TENSORFLOWLITE: 1,
    }
    extra: ClassVar[str] = "openvino"
    isolation: ClassVar[Literal["never", "bytes", "always"]] = "bytes"
    precisions: ClassVar[frozenset[str]] = frozenset({"f32", "f16", "bf16"})

    @functools.cache  # noqa: B019
    def version(self) -> str | None:
        return installed_version("openvino", "openvino")

    def devices(self) -> Mapping[Target, str]:
        return {target: shown for target, (_, shown) in _devices().items()}

    def load(self, model: Model, encoding: Encoding, target: Target, options: LoadOptions) -> Graph:
        target = choose_target(self.name, self.devices(), target)
        device, _ = _devices()[target]
        _check_precision(device, options.precision)
        try:
            network = _READERS[encoding](model)
            ports = _ports(network, _lore(model, encoding))
            settings, most = _settings(target, options)
            if network.get_variables():
                most = 1  # a state belongs to the request that made it
            # The weights of an IR lie in the guest's bytes: whoever can compile keeps them.
            keep = model.builders if encoding is Encoding.OPENVINO else ()
            copies = Copies(functools.partial(_compile, network, device, settings, keep), most)
        except WasiNNError:
            raise
        except Exception as error:  # RuntimeError, IndexError, ValueError and the frontends' own
            raise runtime_error(f"openvino could not load the model: {reason(error)}") from error
        openvino_ports.warn_of_narrowing(network, ports.inputs, ports.outputs)
        openvino_ports.warn_of_unchecked(network)
        return OpenVinoGraph(ports, copies)


@functools.cache
def _core() -> Any:
    """The runtime, imported without its telemetry: that sends an event to Google from a forked process,
    and writes an ID into the home directory, for the import alone."""
    hidden = "openvino_telemetry" not in sys.modules
    if hidden:
        sys.modules["openvino_telemetry"] = None  # type: ignore[assignment]  # "there is no such module"
    try:
        import openvino
    finally:
        if hidden:
            sys.modules.pop("openvino_telemetry", None)
    core = openvino.Core()
    core.set_property({"ENABLE_MMAP": False})
    return core


def _frontend(name: str) -> Any:
    from openvino.frontend import FrontEndManager

    return FrontEndManager().load_by_framework(name)


@functools.cache
def _devices() -> dict[Target, tuple[str, str]]:
    """For each target that can be served the first device, and what it is."""
    found = {}
    available = _core().available_devices
    for target, kind in _DEVICES.items():
        names = [name for name in available if name.split(".")[0] == kind]
        if names:
            full = _core().get_property(names[0], "FULL_DEVICE_NAME")
            found[target] = names[0], f"{kind}: {str(full).strip()}"
    return found


#: What a device calls its capability of each precision.
_CAPABILITIES = {"f32": "FP32", "f16": "FP16", "bf16": "BF16"}
_PRECISION = "INFERENCE_PRECISION_HINT"


def _check_precision(device: str, precision: str | None) -> None:
    """That `device` has what it takes. Raises WasiNNError (unsupported_operation)."""
    if precision is None:
        return
    able = set(_core().get_property(device, "OPTIMIZATION_CAPABILITIES"))
    if _CAPABILITIES[precision] not in able:
        raise _no_precision(precision, device, f"it has {', '.join(_precisions(able)) or 'no other'}")


def _precisions(able: set[str]) -> list[str]:
    return [name for name, capability in _CAPABILITIES.items() if capability in able]


def _no_precision(precision: str, device: str, why: str) -> WasiNNError:
    return unsupported(f'precision = "{precision}": openvino\'s device {device} cannot compute in it; {why}')


def _settings(target: Target, options: LoadOptions) -> tuple[dict[str, Any], int]:
    """The runtime's settings, and how many copies of the model are worth it."""
    precision, threads = options.precision, options.threads
    if target is Target.TPU:
        # By its documentation it computes in f16, and takes no other hint.
        return ({_PRECISION: precision} if precision else {}), 1
    settings: dict[str, Any] = {_PRECISION: precision or "f32", "EXECUTION_MODE_HINT": "ACCURACY"}
    if target is not Target.CPU:
        return settings, 1
    settings["LOG_LEVEL"] = "LOG_NONE"
    settings["ENABLE_CPU_PINNING"] = False
    count = threads or 1
    settings["NUM_STREAMS"] = 0 if count == 1 else 1
    settings["INFERENCE_NUM_THREADS"] = count
    return settings, max(1, cores() // count)


def _compile(network: Any, device: str, settings: Mapping[str, Any], _keep: Any) -> Any:
    compiled = _core().compile_model(network, device, dict(settings))
    wanted = settings.get(_PRECISION, "f32")
    if wanted != "f32":
        # A CPU without f16 takes the hint, and computes in bf16.
        name = compiled.get_property(_PRECISION).get_type_name()
        if name != wanted:
            raise _no_precision(wanted, device, f"it would compute in {name}")
    return compiled


def _ports(network: Any, lore: Lore) -> Ports:
    inputs = openvino_ports.read_inputs(network, lore)
    outputs = openvino_ports.read_outputs(network, lore)
    if not outputs:
        raise not_a("a model", "it reads as one without outputs")
    for port in inputs:
        if port.spec.dims is None:
            raise _no_rank(port.spec.name)
    return Ports(inputs, outputs)


def _no_rank(name: str) -> WasiNNError:
    return unsupported(
        f"the input {name!r} has no fixed rank, which openvino cannot compile; export the model with a "
        "number of dimensions (they may be dynamic)"
    )


# -- reading ------------------------------------------------------------------------------------------


def _read_ir(model: Model) -> Any:
    check_builders(model, "an OpenVINO model is two builders, its xml and its bin", most=2)
    heads = model.heads(4096)
    if not openvino_content.is_ir(heads[0]):
        if len(heads) == 2 and openvino_content.is_ir(heads[1]):
            raise invalid_argument("an OpenVINO model is its xml, then its bin: these are in reverse order")
        raise not_a("an OpenVINO model", "its first part is no XML with <net")
    try:
        if model.files:
            return _core().read_model(*(str(path) for path in model.files))
        xml, *weights = model.builders
        return _core().read_model(xml, _weights(weights[0]) if weights and weights[0] else None)
    except RuntimeError as error:
        if "weights" not in str(error) or "bin file" not in str(error):
            raise
        raise _weights_error(model) from error


def _weights(data: bytes) -> Any:
    """A tensor over `data`, which must outlive it. The binding wants memory that could be written."""
    import openvino

    address = np.frombuffer(data, np.uint8).ctypes.data
    place: Any = (ctypes.c_ubyte * len(data)).from_address(address)
    return openvino.Tensor(np.frombuffer(place, np.uint8), shared_memory=True)


def _weights_error(model: Model) -> WasiNNError:
    if len(model.files or model.builders) == 1:
        if model.files:
            bin_file = model.files[0].with_suffix(".bin")
            return invalid_argument(
                f"this OpenVINO model has weights, and there is no {bin_file.name} beside it: give "
                f"{model.files[0].name},PATH.bin"
            )
        return invalid_argument("this OpenVINO model has weights: pass its bin after its xml")
    size = len(model.builders[1]) if model.builders else model.files[1].stat().st_size
    return runtime_error(
        f"the xml refers to weights beyond the {size} bytes of the bin: it is cut short, or another model's"
    )


def _read_onnx(model: Model) -> Any:
    check_builders(model, "an ONNX model is one builder (its bytes)")
    frontend = _frontend("onnx")
    if model.files:
        onnx_external.check_onnx_file(model.files[0])
        return frontend.convert(frontend.load(str(model.files[0])))
    onnx_external.check_onnx_bytes(model.builders[0])
    return frontend.convert(frontend.load(io.BytesIO(model.builders[0])))


def _read_tensorflow(model: Model) -> Any:
    check_builders(
        model, "a TensorFlow model is one builder (a frozen graph), or for an operator a SavedModel directory"
    )
    source = model.files[0] if model.files else model.builders[0]
    if isinstance(source, Path) and source.is_dir():
        openvino_content.check_saved_model(source)
    elif not openvino_content.check_graph_def(source):
        logger.warning("the TensorFlow graph does not end with its versions: is it cut short?")
    return _read_path("tf", ".pb", source)


def _read_tensorflow_lite(model: Model) -> Any:
    check_builders(model, "a TensorFlow Lite model is one builder (its bytes)")
    if model.heads(8)[0][4:8] != b"TFL3":
        raise not_a("a TensorFlow Lite model", "it lacks TFL3 at byte 4")
    return _read_path("tflite", ".tflite", model.builders[0] if model.builders else model.files[0])


def _read_path(framework: str, suffix: str, source: Path | bytes) -> Any:
    """Reads with a frontend that wants a path: bytes go through a private file, gone when they are read."""
    frontend = _frontend(framework)
    if isinstance(source, Path) and (source.suffix == suffix or source.is_dir()):
        return frontend.convert(frontend.load(str(source)))
    data = source if isinstance(source, bytes) else source.read_bytes()
    with tempfile.TemporaryDirectory(prefix="wasinn-openvino-", ignore_cleanup_errors=True) as folder:
        path = Path(folder, "model" + suffix)
        path.write_bytes(data)
        return frontend.convert(frontend.load(str(path)))


_READERS: dict[Encoding, Callable[[Model], Any]] = {
    Encoding.OPENVINO: _read_ir,
    Encoding.ONNX: _read_onnx,
    Encoding.TENSORFLOW: _read_tensorflow,
    Encoding.TENSORFLOWLITE: _read_tensorflow_lite,
}


# -- what the runtime does not tell ---------------------------------------------------------------------


def _lore(model: Model, encoding: Encoding) -> Lore:
    if encoding is Encoding.TENSORFLOW:
        return Lore(_tensorflow_names)
    if encoding is Encoding.TENSORFLOWLITE:
        return _tensorflow_lite_lore(model)
    return Lore()


def _tensorflow_names(name: str) -> Sequence[str]:
    """TensorFlow calls the first output of a node by the node's name, or with `:0`."""
    return (name.removesuffix(":0"), name)


def _tensorflow_lite_lore(model: Model) -> Lore:
    """The signatures' names and the quantization; the frontend takes an input without a rank for a scalar.

    Raises WasiNNError (unsupported_operation) for such an input.
    """
    try:
        file = litert_file.read(model.builders[0] if model.builders else model.files[0].read_bytes())
    except ValueError:  # it has come through the runtime's verifier: ours is the stricter one
        return Lore()
    for port in file.inputs:
        if port.dims is None:
            raise _no_rank(port.names[0])
    ports = (*file.inputs, *file.outputs)
    names = {port.names[-1]: port.names for port in ports}
    steps = {name: port.quantization for port in ports if port.quantization for name in port.names}
    return Lore(lambda name: names.get(name, (name,)), steps)
