"""Values between two processes over a socket: how many bytes, then their pickle.

The server's side is asyncio's own: a thread that waited in its place would take longer to wake up
than what it hears takes to say.
"""

import asyncio
import pickle
import socket
import struct
from typing import Any

_LENGTH = struct.Struct("!Q")
_PART = 1 << 18


def put(to: socket.socket, value: Any) -> None:
    """Raises OSError where nobody is there any more."""
    to.sendall(_packed(value))


def get(source: socket.socket) -> Any:
    """Waits for a value. Raises EOFError or OSError where none will come."""
    whole = bytearray()
    while (missing := _missing(whole)) > 0:
        part = source.recv(min(missing, _PART))
        if not part:
            raise EOFError
        whole += part
    return pickle.loads(memoryview(whole)[_LENGTH.size :])


async def send(to: socket.socket, value: Any) -> None:
    """As `put`, of a socket that does not block."""
    await asyncio.get_running_loop().sock_sendall(to, _packed(value))


async def receive(source: socket.socket) -> Any:
    """As `get`, of a socket that does not block."""
    loop = asyncio.get_running_loop()
    whole = bytearray()
    while (missing := _missing(whole)) > 0:
        part = await loop.sock_recv(source, min(missing, _PART))
        if not part:
            raise EOFError
        whole += part
    return pickle.loads(memoryview(whole)[_LENGTH.size :])


def _packed(value: Any) -> bytes:
    body = pickle.dumps(value, pickle.HIGHEST_PROTOCOL)
    return _LENGTH.pack(len(body)) + body


def _missing(whole: bytearray) -> int:
    """How many bytes more make a value, or its length: what follows is the next one's."""
    if len(whole) < _LENGTH.size:
        return _LENGTH.size - len(whole)
    return _LENGTH.size + int(_LENGTH.unpack_from(whole)[0]) - len(whole)
