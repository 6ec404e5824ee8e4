"""A request whose client has gone is cancelled, so that nothing is decoded or encoded for it."""

import asyncio

from starlette.types import ASGIApp, Message, Receive, Scope, Send


class Disconnect:
    """ASGI middleware. It acts between the body's last byte and the answer's first."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        complete = asyncio.Event()
        answering = False
        last: asyncio.Future[Message] = asyncio.get_running_loop().create_future()

        async def receiving() -> Message:
            if complete.is_set():
                return await asyncio.shield(last)
            message = await receive()
            if not message.get("more_body", False):
                complete.set()
            if message["type"] == "http.disconnect" and not last.done():
                last.set_result(message)
            return message

        async def sending(message: Message) -> None:
            nonlocal answering
            answering = True
            await send(message)

        async def watch() -> None:
            await complete.wait()
            if not last.done():
                last.set_result(await receive())
            if not answering:
                handling.cancel()

        handling = asyncio.ensure_future(self._app(scope, receiving, sending))
        watching = asyncio.create_task(watch())
        try:
            await asyncio.wait([handling])
        finally:
            gone = last.done()
            watching.cancel()
            handling.cancel()
        if handling.cancelled() and gone:
            return
        handling.result()
