"""A full queue is told at once: what would be refused in the end is not read, spooled and parsed."""

from collections.abc import Callable

from starlette.datastructures import Headers
from starlette.requests import Request
from starlette.types import ASGIApp, Receive, Scope, Send

from m2d_clap.service import problems
from m2d_clap.service.errors import BusyError


class Admission:
    """ASGI middleware. check: given path and content type of a POST, raises BusyError."""

    def __init__(self, app: ASGIApp, check: Callable[[str, str], None]) -> None:
        self._app = app
        self._check = check

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["method"] == "POST":
            try:
                self._check(scope["path"], Headers(scope=scope).get("content-type", ""))
            except BusyError as error:
                await problems.refusal(Request(scope), error)(scope, receive, send)
                return
        await self._app(scope, receive, send)
