# SPDX-License-Identifier: Apache-2.0
"""What is raised where a message is not of the Open Inference Protocol."""

from __future__ import annotations

from wasinn.errors import Error


class OipError(Error):
    """A request or an answer is not as the protocol has it; the text says what came and what was wanted."""


def shown(value: object, limit: int = 80) -> str:
    """A value that came from outside, for a message: short, and in printable characters."""
    text = repr(value)
    text = text if len(text) <= limit else text[: limit - 3] + "..."
    return text if text.isprintable() else text.encode("unicode_escape").decode()
