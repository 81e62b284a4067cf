# SPDX-License-Identifier: Apache-2.0
"""The zoo in PyTorch: each function makes TorchScript, or with form="exported" an exported program.

TorchScript is traced where a trace tells what the model declares (all dims but the first of two or more
are held to), and scripted otherwise; of a scripted model neither shapes nor types are known. PyTorch is
imported only when a model is made.
"""

from __future__ import annotations

import io
import warnings
from collections.abc import Sequence
from typing import Any

from wasinn.spec import TensorType
from zoo import Builders, Dims

_NAMES = {
    TensorType.F16: "float16",
    TensorType.F32: "float32",
    TensorType.F64: "float64",
    TensorType.BF16: "bfloat16",
    TensorType.U8: "uint8",
    TensorType.I32: "int32",
    TensorType.I64: "int64",
    TensorType.I8: "int8",
    TensorType.BOOL: "bool",
    TensorType.I16: "int16",
    TensorType.U16: "uint16",
    TensorType.U32: "uint32",
    TensorType.U64: "uint64",
    TensorType.F8E4M3FN: "float8_e4m3fn",
    TensorType.F8E4M3FNUZ: "float8_e4m3fnuz",
    TensorType.F8E5M2: "float8_e5m2",
    TensorType.F8E5M2FNUZ: "float8_e5m2fnuz",
}


def save(module: Any) -> bytes:
    """A ScriptModule's bytes."""
    import torch

    file = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.jit.save(module, file)
    return file.getvalue()


def traced(module: Any, *examples: Any, strict: bool = True) -> bytes:
    import torch

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return save(torch.jit.trace(module.eval(), examples, strict=strict))


def scripted(module: Any) -> bytes:
    import torch

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return save(torch.jit.script(module))


def exported(module: Any, *examples: Any, dynamic: Any = None) -> bytes:
    """A .pt2's bytes. `dynamic`: torch.export's dynamic_shapes."""
    import torch

    file = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.export.save(torch.export.export(module.eval(), examples, dynamic_shapes=dynamic), file)
    return file.getvalue()


def _example(tensor_type: TensorType, dims: Dims) -> Any:
    """Zeros; a dynamic dimension is 2 and so on: equal sizes, or 1, would be taken for fixed."""
    import torch

    sizes = [place + 2 if dim is None else dim for place, dim in enumerate(dims)]
    return torch.zeros(sizes, dtype=getattr(torch, _NAMES[tensor_type]))


def _make(module: Any, ports: Sequence[tuple[TensorType, Dims | None]], form: str) -> Builders | None:
    import torch

    shapes = [dims for _, dims in ports if dims is not None]
    if len(shapes) < len(ports):
        return None if form == "exported" else (scripted(module),)
    examples = [_example(tensor_type, dims) for (tensor_type, _), dims in zip(ports, shapes, strict=True)]
    if form == "exported":
        dynamic = tuple(
            {place: torch.export.Dim.DYNAMIC for place, dim in enumerate(dims) if dim is None} or None
            for dims in shapes
        )
        return (exported(module, *examples, dynamic=dynamic),)
    if any(None in (dims[1:] if len(dims) > 1 else dims) for dims in shapes):
        return (scripted(module),)
    return (traced(module, *examples),)


def identity(tensor_type: TensorType, dims: Dims | None, form: str = "torchscript") -> Builders | None:
    import torch

    class Identity(torch.nn.Module):
        def forward(self, x):  # type: ignore[no-untyped-def]
            return x

    return _make(Identity(), [(tensor_type, dims)], form)


def add(dims: Dims, form: str = "torchscript") -> Builders | None:
    import torch

    class Add(torch.nn.Module):
        def forward(self, a, b):  # type: ignore[no-untyped-def]
            return a + b, a - b

    return _make(Add(), [(TensorType.F32, dims)] * 2, form)


def mixed(form: str = "torchscript") -> Builders | None:
    import torch

    class Mixed(torch.nn.Module):
        def forward(self, pixels, weights, ids):  # type: ignore[no-untyped-def]
            return ids, pixels, -weights

    return _make(Mixed(), [(TensorType.U8, (4,)), (TensorType.F32, (2,)), (TensorType.I64, (1,))], form)


def nonzero(form: str = "torchscript") -> Builders | None:
    import torch

    class NonZero(torch.nn.Module):
        def forward(self, x):  # type: ignore[no-untyped-def]
            return torch.nonzero(x).flatten()

    return _make(NonZero(), [(TensorType.F32, (6,))], form)


def halves(dims: Dims, form: str = "torchscript") -> Builders | None:
    import torch

    class Halves(torch.nn.Module):
        def forward(self, x):  # type: ignore[no-untyped-def]
            return x / 2

    return _make(Halves(), [(TensorType.F32, dims)], form)


def slow(products: int, form: str = "torchscript") -> Builders | None:
    import torch

    class Slow(torch.nn.Module):
        def forward(self, x):  # type: ignore[no-untyped-def]
            for _ in range(products):
                x = torch.tanh(x @ x)
            return x

    return _make(Slow(), [(TensorType.F32, (256, 256))], form)
