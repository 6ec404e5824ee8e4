"""A request whose client has gone is cancelled, so that nothing is decoded or encoded for it."""

import asyncio

from starlette.types import ASGIApp, Message, Receive, Scope, Send

_SOON = 0.1  # seconds: what is answered sooner is not worth a task that watches


class Disconnect:
    """ASGI middleware. It acts between the body's last byte and the answer's first."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        request = _Request(receive, send)
        try:
            await self._app(scope, request.receiving, request.sending)
        except asyncio.CancelledError:
            # Ours is taken back; another's goes on.
            if not request.cancelled or request.handling.uncancel() > 0:
                raise
        finally:
            request.end()


class _Request:
    """One request, and the task that waits for its client's going."""

    def __init__(self, receive: Receive, send: Send) -> None:
        self._receive = receive
        self._send = send
        self._loop = asyncio.get_running_loop()
        task = asyncio.current_task()
        assert task is not None
        self.handling = task
        self.cancelled = False
        self._answering = False
        self._soon: asyncio.TimerHandle | None = None
        self._watching: asyncio.Task[Message] | None = None
        self._complete = False

    async def receiving(self) -> Message:
        if self._complete:
            self._watch()
            assert self._watching is not None
            return await asyncio.shield(self._watching)
        message = await self._receive()
        if not message.get("more_body", False):
            self._complete = True
            self._soon = self._loop.call_later(_SOON, self._watch)
        return message

    async def sending(self, message: Message) -> None:
        self._answering = True
        await self._send(message)

    def end(self) -> None:
        if self._soon is not None:
            self._soon.cancel()
        if self._watching is not None:
            self._watching.cancel()

    def _watch(self) -> None:
        if self._watching is None:
            self._watching = asyncio.ensure_future(self._receive_gone())
            self._watching.add_done_callback(self._gone)

    async def _receive_gone(self) -> Message:
        return await self._receive()

    def _gone(self, watching: "asyncio.Task[Message]") -> None:
        self._watching = None  # else each would keep the other, until the next collection
        if not watching.cancelled() and watching.exception() is None and not self._answering:
            self.cancelled = True
            self.handling.cancel()
