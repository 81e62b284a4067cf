# SPDX-License-Identifier: Apache-2.0
"""Text that a language model generates, piece by piece, without a guest."""

from __future__ import annotations

import codecs
import json
import threading
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Self

from wasinn.backends.base import Interruptible, Streaming
from wasinn.errors import ConfigError, WasiNNError, runtime_error
from wasinn.spec import ErrorCode


def generation_inputs(prompt: str | bytes, options: Mapping[str, Any]) -> tuple[bytes, bytes]:
    """What a language model is given: its prompt, and its options as JSON, b"" for none. Raises
    ConfigError."""
    if not isinstance(prompt, str | bytes):
        raise ConfigError(f"a prompt is text, not {type(prompt).__name__}")
    if not options:
        return _bytes(prompt), b""
    try:
        text = json.dumps({key.replace("_", "-"): value for key, value in options.items()}, allow_nan=False)
    except (TypeError, ValueError) as error:
        raise ConfigError(f"an option's value is no JSON: {error}") from None
    return _bytes(prompt), text.encode()


def _bytes(prompt: str | bytes) -> bytes:
    # A lone surrogate, of the command line say, is text that no model has a token for.
    return prompt.encode("utf-8", "replace") if isinstance(prompt, str) else prompt


class Generation(Iterator[str]):
    """The pieces of a text. `metadata` is what the model says of it. Used by one thread at a time."""

    def __init__(
        self, name: str, execution: Streaming, deadline: float | None, drop: Callable[[], None]
    ) -> None:
        """`drop` frees the execution, where it is of no more use."""
        self._name = name
        self._execution: Streaming | None = execution
        self._drop = drop
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._deadline = deadline
        self._late = False
        self._timer: threading.Timer | None = None
        if deadline is not None:
            if isinstance(deadline, bool) or not isinstance(deadline, int | float) or not deadline > 0:
                raise ConfigError(f"deadline is a number of seconds above 0, not {deadline!r}")
            self._timer = threading.Timer(min(deadline, threading.TIMEOUT_MAX), self._expire)
            self._timer.daemon = True
            self._timer.start()
        self.metadata: dict[str, Any] = {}

    def __next__(self) -> str:
        """The next piece that is not empty."""
        while self._execution is not None:
            try:
                if self._late:
                    raise runtime_error("the deadline passed")
                self._execution.compute_single()
                piece = bytes(self._execution.output_single(0).data)
            except WasiNNError as error:
                self._end(error)
                break
            except BaseException:
                self._fail()
                raise
            text = self._decoder.decode(piece)
            if text:
                return text
        raise StopIteration

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Stops here. May be called twice."""
        execution = self._finish()
        if execution is not None:
            if self._late:
                self._drop()
            else:
                execution.fini_single()

    def _finish(self) -> Streaming | None:
        execution, self._execution = self._execution, None
        if execution is None:
            return None
        if self._timer is not None:
            self._timer.cancel()
            # It may be at work: what it interrupts now must not be what comes next.
            if self._timer is not threading.current_thread():
                self._timer.join()
        try:
            found = json.loads(bytes(execution.output_single(1).data)) if execution.is_ready(1) else {}
            self.metadata = found if isinstance(found, dict) else {}
        except (WasiNNError, ValueError):
            self.metadata = {}
        return execution

    def _end(self, error: WasiNNError) -> None:
        """After what `compute_single` raised. Raises WasiNNError where it was not the end."""
        execution = self._finish()
        if self._late:
            self._drop()
            raise WasiNNError(
                ErrorCode.RUNTIME_ERROR,
                f"graph {self._name!r}: generating was ended: the deadline of {self._deadline:g} s passed",
            ) from None
        if error.code in (ErrorCode.END_OF_SEQUENCE, ErrorCode.CONTEXT_FULL, ErrorCode.PROMPT_TOO_LONG):
            if execution is not None:
                execution.fini_single()
        else:
            self._drop()  # what failed may have left the runtime in any state
        if error.code is not ErrorCode.END_OF_SEQUENCE:
            raise WasiNNError(error.code, f"graph {self._name!r}: {error.reason}") from error

    def _fail(self) -> None:
        if self._finish() is not None:
            self._drop()

    def _expire(self) -> None:
        execution = self._execution
        self._late = True
        if isinstance(execution, Interruptible):
            execution.interrupt()
