# SPDX-License-Identifier: Apache-2.0
"""As much of what componentize-py provides in a component as guests use, for type checkers."""

from typing import Generic, TypeVar

E = TypeVar("E")

class Err(Exception, Generic[E]):
    value: E
    def __init__(self, value: E) -> None: ...
