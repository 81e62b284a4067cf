# SPDX-License-Identifier: Apache-2.0
"""Whether what goes into a served guest, and comes out, is what was declared and asked for."""

from __future__ import annotations

from collections.abc import Sequence

from wasinn.oip.messages import RequestedOutput, WireTensor
from wasinn.serve.errors import ServeError
from wasinn.serve.settings import DeclaredTensor


def check_inputs(declared: Sequence[DeclaredTensor], tensors: Sequence[WireTensor], model: str) -> None:
    """Raises ServeError (400) where inputs are declared, and a request has others."""
    if not declared:
        return
    given = {each.name: each for each in tensors}
    for each in declared:
        found = given.pop(each.name, None)
        if found is None:
            raise ServeError(
                400, f"model {model} takes the input {_text(each)}, and it is not in the request"
            )
        if not _fits(each, found):
            raise ServeError(
                400, f"the input {each.name!r} of {model} is {_text(each)}, and {_found(found)} was sent"
            )
    if given:
        wanted = ", ".join(repr(each.name) for each in declared)
        raise ServeError(400, f"model {model} has no input {next(iter(given))!r}; it takes {wanted}")


def check_answer(declared: Sequence[DeclaredTensor], tensors: Sequence[WireTensor], model: str) -> None:
    """Raises ServeError (500) where a guest's answer is not what is declared of it."""
    if not declared:
        return
    given = {each.name: each for each in tensors}
    for each in declared:
        found = given.get(each.name)
        if found is None:
            told = ", ".join(map(repr, given)) or "nothing"
            reason = f"guest {model} answered without its output {_text(each)}: it gave {told}"
            raise ServeError(500, reason, "guest_answer")
        if not _fits(each, found):
            reason = f"guest {model} answered {_found(found)}, and its output {each.name!r} is {_text(each)}"
            raise ServeError(500, reason, "guest_answer")


def chosen(
    requested: Sequence[RequestedOutput], tensors: Sequence[WireTensor], model: str
) -> Sequence[WireTensor]:
    """The outputs that a request asks for, in its order. Raises ServeError (400) for one that is not
    there."""
    if not requested:
        return tensors
    given = {each.name: each for each in tensors}
    for each in requested:
        if each.name not in given:
            told = ", ".join(map(repr, given)) or "nothing"
            raise ServeError(400, f"guest {model} gave no output {each.name!r}; it gave {told}")
    return [given[each.name] for each in requested]


def _fits(declared: DeclaredTensor, found: WireTensor) -> bool:
    return (
        declared.datatype == found.datatype
        and len(declared.shape) == len(found.shape)
        and all(want in (-1, dim) for want, dim in zip(declared.shape, found.shape, strict=True))
    )


def _text(declared: DeclaredTensor) -> str:
    return f"{declared.name!r} ({declared.datatype} {list(declared.shape)})"


def _found(tensor: WireTensor) -> str:
    return f"{tensor.datatype} {list(tensor.shape)}"
