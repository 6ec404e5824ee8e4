"""HTTP/1.1 as uvicorn speaks it, and what it leaves out: bounds on the head of a request, in bytes and
seconds, and refusals that look like all others."""

import asyncio
from typing import Any

from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from m2d_clap.service.problems import MEDIA_TYPE, UNREADABLE, Problem, plain

MOST_HEAD = 1 << 20
"""Bytes of a request's first line and headers. An address of 64 KiB is refused before."""

HEAD_SECONDS = 30.0
"""How long a connection may say nothing, or not all of a request's head."""

_TOO_LONG = Problem("head-too-long", 431, "The request's headers are too long")


class Http(HttpToolsProtocol):
    """One connection."""

    def __init__(self, *args: Any, **more: Any) -> None:
        super().__init__(*args, **more)
        self._head: int | None = None  # bytes so far of one that is not complete
        self._patience: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        # An IPv4 client of a socket for both is known by its own address.
        if self.client is not None:
            self.client = (self.client[0].removeprefix("::ffff:"), self.client[1])
        self._wait()

    def connection_lost(self, exc: Exception | None) -> None:
        self._wait_no_more()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        if self._head is not None:
            self._head += len(data)
            if self._head > MOST_HEAD:
                self._refuse(_TOO_LONG, f"at most {MOST_HEAD:,} bytes are read")

    def on_message_begin(self) -> None:
        self._head = 0
        self._wait()
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        self._head = None
        self._wait_no_more()
        super().on_headers_complete()

    def send_400_response(self, msg: str) -> None:
        self._refuse(UNREADABLE, "the request cannot be read, or its address is 64 KiB or longer")

    def _wait(self) -> None:
        self._wait_no_more()
        self._patience = self.loop.call_later(HEAD_SECONDS, self.transport.close)

    def _wait_no_more(self) -> None:
        if self._patience is not None:
            self._patience.cancel()

    def _refuse(self, problem: Problem, detail: str) -> None:
        """Before there is a request that anything above could answer."""
        if self.transport.is_closing():
            return
        self._head = None
        body = plain(problem, "/", detail)
        head = (
            f"content-type: {MEDIA_TYPE}\r\ncontent-length: {len(body)}\r\n"
            "connection: close\r\nx-content-type-options: nosniff\r\n\r\n"
        )
        self.transport.write(STATUS_LINE[problem.status] + head.encode() + body)
        self.transport.close()
