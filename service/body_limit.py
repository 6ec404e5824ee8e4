"""Caps every request body while it streams in, before anything is spooled or parsed."""

import asyncio

from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from m2d_clap.service.errors import BodyTooLargeError

_DRAIN = 4
"""Multiples of the cap that are read and thrown away, so that a client still sending hears the
answer instead of a reset connection."""


class BodyLimit:
    """ASGI middleware: a body of more than `most` bytes raises BodyTooLargeError in its reader, one
    of which nothing comes for `pause` seconds a 408."""

    def __init__(self, app: ASGIApp, most: int, pause: float) -> None:
        self._app = app
        self._most = most
        self._pause = pause

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        taken = 0
        more = True

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
            if taken <= self._most:
                return message
            while message.get("more_body", False) and taken <= self._most * _DRAIN:
                message = await receive()
                taken += len(message.get("body", b""))
            raise BodyTooLargeError(self._most)

        await self._app(scope, limited, send)
