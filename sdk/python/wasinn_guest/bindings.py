# SPDX-License-Identifier: Apache-2.0
"""What componentize-py generates from the world's WIT, as far as it is there.

Outside of a component nothing is: then pictures, tensors and scores work, and calls raise NnError. In a world
without `wasinn:nn/introspection`, for hosts that lack it, all but metadata is.
"""

from __future__ import annotations

from .errors import ErrorCode, NnError

try:
    from componentize_py_types import Err
    from wit_world.imports import environment, errors, graph, inference, tensor

    IN_COMPONENT = True
except ImportError:
    IN_COMPONENT = False

try:
    from wit_world.imports import introspection

    HAS_INTROSPECTION = True
except ImportError:
    HAS_INTROSPECTION = False

try:
    from wit_world.imports import streaming

    HAS_STREAMING = True
except ImportError:
    HAS_STREAMING = False

__all__ = [
    "Err",
    "HAS_INTROSPECTION",
    "HAS_STREAMING",
    "IN_COMPONENT",
    "environment",
    "errors",
    "graph",
    "inference",
    "introspection",
    "require",
    "streaming",
    "tensor",
]


def require(call: str) -> None:
    """Raises NnError outside of a component."""
    if not IN_COMPONENT:
        raise NnError(
            ErrorCode.UNSUPPORTED_OPERATION,
            "this Python is not in a component: build the guest with componentize-py, and run it with "
            "`wasinn run`",
            call,
        )
