# SPDX-License-Identifier: Apache-2.0
"""A server in this process, on a port of its own: the application under uvicorn, in a thread's event loop."""

from __future__ import annotations

import asyncio
import http.client
import json
import socket
import threading
from collections.abc import Callable, Coroutine, Mapping
from typing import Any, TypeVar

import uvicorn

import wasinn
from wasinn.serve.app import make_app
from wasinn.serve.connection import Connection
from wasinn.serve.frontend import Frontend
from wasinn.serve.settings import Settings

T = TypeVar("T")


class Answer:
    """A whole answer. `json()` is its body."""

    def __init__(self, response: http.client.HTTPResponse) -> None:
        self.status = response.status
        self.headers = response.headers
        self.body = response.read()

    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def error(self) -> str:
        return str(self.json()["error"])


class Serving:
    """`with Serving(host, Settings(...)) as server: server.post("/v2/models/x/infer", {...})`."""

    def __init__(self, host: wasinn.Host, settings: Settings | None = None, **options: Any) -> None:
        """`options` are uvicorn's."""
        self.host = host
        self.settings = settings or Settings(access_log="off", console=False)
        self._options = options
        self._loop = asyncio.new_event_loop()
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.port = self._socket.getsockname()[1]
        self.frontend: Any = None
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)

    def __enter__(self) -> Serving:
        self._thread.start()
        try:
            self.wait(self._start())
        except BaseException:
            self._stop_loop()
            raise
        return self

    async def _start(self) -> None:
        self.frontend = Frontend(self.host, self.settings)
        config = uvicorn.Config(
            make_app(self.frontend),
            http=Connection,
            loop="none",
            ws="none",
            lifespan="on",
            log_config=None,
            access_log=False,
            **self._options,
        )
        self._server = uvicorn.Server(config)
        self._task = asyncio.ensure_future(self._server.serve([self._socket]))
        while not self._server.started:
            assert not self._task.done(), "uvicorn did not start"
            await asyncio.sleep(0.005)

    def __exit__(self, *_: object) -> None:
        self._server.should_exit = True
        self.wait(self._finish())
        self._stop_loop()

    async def _finish(self) -> None:
        await self._task
        self.frontend.lanes.close()

    def _stop_loop(self) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()
        self._socket.close()

    # -- in its loop -----------------------------------------------------------------------------------

    def wait(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """What a coroutine gives, run on the server's loop."""
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result(30)

    def call(self, function: Callable[[], T]) -> T:
        """What a function gives, called on the server's loop."""

        async def made() -> T:
            return function()

        return self.wait(made())

    # -- from outside ----------------------------------------------------------------------------------

    def connect(self) -> http.client.HTTPConnection:
        return http.client.HTTPConnection("127.0.0.1", self.port, timeout=20)

    def request(
        self,
        method: str,
        path: str,
        body: bytes | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Answer:
        connection = self.connect()
        try:
            connection.request(method, path, body, dict(headers or {}))
            return Answer(connection.getresponse())
        finally:
            connection.close()

    def get(self, path: str, **headers: str) -> Answer:
        return self.request("GET", path, headers=headers)

    def post(self, path: str, document: Any = None, headers: Mapping[str, str] | None = None) -> Answer:
        body = b"" if document is None else json.dumps(document).encode()
        return self.request("POST", path, body, {"Content-Type": "application/json", **(headers or {})})

    def infer(self, model: str, *inputs: dict[str, Any], **more: Any) -> Answer:
        """An infer request of JSON."""
        return self.post(f"/v2/models/{model}/infer", {"inputs": list(inputs), **more})


def tensor(name: str, datatype: str, shape: list[int], data: list[Any]) -> dict[str, Any]:
    """An input of a JSON request."""
    return {"name": name, "datatype": datatype, "shape": shape, "data": data}
