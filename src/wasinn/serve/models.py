# SPDX-License-Identifier: Apache-2.0
"""A model as the server sees it: a graph, or a guest that is instantiated afresh for each request."""

from __future__ import annotations

from typing import Any, Protocol

from wasinn.oip.messages import InferRequest, InferResponse

#: All models have this one version.
VERSION = "1"


class ServedModel(Protocol):
    """Used on the event loop's thread."""

    name: str
    #: "graph" or "guest".
    kind: str

    def metadata(self) -> dict[str, Any]:
        """The model metadata of the Open Inference Protocol, with what wasinn adds."""

    async def infer(self, request: InferRequest, deadline: float) -> InferResponse:
        """Answers a request in `deadline` seconds. Raises ServeError."""

    def close(self) -> None:
        """Frees what it holds; no request is under way."""
