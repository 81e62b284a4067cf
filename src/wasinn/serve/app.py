# SPDX-License-Identifier: Apache-2.0
"""The HTTP server's application: the Open Inference Protocol's REST side, the metrics and the console.

    app = make_app(Frontend(host, settings))     # ASGI; for uvicorn, or any other server

The application starts its frontend itself (ASGI's lifespan) unless that has been done before.
"""

from __future__ import annotations

import ipaddress
import json
import logging
import time
from collections.abc import Mapping
from typing import Any

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Route

from wasinn.serve.body import Body, GoneError, Receive
from wasinn.serve.connection import FULL
from wasinn.serve.errors import ServeError
from wasinn.serve.frontend import CLIENT_CLOSED, Frontend
from wasinn.serve.metrics import CONTENT_TYPE
from wasinn.serve.requests import RequestHeaders, Scope, Send, client_of, error_headers, send_error
from wasinn.serve.rest import InferEndpoint, model_of

logger = logging.getLogger("wasinn.serve")

#: Paths of probes, which are always answered.
_PROBES = ("/v2/health/live", "/v2/health/ready")
#: Paths that want no token: probes have none, and a page must come before it can ask for one.
_OPEN = (*_PROBES, "/", "/favicon.ico")
_OPEN_FOLDER = "/console/static/"
#: Paths that are asked for all the time, and stand in no log.
_UNLOGGED = ("/v2/health/live", "/v2/health/ready", "/metrics", "/console/state")

#: Bytes of a body of the repository's calls.
_MAX_SMALL_BODY = 1 << 20


def make_app(frontend: Frontend) -> HttpApp:
    """The application over `frontend`, which it starts and closes with ASGI's lifespan, if there is one."""
    return HttpApp(frontend)


class HttpApp:
    """An ASGI application over a frontend."""

    def __init__(self, frontend: Frontend) -> None:
        self.frontend = frontend
        self._local = _is_loopback(frontend.settings.host)
        self._infer = InferEndpoint(frontend)
        self._others = Starlette(
            routes=_routes(frontend),
            exception_handlers={ServeError: _serve_error, HTTPException: _http_error, Exception: _fault},
        )
        self._others.state.frontend = frontend

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            path: str = scope["path"]
            headers = RequestHeaders(scope["headers"])
            try:
                if path not in _PROBES:
                    self._check_caller(scope, path, headers)
            except ServeError as error:
                await self._refuse(scope, send, error)
                return
            if scope["method"] == "POST" and (model := model_of(path)) is not None:
                await self._infer(scope, receive, send, headers, *model)
            else:
                await self._other(scope, receive, send)
        elif scope["type"] == "lifespan":
            await self._lifespan(receive, send)
        else:
            await send({"type": "websocket.close", "code": 1000})  # there are no others than websockets

    def _check_caller(self, scope: Scope, path: str, headers: RequestHeaders) -> None:
        """Raises ServeError: 401, 403, 503."""
        if FULL in scope:
            most = self.frontend.settings.max_connections
            raise ServeError(
                503,
                f"the server has {most} connections with requests, and may have no more (max_connections); "
                "try again soon",
                "connections_full",
                1.0,
            )
        tokens = self.frontend.tokens
        if tokens.wanted:
            if path not in _OPEN and not path.startswith(_OPEN_FOLDER):
                tokens.check(headers.authorization)
            return
        if self._local:
            headers.check_host()
        if scope["method"] != "GET":
            headers.check_origin()

    async def _refuse(self, scope: Scope, send: Send, error: ServeError) -> None:
        began = time.perf_counter()
        model = model_of(scope["path"])
        self.frontend.refuse(model[0] if model else "", error)
        sent = await send_error(send, error, close=self.frontend.draining or FULL in scope)
        what = f"{scope['method']} {scope['path']}"
        took = time.perf_counter() - began
        self.frontend.access.log("http", client_of(scope), what, error.status, took, 0, sent, "", error.kind)

    async def _other(self, scope: Scope, receive: Receive, send: Send) -> None:
        """The ordinary routes, with a line in the log."""
        status, sent, began = CLIENT_CLOSED, 0, time.perf_counter()

        async def counted(message: Any) -> None:
            nonlocal status, sent
            if message["type"] == "http.response.start":
                status = message["status"]
            else:
                sent += len(message.get("body", b""))
            await send(message)

        try:
            await self._others(scope, receive, counted)
        except GoneError:
            pass
        finally:
            if scope["path"] not in _UNLOGGED:
                what = f"{scope['method']} {scope['path']}"
                took = time.perf_counter() - began
                self.frontend.access.log("http", client_of(scope), what, status, took, 0, sent)

    async def _lifespan(self, receive: Receive, send: Send) -> None:
        while True:
            message = await receive()
            if message["type"] == "lifespan.startup":
                failed = await self.frontend.start()
                for name, reason in failed.items():
                    logger.error("model %r is not served: %s", name, reason)
                await send({"type": "lifespan.startup.complete"})
            else:
                await self.frontend.close()
                await send({"type": "lifespan.shutdown.complete"})
                return


def _routes(frontend: Frontend) -> list[BaseRoute]:
    endpoints = _Endpoints(frontend)
    model = "/v2/models/{name:path}"
    routes: list[BaseRoute] = [
        Route("/v2", endpoints.server, methods=["GET"]),
        Route("/v2/health/live", endpoints.live, methods=["GET"]),
        Route("/v2/health/ready", endpoints.ready, methods=["GET"]),
        Route("/v2/models", endpoints.models, methods=["GET"]),
        Route("/v2/repository/index", endpoints.index, methods=["GET", "POST"]),
        Route("/v2/repository/models/{name:path}/load", endpoints.load, methods=["POST"]),
        Route("/v2/repository/models/{name:path}/unload", endpoints.unload, methods=["POST"]),
        Route(model + "/infer", endpoints.only_post, methods=["GET", "PUT", "DELETE", "PATCH"]),
        Route(model + "/versions/{version}/ready", endpoints.model_ready, methods=["GET"]),
        Route(model + "/versions/{version}", endpoints.model, methods=["GET"]),
        Route(model + "/ready", endpoints.model_ready, methods=["GET"]),
        Route(model, endpoints.model, methods=["GET"]),
        Route("/metrics", endpoints.metrics, methods=["GET"]),
    ]
    if frontend.settings.console:
        from wasinn.serve.console import routes as console_routes

        routes += console_routes(frontend)
    return routes


class _Endpoints:
    """The ordinary routes: whole answers, of JSON but for the metrics."""

    def __init__(self, frontend: Frontend) -> None:
        self._frontend = frontend

    async def server(self, request: Request) -> Response:
        return JSONResponse(dict(self._frontend.server_metadata()))

    async def live(self, request: Request) -> Response:
        return JSONResponse({"live": self._frontend.live})

    async def ready(self, request: Request) -> Response:
        ready = self._frontend.ready
        return JSONResponse({"ready": ready}, 200 if ready else NOT_READY)

    async def models(self, request: Request) -> Response:
        return JSONResponse({"models": self._frontend.repository.names()})

    async def model(self, request: Request) -> Response:
        return JSONResponse(self._frontend.model_metadata(*_asked(request)))

    async def model_ready(self, request: Request) -> Response:
        name, version = _asked(request)
        ready = self._frontend.repository.is_ready(name, version)
        return JSONResponse({"name": name, "ready": ready}, 200 if ready else NOT_READY)

    async def only_post(self, request: Request) -> Response:
        raise ServeError(405, "an infer request is a POST, with the tensors in its body")

    async def index(self, request: Request) -> Response:
        wanted = await self._document(request) if request.method == "POST" else {}
        ready = wanted.get("ready", False)
        if not isinstance(ready, bool):
            raise ServeError(400, f'"ready" is true or false, got {ready!r:.80}')
        return JSONResponse(self._frontend.repository.index(ready))

    async def load(self, request: Request) -> Response:
        document = await self._document(request)
        if document.get("parameters"):
            listed = ", ".join(repr(str(each)[:80]) for each in list(document["parameters"])[:8])
            raise ServeError(
                400,
                f"a model is loaded as the server's configuration says; parameters are not taken: {listed}",
            )
        name = request.path_params["name"]
        await self._frontend.load(name)
        return JSONResponse({"name": name, "load": True})

    async def unload(self, request: Request) -> Response:
        await self._document(request)
        name = request.path_params["name"]
        await self._frontend.unload(name)
        return JSONResponse({"name": name, "unload": True})

    async def metrics(self, request: Request) -> Response:
        self._frontend.refresh_metrics()
        text = await self._frontend.lanes.block(self._frontend.metrics.text)
        return Response(text, media_type=CONTENT_TYPE)

    async def _document(self, request: Request) -> Mapping[str, Any]:
        """A request's JSON object; empty without a body. Raises ServeError."""
        RequestHeaders(request.scope["headers"]).check_media_type()
        body = Body(request.receive, _MAX_SMALL_BODY)
        body.expect(request.headers.get("content-length"))
        content = await body.read_within(self._frontend.settings.body_timeout)
        if not content.strip():
            return {}
        try:
            document = json.loads(content)
        except (ValueError, RecursionError) as error:
            raise ServeError(400, f"the body is not JSON: {error}") from None
        if not isinstance(document, dict) or not isinstance(document.get("parameters", {}), dict):
            raise ServeError(400, "the body is a JSON object, and its parameters too")
        return document


#: What the protocol wants of a server or a model that is not ready: a status of 4xx.
NOT_READY = 400


def _is_loopback(host: str) -> bool:
    """Whether only programs of this machine can reach what listens there."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _asked(request: Request) -> tuple[str, str]:
    return request.path_params["name"], request.path_params.get("version", "")


async def _serve_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, ServeError)
    return JSONResponse({"error": error.reason}, error.status, error_headers(error))


async def _http_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    path = request.url.path[:80]
    reason = error.detail
    if error.status_code == 404:
        reason = (
            f"there is nothing at {path!r}; the protocol's paths begin with /v2, and /metrics is beside it"
        )
    elif error.status_code == 405:
        reason = f"{request.method} is not for {path!r}"
        allowed = sorted({*(error.headers or {}).get("Allow", "").split(", ")} - {"", "HEAD"})
        if allowed:
            reason += f"; {' and '.join(allowed)} {'is' if len(allowed) == 1 else 'are'}"
        if request.method == "POST" and path.startswith("/v2/models/"):
            reason += "; an infer request goes to /v2/models/NAME/infer"
    return JSONResponse({"error": reason}, error.status_code, error.headers)


async def _fault(request: Request, error: Exception) -> Response:
    return JSONResponse({"error": "a fault of the server; its log says more"}, 500)
