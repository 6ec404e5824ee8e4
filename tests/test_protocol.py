"""Connections that say nothing, or not all, are not kept."""

import asyncio

import pytest
import uvicorn
from uvicorn.server import ServerState

from m2d_clap.service import protocol
from m2d_clap.service.protocol import Http


async def _answer(scope: object, receive: object, send: object) -> None:
    raise AssertionError("no request is whole")


@pytest.mark.parametrize("said", [b"", b"GET / HTTP/1.1\r\nhost: x\r\n"], ids=["nothing", "half"])
def test_a_connection_without_a_whole_head_is_closed(
    said: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(protocol, "HEAD_SECONDS", 0.1)

    async def heard() -> bytes:
        config = uvicorn.Config(_answer)  # type: ignore[arg-type]
        config.load()
        loop = asyncio.get_running_loop()
        server = await loop.create_server(lambda: Http(config, ServerState(), {}), "127.0.0.1", 0)
        async with server:
            reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
            writer.write(said)
            async with asyncio.timeout(30):
                answer = await reader.read()
            writer.close()
        return answer

    assert asyncio.run(heard()) == b""
