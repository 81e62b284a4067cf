# SPDX-License-Identifier: Apache-2.0
"""What a request's parameters ask for, as far as that is more than this server does."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from wasinn.oip.messages import InferRequest
from wasinn.serve.errors import ServeError

#: Extensions of other servers: to leave one out in silence would be another answer than the caller wants.
_OF_REQUESTS = {
    "sequence_id": "sequences: a request's state is its own here",
    "sequence_start": "sequences: a request's state is its own here",
    "sequence_end": "sequences: a request's state is its own here",
}
_OF_TENSORS = {
    "shared_memory_region": "shared memory: send the tensor's data",
    "classification": "the classification extension: ask for the scores, and take the labels of the model's "
    "metadata (contract)",
}


def check_parameters(request: InferRequest) -> None:
    """Raises ServeError (400) for an extension that is not here. Parameters that nobody knows are none."""
    if request.parameters:
        _check(request.parameters, _OF_REQUESTS)
    for tensor in request.inputs:
        if tensor.parameters:
            _check(tensor.parameters, _OF_TENSORS)
    for output in request.outputs:
        if output.parameters:
            _check(output.parameters, _OF_TENSORS)


def timeout_of(parameters: Mapping[str, Any]) -> float | None:
    """Seconds that the parameter `timeout` (microseconds, as Triton has it) allows; None without it. Raises
    ServeError (400)."""
    value = parameters.get("timeout")
    if value is None or value == 0:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < 1e18:
        raise ServeError(400, f"the parameter timeout is a number of microseconds above 0, got {value!r:.80}")
    return float(value) / 1e6


def _check(parameters: Mapping[str, Any], unsupported: Mapping[str, str]) -> None:
    for name, what in unsupported.items():
        if parameters.get(name):
            raise ServeError(
                400, f"the parameter {name} belongs to an extension that this server has not: {what}"
            )
