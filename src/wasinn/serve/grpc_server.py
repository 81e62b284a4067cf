# SPDX-License-Identifier: Apache-2.0
"""The gRPC server: where it listens, and what it lets through.

server = make_grpc_server(frontend, settings, "127.0.0.1:8001")  # on the running event loop
await server.start()
await server.stop(30.0)  # no new calls; those under way have 30 s
"""

from __future__ import annotations

import ssl
from pathlib import Path

import grpc

from wasinn.errors import ConfigError
from wasinn.serve.frontend import Frontend
from wasinn.serve.grpc_health import HealthHandler
from wasinn.serve.grpc_service import InferenceHandler
from wasinn.serve.settings import Settings

#: After so many milliseconds of silence a connection is asked for a sign of life, and dropped if none comes:
#: a caller whose machine is gone must not hold a place for ever.
_PING_AFTER, _PING_TIMEOUT = 60_000, 20_000


class GrpcServer:
    """A server of one process. `port`: the one that was bound."""

    def __init__(self, server: grpc.aio.Server, port: int) -> None:
        self._server = server
        self.port = port

    async def start(self) -> None:
        """Begins to accept calls."""
        await self._server.start()

    async def stop(self, grace: float) -> None:
        """Accepts no more calls, and ends those that are not done after `grace` seconds."""
        await self._server.stop(grace)


def make_grpc_server(frontend: Frontend, settings: Settings, address: str) -> GrpcServer:
    """A server for `address` ("127.0.0.1:8001", "[::]:8001"; port 0 is any that is free).

    Other processes may listen there as well, and the system shares out the connections. With
    `settings.tls_cert` and `tls_key` it speaks TLS only. To be called where the event loop runs. Raises
    ConfigError for an address that cannot be had, and for a certificate or a key that does not do.
    """
    server = grpc.aio.server(
        handlers=(InferenceHandler(frontend), HealthHandler(frontend)),
        options=(
            ("grpc.so_reuseport", 1),
            ("grpc.max_receive_message_length", settings.max_body),
            ("grpc.max_send_message_length", -1),
            ("grpc.keepalive_time_ms", _PING_AFTER),
            ("grpc.keepalive_timeout_ms", _PING_TIMEOUT),
        ),
        maximum_concurrent_rpcs=settings.max_connections,
    )
    try:
        if settings.tls_cert is not None or settings.tls_key is not None:
            credentials = _credentials(settings.tls_cert, settings.tls_key)
            port = server.add_secure_port(address, credentials)
        else:
            port = server.add_insecure_port(address)
    except RuntimeError:
        raise ConfigError(
            f"gRPC cannot listen on {address}: is it an address of this machine, with a port that no other "
            "program has? Choose another with --grpc-port, or --grpc-port 0 for any that is free"
        ) from None
    return GrpcServer(server, port)


def _credentials(cert: Path | None, key: Path | None) -> grpc.ServerCredentials:
    """What TLS needs. Raises ConfigError: gRPC itself would say nothing, and fail each connection."""
    if cert is None or key is None:
        raise ConfigError("TLS needs both tls_cert and tls_key, each a PEM file")
    try:
        chain, private = cert.read_bytes(), key.read_bytes()
    except OSError as error:
        raise ConfigError(f"a file for TLS cannot be read: {error}") from None
    try:
        # The password is what keeps Python from asking for one; gRPC takes no key that has one.
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(cert, key, password="")
    except (ssl.SSLError, ValueError) as error:
        raise ConfigError(
            f"{cert} and {key} are not a certificate (or a chain) and its private key, in PEM and without a "
            f"password: {error}"
        ) from None
    return grpc.ssl_server_credentials([(private, chain)])
