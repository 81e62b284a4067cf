# SPDX-License-Identifier: Apache-2.0
"""Who may call: those with a token, where the operator has given any."""

from __future__ import annotations

import hmac
from collections.abc import Sequence

from wasinn.serve.errors import ServeError


class Tokens:
    """The tokens of the settings; without any, everybody may call."""

    def __init__(self, tokens: Sequence[str] = ()) -> None:
        self._tokens = [token.encode() for token in tokens]

    @property
    def wanted(self) -> bool:
        """Whether callers need one."""
        return bool(self._tokens)

    def check(self, authorization: bytes | str | None) -> None:
        """Holds the value of an `Authorization` header (or of gRPC's metadata) against the tokens. Raises
        ServeError (401). The time that takes says nothing of the tokens."""
        if not self._tokens:
            return
        if not authorization:
            raise ServeError(401, "this server wants a token: send the header Authorization: Bearer TOKEN")
        given = authorization.encode() if isinstance(authorization, str) else authorization
        scheme, _, token = given.strip().partition(b" ")
        if scheme.lower() != b"bearer":
            raise ServeError(401, "the Authorization header must be: Bearer TOKEN")
        token = token.strip()
        found = False
        for each in self._tokens:  # all of them: where it stops would be told by the time
            found |= hmac.compare_digest(each, token)
        if not found:
            raise ServeError(401, "the token is none of this server's")
