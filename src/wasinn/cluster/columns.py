# SPDX-License-Identifier: Apache-2.0
"""Rows out of an Arrow table, and answers into one.

The types of the new columns are said and never guessed: a block in which every row failed has the same schema
as the others, so that blocks join and Parquet files are of one kind.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from wasinn.cluster.rows import (
    ERROR,
    ERROR_KIND,
    Answer,
    Answering,
    Column,
    Failure,
    check_columns,
    check_new,
)

_BOX = pa.struct(
    [
        ("label", pa.string()),
        ("index", pa.int64()),
        ("score", pa.float64()),
        ("left", pa.float64()),
        ("top", pa.float64()),
        ("right", pa.float64()),
        ("bottom", pa.float64()),
    ]
)
_TYPES = {
    "text": pa.string(),
    "bytes": pa.large_binary(),
    "int": pa.int64(),
    "float": pa.float64(),
    "boxes": pa.list_(_BOX),
}


def answer_table(
    table: pa.Table, answering: Answering, prefix: str = "", keep: Sequence[str] | None = None
) -> pa.Table:
    """The columns `keep` of the table (None: all) with those of the answers, whose names begin with `prefix`.
    Raises ConfigError for a column that is missing or there already."""
    there = table.column_names
    check_columns([*answering.needed, *(keep or ())], there)
    kept = table if keep is None else table.select(list(keep))
    errors = [Column(ERROR, "text"), Column(ERROR_KIND, "text")]
    columns = [*answering.columns, *errors]
    check_new([prefix + each.name for each in columns], kept.column_names)
    answers = answering.answer(rows_of(table, answering.needed))
    named = [_with_failure(*each) for each in answers]
    for column in columns:
        kept = kept.append_column(prefix + column.name, array_of(column, named))
    return kept


def _with_failure(answer: Answer, failure: Failure | None) -> Answer:
    if failure is None:
        return answer
    return {**answer, ERROR: failure.text, ERROR_KIND: failure.kind}


def rows_of(table: pa.Table, columns: Sequence[str]) -> list[dict[str, Any]]:
    """The rows, with the columns that are asked for; lists of numbers as arrays."""
    values = [_values(table[name]) for name in columns]
    if not values:
        return [{} for _ in range(table.num_rows)]
    return [dict(zip(columns, row, strict=True)) for row in zip(*values, strict=True)]


def _values(column: pa.ChunkedArray) -> list[Any]:
    kind = column.type
    if pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind):
        inner = kind.value_type
        if pa.types.is_integer(inner) or pa.types.is_floating(inner):
            # Not by way of Python's numbers, which cost more than most computes.
            return [_numbers(row) for row in column]
    return list(column.to_pylist())


def _numbers(row: Any) -> Any:
    if not row.is_valid:
        return None
    return row.as_py() if row.values.null_count else row.values.to_numpy()


def array_of(column: Column, answers: Sequence[Answer]) -> pa.Array:
    """The column's values, null where an answer has none."""
    values = [answer.get(column.name) for answer in answers]
    if column.kind != "list":
        return pa.array(values, _TYPES[column.kind])
    assert column.dtype is not None
    there = [value.astype(column.dtype, copy=False) for value in values if value is not None]
    flat = np.concatenate(there) if there else np.empty(0, column.dtype)
    offsets = np.concatenate([[0], np.cumsum([0 if value is None else value.size for value in values])])
    missing = np.array([value is None for value in values], bool)
    return pa.LargeListArray.from_arrays(
        pa.array(offsets, pa.int64()), pa.array(flat), mask=pa.array(missing) if missing.any() else None
    )
