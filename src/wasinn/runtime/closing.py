# SPDX-License-Identifier: Apache-2.0
"""What is closed after use, in a `with` statement or by hand."""

from __future__ import annotations

from types import TracebackType
from typing import Self


class Closing:
    """`close`, and the `with` statement that calls it."""

    def close(self) -> None:
        raise NotImplementedError

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()
