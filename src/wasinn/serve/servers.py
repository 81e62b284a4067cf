# SPDX-License-Identifier: Apache-2.0
"""The HTTP and the gRPC server of one process, opened and drained together."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
import time
from typing import Any

import uvicorn

from wasinn.graphs import worker_client
from wasinn.serve.app import make_app
from wasinn.serve.banner import example
from wasinn.serve.connection import Connection
from wasinn.serve.control import Control
from wasinn.serve.errors import ServeError
from wasinn.serve.frontend import Frontend
from wasinn.serve.listener import Listener
from wasinn.serve.plan import Plan
from wasinn.serve.settings import Settings

logger = logging.getLogger("wasinn.serve")

#: Seconds that an idle connection is kept: longer than load balancers keep theirs (60), so that it is they
#: who close one, and no request meets a connection that is just being closed.
KEEP_ALIVE = 75
#: Seconds that a connection has at the end to send its first request.
FIRST_REQUEST = 2.0


def http_config(frontend: Frontend, settings: Settings) -> uvicorn.Config:
    """How uvicorn is to serve a frontend that is started and closed by others."""
    return uvicorn.Config(
        make_app(frontend),
        http=Connection,
        ws="none",
        lifespan="off",
        loop="none",
        log_config=None,
        access_log=False,
        proxy_headers=False,
        server_header=False,
        limit_concurrency=settings.max_connections,
        timeout_keep_alive=KEEP_ALIVE,
        timeout_graceful_shutdown=max(1, round(settings.drain_timeout)),
        ssl_certfile=settings.tls_cert,
        ssl_keyfile=settings.tls_key,
    )


class Servers:
    """Used on the event loop. `frontend` answers for both."""

    def __init__(self, plan: Plan, control: Control) -> None:
        """Raises ConfigError, BackendError and GuestError for what cannot be served."""
        self._settings = plan.settings
        self._plan = plan
        if plan.workers is not None:
            worker_client.connect(plan.workers)
        self._host = plan.host()
        self.frontend = Frontend(self._host, plan.settings, control)
        self._http: uvicorn.Server | None = None
        self._http_task: asyncio.Task[None] | None = None
        self._listener: Listener | None = None
        self._grpc: Any = None

    async def open(self) -> None:
        """Takes connections. Raises OSError."""
        if self._plan.http is not None:
            await self._open_http(socket.socket(fileno=self._plan.http))
        if self._plan.grpc is not None:
            from wasinn.serve.grpc_server import make_grpc_server

            self._grpc = make_grpc_server(self.frontend, self._settings, self._plan.grpc)
            await self._grpc.start()

    async def _open_http(self, listening: socket.socket) -> None:
        config = http_config(self.frontend, self._settings)
        self._http = uvicorn.Server(config)
        # It listens to no socket itself, and looks after the connections that it is given.
        self._http_task = asyncio.ensure_future(self._http.serve([]))
        while not self._http.started and not self._http_task.done():
            await asyncio.sleep(0.01)
        state, lifespan = self._http.server_state, self._http.lifespan

        def make_protocol() -> asyncio.Protocol:
            protocol: asyncio.Protocol = config.http_protocol_class(  # type: ignore[call-arg]
                config=config, server_state=state, app_state=lifespan.state
            )
            return protocol

        self._listener = Listener(listening, make_protocol, config.ssl)
        self._listener.start()

    async def load(self) -> dict[str, str]:
        """Loads the models, and what guests need of graphs that are none. Reasons by name of the models that
        could not be loaded. Raises WasiNNError for the other graphs."""
        failed = await self.frontend.start(self._plan.unloaded)
        for name in self._plan.preload:
            if name not in self.frontend.repository:
                await asyncio.to_thread(self._host.preload, name)
        return failed

    def example(self) -> str | None:
        """A request that the first model would answer, as JSON."""
        for name in self.frontend.repository:
            with contextlib.suppress(ServeError):
                return example(self.frontend.model_metadata(name))
        return None

    async def broken(self) -> None:
        """Returns when a server has ended by itself, which none should."""
        if self._http_task is None:
            await asyncio.Event().wait()
        else:
            await asyncio.wait((self._http_task,))
            logger.error("the HTTP server has ended by itself")

    async def close(self, timeout: float) -> None:
        """Takes no more connections, lets what runs finish for `timeout` seconds, and frees the models."""
        ending = []
        if self._grpc is not None:
            ending.append(asyncio.ensure_future(self._grpc.stop(timeout)))
        if self._http is not None and self._http_task is not None:
            if self._listener is not None:
                self._listener.stop()
                await self._requests_come(self._listener)
            self._http.should_exit = True
            ending.append(self._http_task)
        if ending:
            # uvicorn and grpcio end what is not done in time; this is for when they do not.
            done, late = await asyncio.wait(ending, timeout=timeout + 2)
            for task in done:
                if not task.cancelled() and task.exception() is not None:
                    logger.error("a server ended badly: %s", task.exception())
            for task in late:
                task.cancel()
        cut = await self.frontend.drain(0)
        if cut:
            logger.warning("%d requests were not done in time and were ended", cut)
        await self.frontend.close()
        self._host.close()

    async def _requests_come(self, listener: Listener) -> None:
        """Waits a moment for the first requests of connections that have only just been made: uvicorn closes
        those that have none when it ends."""
        assert self._http is not None
        end = time.monotonic() + FIRST_REQUEST
        while time.monotonic() < end:
            connections = self._http.server_state.connections
            # Without a `cycle`, a request and its answer, there has been none.
            if not listener.beginning and all(getattr(each, "cycle", each) for each in connections):
                return
            await asyncio.sleep(0.02)
