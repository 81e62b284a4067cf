# SPDX-License-Identifier: Apache-2.0
"""From the output that a model gives to the one that a guest was written for, by the contracts of both."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from wasinn.contracts.affine import from_planes, planes
from wasinn.contracts.bound import class_count
from wasinn.contracts.class_order import class_order
from wasinn.contracts.contract import InputContract, OutputContract
from wasinn.contracts.conversion import check_numbers, real_to_type
from wasinn.contracts.output_kinds import class_ids, logarithms, probabilities
from wasinn.contracts.quantization import dequantize
from wasinn.errors import ConfigError, runtime_error
from wasinn.spec import TensorType
from wasinn.tensors import FLOATS, INTEGERS, Quantization, SpecDims, Tensor, TensorSpec, format_dims

Array = np.ndarray[Any, Any]

_CLASSES = ("logits", "probabilities")
#: What two contracts must say alike of boxes: nothing of it is converted.
_BOX_KEYS = ("form", "format", "relative", "objectness")


class OutputConversion:
    """Turns arrays of a model's output `spec`, whose contract is `own` (bound), into what `guest` says.

    `spec` is then that of guests, without a name: dims, type and quantization. A guest's contract without a
    `type` is f32 where the output is scores of classes or quantized, i32 where class ids are made of scores,
    and else the model's own type. A quantization "model" is the model's own.

    Where the model does not tell its type (`any_type`), the one in `own` counts, and an output of another one
    is an error. Without that too, the type of each output counts, and `spec` may be `any_type` as well.

    Classes of the guest that the model does not have are 0 as a probability, and -inf as a logit; those
    that only the model has are left out, after softmax. A single logit is one of the sigmoid function.
    `warnings` are for the log: what is assumed, and may be wrong.

    Raises ConfigError, naming the key of both, where there is no conversion.
    """

    def __init__(self, guest: OutputContract, own: OutputContract, spec: TensorSpec) -> None:
        self._where = f"[output.{guest.name}]"
        self._guest, self._own = guest, own
        self.warnings: list[str] = []
        #: What the model gives; None where nothing tells it.
        self._own_type = own.type if spec.any_type else spec.type
        self._kinds = self._check_kinds(guest)
        self._count: int | None = None
        self._order: Array | None = None
        dims = spec.dims
        if self._kinds[0] in _CLASSES:
            dims = self._plan_classes(guest, spec)
        elif self._kinds[0] == "mask":
            dims = self._plan_mask(guest, spec.dims)
        elif self._kinds[0] == "boxes":
            self._check_boxes(guest)
        kind = self._type(guest)
        moved_quantization = self._moved_quantization(spec.dims)
        quantization = self._quantization(guest, kind, moved_quantization)
        any_type = kind is None
        self.spec = replace(
            spec, type=kind or spec.type, dims=dims, quantization=quantization, any_type=any_type
        )
        self._target = InputContract(guest.name, None, self.spec.type, quantization=quantization or "none")
        self._same_numbers = (
            kind is self._own_type
            and (quantization or "none") == moved_quantization
            and not self._reckons
            and not self._makes_ids
        )
        moved = self._order is not None or (self._kinds[0] == "mask" and guest.layout != own.layout)
        self.identity = self._same_numbers and not moved
        if self._own_type is not None and kind is not None:
            check_numbers(self._same_numbers, self._where, kind, self._own_type)

    @property
    def _reckons(self) -> bool:
        """Whether the numbers become others, not just another type."""
        guest, own = self._kinds
        return guest in _CLASSES and own in _CLASSES and guest != own

    @property
    def _makes_ids(self) -> bool:
        """Whether the class of each pixel is made of the scores of all."""
        return self._kinds == ("mask", "mask") and "C" in self._own.layout and "C" not in self._guest.layout

    @property
    def note(self) -> str:
        """Of which classes only one side knows, for the log; empty where there are none."""
        if self._order is None or self._count is None:
            return ""
        missing, known = int((self._order < 0).sum()), len(set(self._order[self._order >= 0].tolist()))
        if not missing and known == self._count:
            return "classes in another order"
        return f"{known} classes of both, {missing} of guests alone, {self._count - known} of the model alone"

    def __call__(self, array: Array) -> Array:
        """A new array; `array` itself where nothing changes."""
        if self.identity:
            return array
        if not self._same_numbers and isinstance(self._own.quantization, Quantization):
            array = dequantize(array, self._own.quantization)  # first: its axis is the model's
        if self._makes_ids:
            ids = class_ids(planes(array, self._own.layout))
            return real_to_type(ids if "N" in self._guest.layout else ids[0], self._target, False)
        if self._kinds == ("mask", "mask"):
            array = self._mask(array)
        if self._same_numbers:
            return self._ordered(array) if self._order is not None else array
        if self._reckons:
            if self._own.kind == "logits":
                array = probabilities(array, self._axis_of(array))
            else:
                array = logarithms(array, self._axis_of(array))
        if self._order is not None:
            array = self._ordered(array)
        return real_to_type(array, self._target, self._target.quantization != "none")

    def tensor(self, found: Tensor) -> Tensor:
        """The model's output as the one of guests, with its type.

        Raises WasiNNError (runtime_error) where it is of another type than the contract says, and where it
        is of one that is not computed with.
        """
        if self._own_type is not None and found.type is not self._own_type:
            raise runtime_error(
                f"{self._where}: the model gave {found.type.label}, and its contract says "
                f'{self._own_type.label}; write type = "{found.type.label}" there'
            )
        if not self._same_numbers and found.type not in (*FLOATS, *INTEGERS):
            raise runtime_error(
                f"{self._where}: the model gave {found.type.label}, which is not converted to "
                f"{self.spec.type.label}"
            )
        kind = found.type if self.spec.any_type else self.spec.type
        return Tensor.of(self(found.numpy()), kind)

    # -- what is possible ---------------------------------------------------------------------------

    def _check_kinds(self, guest: OutputContract) -> tuple[str, str]:
        kinds = guest.kind, self._own.kind
        if kinds[0] == kinds[1] or "raw" in kinds or (kinds[0] in _CLASSES and kinds[1] in _CLASSES):
            return kinds if "raw" not in kinds else ("raw", "raw")
        raise ConfigError(
            f"{self._where}: kind is {kinds[0]} for guests and {kinds[1]} for the model; there is no way "
            "from the one to the other"
        )

    def _check_boxes(self, guest: OutputContract) -> None:
        assert guest.boxes is not None
        assert self._own.boxes is not None
        for key in _BOX_KEYS:
            theirs, mine = getattr(guest.boxes, key), getattr(self._own.boxes, key)
            if theirs != mine:
                raise ConfigError(
                    f"{self._where}: {key} is {theirs} for guests and {mine} for the model; boxes pass as "
                    "they are"
                )

    def _plan_classes(self, guest: OutputContract, spec: TensorSpec) -> SpecDims | None:
        own = self._own
        count = class_count(own, spec.dims) or own.classes
        if count is None and own.labels is not None:
            count = len(own.labels) - own.label_offset
        order = class_order(guest, own, count, self._where, self.warnings.append)
        self._count = count
        self._order = None if order is None else np.array(order)
        if spec.dims is None or (order is None and not self._reckons):
            return spec.dims  # of dims that are not known, those of each output count
        axis = self._axis(spec.dims)
        if axis is None:
            raise ConfigError(
                f"{self._where}: the model's output {spec.name!r} is {spec}, and none of its dimensions is "
                f"the {'classes' if count is None else f'{count} classes'}"
            )
        return spec.dims if order is None else (*spec.dims[:axis], len(order), *spec.dims[axis + 1 :])

    def _axis(self, dims: SpecDims) -> int | None:
        """The dimension of the classes: the last of that size, with nothing but 1 after it."""
        rest = len(dims)
        while rest > 1 and dims[rest - 1] == 1 != self._count:
            rest -= 1
        found = rest - 1
        return found if found >= 0 and (self._count is None or dims[found] in (self._count, None)) else None

    def _axis_of(self, array: Array) -> int:
        axis = self._axis(array.shape)
        if axis is None:
            raise runtime_error(
                f"{self._where}: the model gave {format_dims(array.shape)}, and its contract means "
                f"{self._count} classes"
            )
        return axis

    def _plan_mask(self, guest: OutputContract, dims: SpecDims | None) -> SpecDims | None:
        own = self._own
        if guest.label_offset != own.label_offset:
            raise ConfigError(
                f"{self._where}: label_offset is {guest.label_offset} for guests and {own.label_offset} for "
                "the model; the classes of masks are not renumbered"
            )
        if "C" in guest.layout and "C" not in own.layout:
            raise ConfigError(
                f"{self._where}: layout is {guest.layout} for guests, a score for each class, and "
                f"{own.layout} for the model, which gives the classes alone"
            )
        if guest.classes is not None and own.classes is not None and guest.classes != own.classes:
            raise ConfigError(
                f"{self._where}: classes is {guest.classes} for guests and {own.classes} for the model; "
                "masks keep their classes"
            )
        if guest.layout == own.layout:
            return dims
        if dims is None or len(dims) != len(own.layout):
            raise ConfigError(
                f"{self._where}: layout is {own.layout} for the model, and its output is {format_dims(dims)}"
            )
        sizes = {"N": 1, **dict(zip(own.layout, dims, strict=True))}
        if "N" not in guest.layout and sizes["N"] not in (1, None):
            raise ConfigError(
                f"{self._where}: layout is {guest.layout} for guests, without N, and the model gives a batch "
                f"of {sizes['N']}"
            )
        return tuple(sizes[letter] for letter in guest.layout)

    def _type(self, guest: OutputContract) -> TensorType | None:
        """What guests get; None for whatever the model gives, where nothing tells that."""
        if guest.type is not None:
            return guest.type
        if self._makes_ids:
            return TensorType.I32
        scores = self._kinds[0] in _CLASSES or isinstance(self._own.quantization, Quantization)
        return TensorType.F32 if scores else self._own_type

    def _moved_quantization(self, dims: SpecDims | None) -> Quantization | str:
        """The model's quantization along the dimensions, and for the classes, of the guest's tensor."""
        found = self._own.quantization
        if not isinstance(found, Quantization) or found.axis is None:
            return found
        if self._kinds == ("mask", "mask"):
            letter = self._own.layout[found.axis] if found.axis < len(self._own.layout) else ""
            axis = self._guest.layout.find(letter) if letter else -1
            return replace(found, axis=axis) if axis >= 0 else found
        if self._order is None or (dims is not None and self._axis(dims) != found.axis):
            return found
        scales, points = np.array(found.scales), np.array(found.zero_points)
        if len(scales) != self._count:
            return found
        at = np.maximum(self._order, 0)
        return Quantization(tuple(scales[at].tolist()), tuple(points[at].tolist()), found.axis)

    def _quantization(
        self, guest: OutputContract, kind: TensorType | None, moved: Quantization | str
    ) -> Quantization | None:
        if kind in FLOATS or guest.quantization == "none" or self._makes_ids:
            return None
        if isinstance(guest.quantization, Quantization):
            if kind is None:
                raise ConfigError(
                    f"{self._where}: quantization has a scale, and neither the model nor a contract says of "
                    'which type it is; write type = "u8", or another'
                )
            return guest.quantization
        if kind is self._own_type:
            return moved if isinstance(moved, Quantization) else None
        if self._kinds[0] in _CLASSES and kind is not None:
            own = "whatever comes" if self._own_type is None else self._own_type.label
            raise ConfigError(
                f"{self._where}: type is {kind.label} for guests and {own} for the model, whose "
                "quantization is none of that type; write quantization = { scale = S, zero_point = Z }, as "
                "in { scale = 0.00390625 } for bytes of 1/256"
            )
        return None

    # -- doing it -----------------------------------------------------------------------------------

    def _mask(self, array: Array) -> Array:
        theirs, mine = self._guest.layout, self._own.layout
        if theirs == mine:
            return array
        return from_planes(planes(array, mine), theirs)

    def _ordered(self, array: Array) -> Array:
        """The guest's classes out of the model's."""
        assert self._order is not None
        axis = self._axis_of(array)
        result = np.take(array, np.maximum(self._order, 0), axis=axis)
        missing = self._order < 0
        if missing.any():
            np.moveaxis(result, axis, 0)[missing] = self._nothing(array.dtype)
        return result

    def _nothing(self, dtype: np.dtype[Any]) -> Any:
        """What stands for a class that the model does not have."""
        if self._kinds[0] == "logits":
            return -np.inf if dtype.kind == "f" else np.iinfo(dtype).min
        quantization = self._own.quantization
        if self._same_numbers and isinstance(quantization, Quantization):
            return quantization.zero_points[0]  # `_moved_quantization` has it for these classes too
        return 0
