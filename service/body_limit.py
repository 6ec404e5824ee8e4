"""Caps every request body while it streams in, before anything is spooled or parsed."""

import asyncio
import contextlib

from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from m2d_clap.service import openai
from m2d_clap.service.errors import BodyTooLargeError

_DRAIN = 4
"""Multiples of the cap that are read and thrown away, so that a client still sending hears the
answer instead of a reset connection."""


_MOST_PLAIN = 1 << 20


class BodyLimit:
    """ASGI middleware: a body of more than `most` bytes raises BodyTooLargeError in its reader, one
    of which nothing comes for `pause` seconds a 408. A body without sounds is small: it is parsed in
    one go, and for so long nobody else is served."""

    def __init__(self, app: ASGIApp, most: int, pause: float) -> None:
        self._app = app
        self._most = most
        self._most_plain = min(most, _MOST_PLAIN)
        self._pause = pause

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        taken = 0
        more = True
        most = self._most if _holds_sounds(scope) else self._most_plain

        async def limited() -> Message:
            nonlocal taken, more
            try:
                # behind the body only the client's going away is waited for, however long
                async with asyncio.timeout(self._pause if more else None):
                    message = await receive()
            except TimeoutError as error:
                raise HTTPException(408, "the body did not come in time") from error
            more = message.get("more_body", False)
            taken += len(message.get("body", b""))
            if taken <= most:
                return message
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._pause):
                    while message.get("more_body", False) and taken <= self._most * _DRAIN:
                        message = await receive()
                        taken += len(message.get("body", b""))
            raise BodyTooLargeError(most)

        await self._app(scope, limited, send)


def _holds_sounds(scope: Scope) -> bool:
    kind = Headers(scope=scope).get("content-type", "").lower()
    return kind.startswith("multipart/form-data") or scope["path"] == openai.PATH
