# SPDX-License-Identifier: Apache-2.0
"""Tensors: what a port wants (`TensorSpec`), what a call brings (`Tensor`), and whether they fit.

A `Tensor` owns nothing: its data is a view of guest memory or of a runtime's own buffer, row-major
and little-endian, as WASI-NN has it.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from wasinn.errors import invalid_argument
from wasinn.spec import TensorType

#: No runtime takes more dimensions; a longer list from a guest is a mistake or an attack.
MAX_RANK = 32

#: dims as a model declares them: None for a dynamic dimension.
SpecDims = tuple[int | None, ...]


@dataclass(frozen=True)
class Quantization:
    """What the integers of a tensor stand for: real = scale * (integer - zero_point).

    One scale and one zero point for the whole tensor (`axis` None), or one of each for every index of
    the dimension `axis`, as TensorFlow Lite's quantization specification has it.
    """

    scales: tuple[float, ...]
    zero_points: tuple[int, ...]
    axis: int | None = None

    def __post_init__(self) -> None:
        if not self.scales or len(self.scales) != len(self.zero_points):
            raise ValueError("a quantization has as many zero points as scales, and at least one")

    def as_dict(self) -> dict[str, Any]:
        """For JSON: `scale` and `zero_point` as lists, `axis` where each channel has its own."""
        result: dict[str, Any] = {"scale": list(self.scales), "zero_point": list(self.zero_points)}
        if self.axis is not None:
            result["axis"] = self.axis
        return result

    def __str__(self) -> str:
        if self.axis is not None:
            return f"{len(self.scales)} scales along dimension {self.axis}"
        return f"scale {self.scales[0]:.9g}, zero point {self.zero_points[0]}"


@dataclass(frozen=True)
class TensorSpec:
    """An input or output of a graph.

    `dims` is None where the model does not even fix the rank. `any_size` says that the port takes
    any number of bytes whatever the dims say (the prompt of a language model, or a graph for which
    the operator set `dims = "reshape"`). `any_type` says that the model does not tell the type: the
    one that a guest names counts (so that bool and bf16, which it has no names for, cannot be meant).
    `quantization` is the format's own, or None. `aliases` are other names by which a guest may name
    the port. An input that is `optional` need not be set.
    """

    name: str
    type: TensorType
    dims: SpecDims | None
    quantization: Quantization | None = None
    any_size: bool = False
    any_type: bool = False
    aliases: tuple[str, ...] = ()
    optional: bool = False

    @functools.cached_property
    def static_dims(self) -> tuple[int, ...] | None:
        """The dims if all of them are fixed, else None."""
        if self.dims is None:
            return None
        fixed = tuple(dim for dim in self.dims if dim is not None)
        return fixed if len(fixed) == len(self.dims) else None

    def without_size_check(self) -> TensorSpec:
        return replace(self, any_size=True)

    def __str__(self) -> str:
        return f"{'any type' if self.any_type else self.type.label} {format_dims(self.dims)}"


class Tensor:
    """`dims`, an element type and the bytes: `data` has `element_count(dims) * type.size` of them."""

    __slots__ = ("data", "dims", "type")

    def __init__(self, dims: tuple[int, ...], tensor_type: TensorType, data: memoryview) -> None:
        self.dims = dims
        self.type = tensor_type
        self.data = data

    @classmethod
    def of(cls, array: np.ndarray[Any, Any], tensor_type: TensorType | None = None) -> Tensor:
        """A tensor over `array`, which is copied only if it is not row-major.

        Raises ValueError for a NumPy type that WASI-NN has no name for, and where `tensor_type` is of
        another width than the array's numbers.
        """
        contiguous = np.ascontiguousarray(array).reshape(array.shape)
        found = tensor_type or _FROM_NUMPY.get(contiguous.dtype.newbyteorder("="))
        if found is None:
            raise ValueError(f"no tensor type for NumPy's {contiguous.dtype}")
        if contiguous.dtype.itemsize != found.size:
            raise ValueError(f"NumPy's {contiguous.dtype} is not as wide as {found.label}")
        data: Any = contiguous.reshape(-1).view(np.uint8)
        return cls(tuple(array.shape), found, memoryview(data))

    def numpy(self) -> np.ndarray[Any, Any]:
        """The same memory as an array of `dims`; bf16 and f8 come as unsigned integers of their width."""
        dtype = NUMPY.get(self.type) or np.dtype(f"<u{self.type.size}")
        return np.frombuffer(self.data, dtype).reshape(self.dims)

    def __str__(self) -> str:
        return f"{self.type.label} {format_dims(self.dims)} ({len(self.data)} bytes)"


#: NumPy's types; it has none for bf16 and the f8.
NUMPY: dict[TensorType, np.dtype[Any]] = {
    TensorType.F16: np.dtype("<f2"),
    TensorType.F32: np.dtype("<f4"),
    TensorType.F64: np.dtype("<f8"),
    TensorType.U8: np.dtype("u1"),
    TensorType.I32: np.dtype("<i4"),
    TensorType.I64: np.dtype("<i8"),
    TensorType.I8: np.dtype("i1"),
    TensorType.BOOL: np.dtype("?"),
    TensorType.I16: np.dtype("<i2"),
    TensorType.U16: np.dtype("<u2"),
    TensorType.U32: np.dtype("<u4"),
    TensorType.U64: np.dtype("<u8"),
}
_FROM_NUMPY = {dtype.newbyteorder("="): tensor_type for tensor_type, dtype in NUMPY.items()}

#: The types whose numbers can be computed with.
FLOATS = (TensorType.F16, TensorType.F32, TensorType.F64)
INTEGERS = (
    TensorType.U8,
    TensorType.I8,
    TensorType.U16,
    TensorType.I16,
    TensorType.U32,
    TensorType.I32,
    TensorType.U64,
    TensorType.I64,
)


def element_count(dims: Sequence[int]) -> int:
    """The product of `dims`; 1 for a scalar. Python's integers do not overflow."""
    count = 1
    for dim in dims:
        count *= dim
    return count


def format_dims(dims: Sequence[int | None] | None) -> str:
    """`[1,3,224,224]`, with `?` for a dynamic dimension, or `[...]` where the rank is not fixed."""
    if dims is None:
        return "[...]"
    return "[" + ",".join("?" if dim is None else str(dim) for dim in dims) + "]"


def check_size(dims: Sequence[int], tensor_type: TensorType, length: int) -> None:
    """That `dims` of `tensor_type` make `length` bytes. Raises WasiNNError (invalid_argument)."""
    wanted = element_count(dims) * tensor_type.size
    if wanted != length:
        raise invalid_argument(
            f"dims {format_dims(dims)} of {tensor_type.label} are {wanted} bytes, "
            f"but the tensor's data has {length}" + _size_hint(dims, tensor_type, length)
        )


def _size_hint(dims: Sequence[int], tensor_type: TensorType, length: int) -> str:
    count = element_count(dims)
    if count and length == count:
        return f"; one byte an element: is the data u8, labelled {tensor_type.label}?"
    if count and length % count == 0 and (width := length // count) in (2, 4, 8):
        return f"; {width} bytes an element: is the data of another type than {tensor_type.label}?"
    if length == len(dims) * 4:
        return "; was the length of the dims passed in the place of the data's?"
    return ""


def fit(spec: TensorSpec, tensor: Tensor) -> Tensor:
    """`tensor` as the port `spec` wants it, or why it cannot be that.

    Holds the type, the rank and every fixed dimension against the spec. A port of rank 0 takes dims
    [1] as well as []. Raises WasiNNError (invalid_argument), naming the likely cause where
    arithmetic shows it.
    """
    kind = tensor.type if spec.any_type else spec.type
    if tensor.type is not kind and tensor.type is not kind.wire:
        raise invalid_argument(f"wanted {spec}, got {tensor}{_type_hint(spec, tensor)}")
    dims = tensor.dims
    if spec.dims is not None:
        if not spec.dims and dims == (1,):
            dims = ()
        if dims == spec.dims:
            pass  # the common case, without a generator
        elif len(dims) != len(spec.dims) or any(
            want is not None and want != got for want, got in zip(spec.dims, dims, strict=True)
        ):
            raise invalid_argument(f"wanted {spec}, got {tensor}{_dims_hint(spec.dims, dims)}")
    if dims is tensor.dims and tensor.type is kind:
        return tensor
    return Tensor(dims, kind, tensor.data)


def _type_hint(spec: TensorSpec, tensor: Tensor) -> str:
    if spec.type.wire is not spec.type:
        return f"; pass the bytes of {spec.type.label} as {spec.type.wire.label}"
    if tensor.type is TensorType.U8 and spec.type is TensorType.F32:
        return "; the model takes floats: convert each byte (and mind the range that it was trained on)"
    if tensor.type is TensorType.F32 and spec.type is TensorType.U8:
        return "; the model takes bytes: do not scale the picture to floats"
    return ""


def _dims_hint(wanted: SpecDims, got: tuple[int, ...]) -> str:
    if len(got) == len(wanted) - 1 and wanted[0] in (1, None) and _matches(wanted[1:], got):
        return "; is the batch dimension missing (a leading 1)?"
    if len(got) == len(wanted) == 4:
        # Channels first against channels last: the commonest mistake with pictures.
        batch, one, two, three = got
        if _matches(wanted, (batch, three, one, two)):
            return "; the layout looks swapped: this is NHWC and the model takes NCHW"
        if _matches(wanted, (batch, two, three, one)):
            return "; the layout looks swapped: this is NCHW and the model takes NHWC"
    if len(got) == len(wanted) and _matches(wanted, got[::-1]):
        return "; are the dims in reverse order?"
    if None not in wanted and element_count(got) == element_count([dim or 0 for dim in wanted]):
        return '; the number of elements fits: only the dims differ (an operator can set dims = "reshape")'
    return ""


def _matches(wanted: SpecDims, got: tuple[int, ...]) -> bool:
    return len(wanted) == len(got) and all(
        want is None or want == dim for want, dim in zip(wanted, got, strict=True)
    )
