# SPDX-License-Identifier: Apache-2.0
"""The value of a column as the tensor of an input."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from wasinn.errors import ConfigError
from wasinn.runtime.direct import DirectGraph
from wasinn.runtime.feeds import Feed
from wasinn.tensors import NUMPY, Tensor, TensorSpec, element_count

Array = np.ndarray[Any, Any]


def feed_value(graph: DirectGraph, index: int, value: Any) -> Feed:
    """What the input `index` gets of a value: a picture (a path, a file's content, or u8 pixels) where the
    contract says how a tensor is made of one, numbers (an array, a list, one number), or raw bytes of the
    size that the model fixes. Raises ConfigError."""
    spec = graph.inputs[index]
    if value is None:
        raise ConfigError("the value is missing (null)")
    if isinstance(value, str | bytes):
        return _feed_text_or_bytes(graph, index, value)
    array = np.asarray(value)
    if array.dtype.kind not in "biuf":
        raise ConfigError(
            f"input {spec.name!r} takes {spec}, and a {type(value).__name__} came ({array.dtype}): wanted "
            "are numbers, or a picture for an input whose contract says how"
        )
    contract = graph.input_contract(index)
    if contract is not None and contract.image is not None and _is_pixels(array, spec):
        return graph.feed_picture(contract.name, array)
    return Feed(index, _numbers(array, spec))


def feed_numbers(graph: DirectGraph, index: int, values: Sequence[Any]) -> Feed:
    """One number of each of several columns, as one row of a table's features. Raises ConfigError."""
    if any(value is None for value in values):
        raise ConfigError("a value is missing (null)")
    array = np.asarray(values)
    if array.ndim != 1 or array.dtype.kind not in "biuf":
        raise ConfigError(f"numbers are wanted, one from each column, and {list(values)!r} came")
    return Feed(index, _numbers(array, graph.inputs[index]))


def _feed_text_or_bytes(graph: DirectGraph, index: int, value: str | bytes) -> Feed:
    spec, contract = graph.inputs[index], graph.input_contract(index)
    if contract is not None and contract.image is not None:
        return graph.feed_picture(contract.name, value)
    if isinstance(value, str):
        return graph.feed(spec.name, value)  # a file, of any kind; it says itself what is wrong with it
    dims = spec.static_dims
    if dims is None or len(value) != element_count(dims) * spec.type.size:
        wanted = f"{element_count(dims) * spec.type.size} bytes" if dims else "numbers: its size is not fixed"
        raise ConfigError(
            f"input {spec.name!r} takes {spec}, and {len(value)} bytes came; wanted are {wanted}. A picture "
            "needs a contract that says how a tensor is made of it (`wasinn inspect --contract`)"
        )
    return Feed(index, Tensor(dims, spec.type, memoryview(value)))


def _is_pixels(array: Array, spec: TensorSpec) -> bool:
    """Whether an array is a picture, not yet the tensor itself."""
    if array.dtype != np.uint8 or array.ndim not in (2, 3):
        return False
    return spec.dims is None or len(spec.dims) != array.ndim


def _numbers(array: Array, spec: TensorSpec) -> Tensor:
    """In the port's type and rank. Tables have f64 and i64 where a model has f32: what keeps its value is
    converted, and a row is a batch of one. Raises ConfigError."""
    wanted = NUMPY.get(spec.type)
    if wanted is not None and not spec.any_type and array.dtype != wanted:
        array = _converted(array, wanted, spec)
    rank = None if spec.dims is None else len(spec.dims)
    if spec.dims and rank == array.ndim + 1 and spec.dims[0] in (1, None):
        array = array[None]
    try:
        return Tensor.of(array, spec.type if wanted is not None and not spec.any_type else None)
    except ValueError as error:
        raise ConfigError(f"input {spec.name!r}: {error}") from None


def _converted(array: Array, wanted: np.dtype[Any], spec: TensorSpec) -> Array:
    with np.errstate(over="ignore", invalid="ignore"):
        result = array.astype(wanted)
        # Floats are rounded to fewer digits, and nothing else changes.
        same = array.dtype.kind == "f" and wanted.kind == "f"
        if not same and not np.array_equal(result.astype(array.dtype), array):
            raise ConfigError(
                f"input {spec.name!r} takes {spec}, and {array.dtype} came with numbers that "
                f"{spec.type.label} cannot hold; convert the column"
            )
    return result
