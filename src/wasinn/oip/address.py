# SPDX-License-Identifier: Apache-2.0
"""Where a model of another server is: `http://HOST:PORT/MODEL[/VERSION]`, and `grpc` in its place."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal
from urllib.parse import quote, unquote, urlsplit

from wasinn.errors import ConfigError

#: By scheme: what is spoken, whether it is encrypted, and the port that is meant without one.
_SCHEMES: dict[str, tuple[Literal["http", "grpc"], bool, int | None]] = {
    "http": ("http", False, 80),
    "https": ("http", True, 443),
    "grpc": ("grpc", False, None),
    "grpcs": ("grpc", True, None),
}
_FORMS = "http://HOST:PORT/MODEL[/VERSION], https://..., grpc://... or grpcs://..."


@dataclass(frozen=True)
class Address:
    """A model on a server. `prefix` is what stands before `/v2` in its paths (HTTP only), without a slash at
    its end; `version` is empty where the server may choose."""

    protocol: Literal["http", "grpc"]
    tls: bool
    host: str
    port: int
    model: str
    version: str = ""
    prefix: str = ""

    @property
    def server(self) -> str:
        """`HOST:PORT`, with an IPv6 address in brackets."""
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    @property
    def path(self) -> str:
        """The model's own path on an HTTP server."""
        path = f"{self.prefix}/v2/models/{quote(self.model, safe='')}"
        return f"{path}/versions/{quote(self.version, safe='')}" if self.version else path


def parse_address(url: str) -> Address:
    """What `url` says. The path is `/MODEL[/VERSION]`, or as a server itself has it,
    `/v2/models/MODEL[/versions/VERSION]`, before which a prefix may stand. Raises ConfigError."""
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as error:
        raise ConfigError(f"{url!r} is no URL: {error}") from None
    found = _SCHEMES.get(parts.scheme)
    if found is None or not url.startswith(f"{parts.scheme}://"):
        raise ConfigError(f"{url!r} is not {_FORMS}")
    protocol, tls, default = found
    if not parts.hostname:
        raise ConfigError(f"{url!r} names no host: {_FORMS}")
    if parts.username is not None or parts.password is not None:
        raise ConfigError("a URL holds no password here, it would be shown in logs: use token_file=FILE")
    if parts.query or parts.fragment:
        raise ConfigError(f"{url!r}: options of a graph are given by name, not in its url")
    if (port := port or default) is None:
        raise ConfigError(f"{url!r} needs a port, as in {parts.scheme}://{parts.hostname}:8001{parts.path}")
    prefix, model, version = _model(url, parts.path)
    if prefix and protocol == "grpc":
        raise ConfigError(f"{url!r}: a gRPC server has no prefix {prefix!r} before its models")
    return Address(protocol, tls, parts.hostname, port, model, version, prefix)


def _model(url: str, path: str) -> tuple[str, str, str]:
    """The prefix, the model's name and its version. Raises ConfigError."""
    before, middle, after = path.partition("/v2/models/")
    prefix, rest = (before, after) if middle else ("", path.removeprefix("/"))
    names = rest.removesuffix("/").split("/")
    if middle and len(names) == 3 and names[1] == "versions":
        del names[1]
    if not names[0]:
        raise ConfigError(f"{url!r} names no model: {_FORMS}")
    if len(names) > 2 or not all(names):
        raise ConfigError(
            f"{url!r}: the path is /MODEL[/VERSION], or PREFIX/v2/models/MODEL[/versions/VERSION]; a slash "
            "in a name is written %2F"
        )
    return prefix, unquote(names[0]), unquote(names[1]) if len(names) == 2 else ""
