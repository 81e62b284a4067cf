# SPDX-License-Identifier: Apache-2.0
"""The functions of `wasinn:nn/streaming`: a language model's text piece by piece.

The ends of a text are no failures: they come as cases of the variant `step`, and are not logged.
"""

from __future__ import annotations

from functools import partial

from wasinn.abi.component import values
from wasinn.abi.component.calls import Call, Function
from wasinn.abi.component.resources import ComponentState, HeldContext, HeldTensor
from wasinn.errors import WasiNNError, invalid_argument
from wasinn.graphs.text import no_options
from wasinn.spec import ErrorCode, TensorType

#: The ports of every language model: inputs and outputs.
_PROMPT, _OPTIONS = 0, 1
_TEXT, _METADATA = 0, 1

#: How a text ends, and the case for it.
_ENDS = {
    ErrorCode.END_OF_SEQUENCE: "end-of-sequence",
    ErrorCode.CONTEXT_FULL: "context-full",
    ErrorCode.PROMPT_TOO_LONG: "prompt-too-long",
}


def start(call: Call) -> None:
    state, context = call.state, call.take(0)
    given = (call.text(1), call.text(2))
    size, most = sum(len(each) for each in given), state.permissions.max_input_bytes
    if size > most:
        call.given = ("context", context)
        raise WasiNNError(
            ErrorCode.TOO_LARGE, f"a prompt and options of {size} bytes, and the permissions allow {most}"
        )
    prompt, options = (each.tobytes() for each in given)
    call.given = ("context", context, "prompt bytes", len(prompt), "options", options.decode())
    held = _held(state, context, "start")
    if options:
        _give(held, _OPTIONS, options)
    elif held.context.sizes[_OPTIONS]:  # those of the text before
        state.host.set_input(held.handle, _OPTIONS, no_options())
    _give(held, _PROMPT, prompt)
    values.write_result(call.result, True)


def _give(held: HeldContext, index: int, data: bytes) -> None:
    held.give(index, HeldTensor((len(data),), TensorType.U8, memoryview(data)))


def next_step(call: Call) -> None:
    state, context = call.state, call.take(0)
    call.given = ("context", context)
    held = _held(state, context, "next")
    try:
        state.host.compute_single(held.handle)
    except WasiNNError as error:
        case = _ENDS.get(error.code)
        if case is None:
            raise
        call.made = ("", case)
        reason = None if case == "end-of-sequence" else partial(values.write_text, text=error.reason)
        values.write_result(call.result, True, partial(values.write_variant, case=case, fill=reason))
        return
    data = state.host.output_single(held.handle, _TEXT).data
    state.stats.bytes_out += len(data)
    text = bytes(data).decode("utf-8", "replace")
    call.made = ("piece", text)
    piece = partial(values.write_text, text=text)
    values.write_result(call.result, True, partial(values.write_variant, case="piece", fill=piece))


def metadata(call: Call) -> None:
    state, context = call.state, call.take(0)
    call.given = ("context", context)
    held = _held(state, context, "metadata")
    text = bytes(state.host.output(held.handle, _METADATA).data).decode("utf-8", "replace")
    values.write_result(call.result, True, partial(values.write_text, text=text))


def finish(call: Call) -> None:
    state, context = call.state, call.take(0)
    call.given = ("context", context)
    state.host.fini_single(_held(state, context, "finish").handle)
    values.write_result(call.result, True)


def _held(state: ComponentState, context: int, name: str) -> HeldContext:
    """The context. Raises WasiNNError (invalid_argument) for one of a model that does not stream, and where
    there is nothing to go on with."""
    held = state.contexts[context]
    if held.context.streaming is None:
        raise invalid_argument(f"{name} is for language models, and this graph computes all at once")
    if name in ("next", "metadata") and held.context.missing_inputs():
        raise invalid_argument("there is no prompt yet: call start first")
    return held


STREAMING = (
    Function("start", start, True, "set_input"),
    Function("next", next_step, True, "compute_single"),
    Function("metadata", metadata, True, "get_output"),
    Function("finish", finish, True, "fini_single"),
)
