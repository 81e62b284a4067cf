# SPDX-License-Identifier: Apache-2.0
"""The access log: a line for each request, to the logger `wasinn.access`.

10.0.0.7:4711 http "POST /v2/models/digits/infer" 200 1.842ms in=3253 out=218 id="a1"
10.0.0.7:4712 grpc "ModelInfer digits" 404 0.051ms in=80 out=0 error="not_found"
"""

from __future__ import annotations

import logging

logger = logging.getLogger("wasinn.access")

#: Characters of a caller's text in a line.
_MOST = 200


class Access:
    """`on`: whether lines are written at all."""

    def __init__(self, on: bool = True) -> None:
        self._on = on

    @property
    def on(self) -> bool:
        """Whether a line would be written."""
        return self._on and logger.isEnabledFor(logging.INFO)

    def log(
        self,
        protocol: str,
        client: str,
        what: str,
        status: int,
        seconds: float,
        received: int = 0,
        sent: int = 0,
        request_id: str = "",
        kind: str = "",
    ) -> None:
        """One request. `protocol`: "http" or "grpc". `what`: method and path, or the call and the model.
        `received` and `sent`: bytes of the bodies. `kind`: of the error. Texts may be a caller's."""
        if not self.on:
            return
        more = f' id="{_shown(request_id)}"' if request_id else ""
        if kind:
            more += f' error="{kind}"'
        logger.info(
            '%s %s "%s" %d %.3fms in=%d out=%d%s',
            client or "-",
            protocol,
            _shown(what),
            status,
            seconds * 1e3,
            received,
            sent,
            more,
        )


def _shown(text: str) -> str:
    """A caller's text, short, and without what would end the line or its quotes."""
    if len(text) > _MOST:
        text = text[: _MOST - 3] + "..."
    if text.isprintable() and '"' not in text and "\\" not in text:
        return text
    return text.encode("unicode_escape").decode("ascii").replace('"', '\\"')
