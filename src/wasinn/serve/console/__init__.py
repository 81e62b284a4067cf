# SPDX-License-Identifier: Apache-2.0
"""The console: a page at / that shows the models and their numbers, and lets people try them.

The page itself, and its files under /console/static/, are public and say nothing of the server; what it asks
for wants a token where the server has any (serve/app.py sees to it), and goes through the same admission as
every request. There is no script, style or picture of another place.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Awaitable, Callable
from importlib import resources
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from wasinn import __version__
from wasinn.serve.body import Body
from wasinn.serve.console.asking import Asking
from wasinn.serve.console.counted import Counted
from wasinn.serve.console.told import Told
from wasinn.serve.errors import ServeError
from wasinn.serve.frontend import CLIENT_CLOSED, Frontend
from wasinn.serve.requests import RequestHeaders, client_of

Work = Callable[[dict[str, Any], bytes, str], Awaitable[dict[str, Any]]]

_FILES = {
    "page.css": "text/css; charset=utf-8",
    "page.js": "text/javascript; charset=utf-8",
    "server.js": "text/javascript; charset=utf-8",
    "elements.js": "text/javascript; charset=utf-8",
    "model.js": "text/javascript; charset=utf-8",
    "numbers.js": "text/javascript; charset=utf-8",
    "asking.js": "text/javascript; charset=utf-8",
    "answers.js": "text/javascript; charset=utf-8",
    "icon.svg": "image/svg+xml",
}
#: No script but the page's own files, whatever a model's name or label says.
_HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "
    "img-src 'self' data: blob:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
}
#: Bytes of a question's JSON.
_MOST_JSON = 16 << 20


def routes(frontend: Frontend) -> list[Route]:
    """The page's routes."""
    console = _Console(frontend)
    return [
        Route("/", _page, methods=["GET"]),
        Route("/console/state", console.state, methods=["GET"]),
        Route("/console/ask", console.ask, methods=["POST"]),
        Route("/console/load", console.load, methods=["POST"]),
        Route("/console/unload", console.unload, methods=["POST"]),
        Route("/console/static/{name}", _file, methods=["GET"]),
    ]


async def _page(request: Request) -> Response:
    return _asset("page.html", "text/html; charset=utf-8")


async def _file(request: Request) -> Response:
    name = request.path_params["name"]
    if name not in _FILES:
        raise ServeError(404, "the console has no such file")
    return _asset(name, _FILES[name])


def _asset(name: str, kind: str) -> Response:
    content = resources.files(__package__).joinpath(name).read_bytes()
    return Response(content, headers=_HEADERS | {"Content-Type": kind, "Cache-Control": "no-cache"})


def _json(value: Any) -> Response:
    body = json.dumps(value, allow_nan=False, separators=(",", ":"))
    return Response(
        body, headers=_HEADERS | {"Content-Type": "application/json", "Cache-Control": "no-store"}
    )


class _Console:
    def __init__(self, frontend: Frontend) -> None:
        self._frontend = frontend
        self._asking = Asking(frontend)
        self._counted = Counted(frontend.metrics)
        self._told = Told(frontend)

    async def state(self, request: Request) -> Response:
        """Everything that the page shows: asked for every two seconds."""
        frontend, settings = self._frontend, self._frontend.settings
        counted = await self._counted.by_model()
        models = self._told.models()
        for each in models:
            each["counted"] = counted.get(each["name"], {})
        return _json(
            {
                "server": {
                    "version": __version__,
                    "ready": frontend.ready,
                    "draining": frontend.draining,
                    "processes": settings.processes,
                    "repository": settings.repository,
                    "max_body": settings.max_body,
                    "time": time.time(),
                },
                "models": models,
            }
        )

    async def ask(self, request: Request) -> Response:
        """Tries a model: the body is a JSON object of `Inference-Header-Content-Length` bytes and, behind it,
        a file."""
        return await self._answered(request, self._ask)

    async def load(self, request: Request) -> Response:
        """Loads the model that the body, {"model": NAME}, names; one that is loaded, anew."""
        return await self._answered(request, self._load)

    async def unload(self, request: Request) -> Response:
        return await self._answered(request, self._unload)

    async def _ask(self, head: dict[str, Any], file: bytes, client: str) -> dict[str, Any]:
        return await self._asking.answer(_model(head), head, file, client)

    async def _load(self, head: dict[str, Any], file: bytes, client: str) -> dict[str, Any]:
        await self._frontend.load(_model(head))
        return {}

    async def _unload(self, head: dict[str, Any], file: bytes, client: str) -> dict[str, Any]:
        await self._frontend.unload(_model(head))
        return {}

    async def _answered(self, request: Request, work: Work) -> Response:
        """Reads a question and answers it. A caller that goes away ends what was begun for it."""
        frontend = self._frontend
        client = client_of(request.scope)
        headers = RequestHeaders(request.scope["headers"])
        headers.check_media_type()
        body = Body(request.receive, frontend.settings.max_body, frontend.budget)
        try:
            body.expect(headers.length)
            content = await body.read_within(frontend.settings.body_timeout)
            head, file = _split(content, headers.binary_header_length())
            watched = frontend.watch.begin(request.receive)
            watched.reading = False
            try:
                return _json(await work(head, file, client))
            except asyncio.CancelledError:
                if watched.reason != "gone":
                    raise
                watched.task.uncancel()
                return Response(status_code=CLIENT_CLOSED)
            finally:
                frontend.watch.end(watched)
        finally:
            body.free()


def _split(body: bytes, told: int | None) -> tuple[dict[str, Any], bytes]:
    """The JSON object and the file behind it. Raises ServeError."""
    length = len(body) if told is None else told
    if length > len(body):
        raise ServeError(
            400, f"Inference-Header-Content-Length says {length} bytes, and the body has {len(body)}"
        )
    if length > _MOST_JSON:
        raise ServeError(413, f"the question is too large: {length} bytes of JSON, and {_MOST_JSON} may be")
    try:
        head = json.loads(body[:length])
    except (ValueError, RecursionError) as error:
        raise ServeError(400, f"the question is no JSON: {error}") from None
    if not isinstance(head, dict):
        raise ServeError(400, "a question is a JSON object")
    return head, body[length:]


def _model(head: dict[str, Any]) -> str:
    name = head.get("model")
    if not isinstance(name, str):
        raise ServeError(400, '"model" is the name of the model')
    return name
