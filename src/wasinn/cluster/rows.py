# SPDX-License-Identifier: Apache-2.0
"""What a job over a table is, whatever runs it: rows come, and each gets an answer or a failure of its own.

`graph_rows.py` answers with a graph, `guest_rows.py` with a guest; `ray.py` spreads them over a cluster.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol

import numpy as np

from wasinn.errors import ConfigError

#: A row: values by column. Lists of numbers come as NumPy arrays.
Row = Mapping[str, Any]

#: What is added to every row: null where it was answered.
ERROR, ERROR_KIND = "error", "error_kind"


@dataclass(frozen=True)
class Failure:
    """Why a row has no answer, and `text` says it. `kind` is a word to count by: "input" (the row itself),
    "contract" (an answer that is not what the contract says), "exit", "crash" (the process died), an errno of
    WASI-NN, or what ended a guest ("deadline", "memory", "unreachable", ...)."""

    kind: str
    text: str


#: A row's new values by column; where a guest failed it has them too.
Answer = dict[str, Any]


@dataclass(frozen=True)
class Column:
    """A column that is added. `kind`: "list" is of the numbers `dtype`, "boxes" of boxes."""

    name: str
    kind: Literal["text", "bytes", "int", "float", "list", "boxes"]
    dtype: np.dtype[Any] | None = None


class Answering(Protocol):
    """What answers rows, in one process. `needed`: the columns that it reads."""

    @property
    def columns(self) -> tuple[Column, ...]: ...

    @property
    def needed(self) -> tuple[str, ...]: ...

    def answer(self, rows: Sequence[Row]) -> list[tuple[Answer, Failure | None]]:
        """An answer for each row, in their order. Raises for what is no row's fault: then the job ends."""

    def close(self) -> None: ...


def check_columns(needed: Sequence[str], there: Sequence[str]) -> None:
    """That the rows have what is read. Raises ConfigError."""
    missing = [name for name in needed if name not in there]
    if missing:
        raise ConfigError(
            f"the rows have no column {', '.join(map(repr, missing))}; they have: "
            f"{', '.join(there) or 'none'}"
        )


def check_new(new: Sequence[str], there: Sequence[str]) -> None:
    """That no column is added twice. Raises ConfigError."""
    taken = [name for name in new if name in there]
    if taken:
        raise ConfigError(
            f"the rows have a column {', '.join(map(repr, taken))} already; give prefix=..., which is put "
            "before the names of all new columns, or leave it out with keep=[...]"
        )
