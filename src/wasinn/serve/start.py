# SPDX-License-Identifier: Apache-2.0
"""The start of a server: everything that can be refused is refused before a process begins."""

from __future__ import annotations

import contextlib
import logging
import ssl
from collections.abc import Callable
from dataclasses import replace

# What the processes need is looked for here, so that a missing package is one error and not many.
import grpc  # noqa: F401
import httptools  # noqa: F401
import prometheus_client  # noqa: F401
import starlette  # noqa: F401
import uvicorn  # noqa: F401

from wasinn import shipped
from wasinn.errors import ConfigError
from wasinn.serve.banner import banner, warnings
from wasinn.serve.logs import access_handler
from wasinn.serve.plan import Plan
from wasinn.serve.settings import Settings
from wasinn.serve.settings_file import check_settings
from wasinn.serve.sockets import address_of, listen, reserve
from wasinn.serve.supervisor import Supervisor

logger = logging.getLogger("wasinn.serve")


async def serve_plan(plan: Plan, say: Callable[[str], None]) -> int:
    """Serves until a signal ends it; the exit code. `say` shows the operator lines.

    Raises ConfigError, BackendError, and StartError for a model that cannot be loaded or a process that died.
    """
    settings = check_settings(plan.settings)
    plan.host().close()  # what can be said of graphs and backends without loading them
    _check_files(settings)
    with contextlib.ExitStack() as stack:
        http = grpc_port = None
        if settings.http_port is not None:
            http = stack.enter_context(listen(settings.host, settings.http_port))
            plan = replace(plan, http=http.fileno())
        if settings.grpc_port is not None:
            grpc_port = stack.enter_context(reserve(settings.host, settings.grpc_port))
            plan = replace(plan, grpc=address_of(grpc_port))
        for text in warnings(plan, http, grpc_port):
            logger.warning("%s", text)
        sockets = [each for each in (http, grpc_port) if each is not None]
        supervisor = Supervisor(plan, sockets, lambda example: say(banner(plan, http, grpc_port, example)))
        return await supervisor.run()


def _check_files(settings: Settings) -> None:
    """Raises ConfigError for files that the processes would fail on, each for itself."""
    access_handler(settings.access_log).close()
    for name, guest in settings.guests.items():
        try:
            shipped.resolve(guest.file, "guests")
        except FileNotFoundError as error:
            raise ConfigError(f"guest {name!r}: {error}") from None
    if settings.tls_cert is not None:
        try:
            # The password is what keeps Python from asking the terminal for one.
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(settings.tls_cert, settings.tls_key, password="")
        except (ssl.SSLError, OSError, ValueError) as error:
            raise ConfigError(
                f"tls_cert {settings.tls_cert} and tls_key {settings.tls_key} are no certificate and its key "
                f"(PEM; the key without a password): {error}"
            ) from None
