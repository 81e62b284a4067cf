# SPDX-License-Identifier: Apache-2.0
"""What a caller of the server did wrong, or what it could not do, with the status that says so."""

from __future__ import annotations


class ServeError(Exception):
    """A refusal. `status`: the HTTP status; `kind`: a word for the metrics; `retry_after`: seconds."""

    def __init__(self, status: int, reason: str, kind: str = "", retry_after: float | None = None) -> None:
        super().__init__(reason)
        self.status = status
        self.reason = reason
        self.kind = kind or _KINDS.get(status, "error")
        self.retry_after = retry_after

    def bare(self) -> ServeError:
        """Itself, without the frames that it came through: who keeps it would keep their requests, and in a
        circle, until the collector comes by."""
        self.__traceback__ = self.__cause__ = self.__context__ = None
        return self


_KINDS = {
    400: "invalid",
    401: "unauthorized",
    403: "forbidden",
    404: "not_found",
    405: "method",
    408: "slow_body",
    413: "too_large",
    415: "media_type",
    429: "queue_full",
    500: "failed",
    501: "unsupported",
    503: "unavailable",
    504: "deadline",
}
