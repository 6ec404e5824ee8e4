"""One log line and one count for every request; its id comes in or is made, and goes out."""

import re
import time
import uuid
from typing import Any

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from m2d_clap.service import logs, problems
from m2d_clap.service.metrics import Metrics

_LOG = logs.logger(__name__)
_ID = re.compile(r"[A-Za-z0-9._:-]{1,64}")
_GONE = 499  # the client went away before the answer, as nginx has it
_QUIET = ("/livez", "/readyz", "/metrics")  # asked every few seconds: logged only at debug


class RequestLog:
    """ASGI middleware around all that can fail: no error passes it unanswered."""

    def __init__(self, app: ASGIApp, metrics: Metrics) -> None:
        self._app = app
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        identity = _identity(Headers(scope=scope))
        notes: dict[str, Any] = {}
        token = logs.NOTES.set(notes)
        start = time.perf_counter()
        status, taken, sent = 0, 0, 0

        async def receiving() -> Message:
            nonlocal taken
            message = await receive()
            taken += len(message.get("body", b""))
            return message

        async def sending(message: Message) -> None:
            nonlocal status, sent
            if message["type"] == "http.response.start":
                status = message["status"]
                MutableHeaders(scope=message)["X-Request-ID"] = identity
            sent += len(message.get("body", b""))
            await send(message)

        try:
            await self._app(scope, receiving, sending)
        except Exception:
            _LOG.exception("request_failed", request_id=identity, route=_route(scope))
            if status:  # too late for another answer
                raise
            failed = problems.answer(
                problems.INTERNAL, Request(scope), "the server's log says more"
            )
            await failed(scope, receive, sending)
        finally:
            logs.NOTES.reset(token)
            seconds = time.perf_counter() - start
            self._count(scope, status or _GONE, seconds, notes.get("problem"))
            log = _LOG.debug if scope["path"] in _QUIET else _LOG.info
            log(
                "request",
                request_id=identity,
                method=scope["method"],
                route=_route(scope),
                status=status or _GONE,
                seconds=round(seconds, 6),
                bytes_in=taken,
                bytes_out=sent,
                **notes,
            )

    def _count(self, scope: Scope, status: int, seconds: float, problem: str | None) -> None:
        route = _route(scope)
        self._metrics.requests.labels(route, scope["method"], str(status)).inc()
        self._metrics.request_seconds.labels(route).observe(seconds)
        if problem is not None:
            self._metrics.rejected.labels(problem).inc()


def _identity(headers: Headers) -> str:
    given = headers.get("x-request-id", "")
    return given if _ID.fullmatch(given) else uuid.uuid4().hex


def _route(scope: Scope) -> str:
    """The route's pattern, never the path, which may hold anything."""
    # With its router's prefix, where FastAPI tells; "none" where it was refused before.
    whole = scope.get("fastapi", {}).get("effective_route_context")
    route = whole or scope.get("route")
    return getattr(route, "path", None) or "none"
