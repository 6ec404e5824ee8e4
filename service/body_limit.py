"""Caps every request body while it streams in, before anything is spooled or parsed."""

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from m2d_clap.service.errors import BodyTooLargeError

_DRAIN = 4
"""Multiples of the cap that are read and thrown away, so that a client still sending hears the
answer instead of a reset connection."""


class BodyLimit:
    """ASGI middleware: a body of more than `most` bytes raises BodyTooLargeError in its reader."""

    def __init__(self, app: ASGIApp, most: int) -> None:
        self._app = app
        self._most = most

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        taken = 0

        async def limited() -> Message:
            nonlocal taken
            message = await receive()
            taken += len(message.get("body", b""))
            if taken <= self._most:
                return message
            while message.get("more_body", False) and taken <= self._most * _DRAIN:
                message = await receive()
                taken += len(message.get("body", b""))
            raise BodyTooLargeError(self._most)

        await self._app(scope, limited, send)
