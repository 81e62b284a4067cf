# SPDX-License-Identifier: Apache-2.0
"""An execution around an execution: what the graphs around graphs open."""

from __future__ import annotations

from typing import Any

from wasinn.backends.base import Execution, Interruptible
from wasinn.tensors import Tensor


class ExecutionAround:
    """`execution`, to which everything is passed on; a subclass changes what it is for.

    It is not Bindable: on the hot path nothing would come by here.
    """

    def __init__(self, execution: Execution) -> None:
        self._execution = execution

    @property
    def batched(self) -> Any:
        """The BatchedExecution inside, which can be begun (batched.py), or None. What it has computed is
        taken by `compute` of this one."""
        return getattr(self._execution, "batched", None)

    def set_input(self, index: int, tensor: Tensor) -> None:
        self._execution.set_input(index, tensor)

    def compute(self) -> None:
        self._execution.compute()

    def output(self, index: int) -> Tensor:
        return self._execution.output(index)

    def close(self) -> None:
        self._execution.close()

    def interrupt(self) -> None:
        if isinstance(self._execution, Interruptible):
            self._execution.interrupt()
