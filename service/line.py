"""What one encoding process is asked, several jobs at a time, and what it says to each."""

import asyncio
import contextlib
import itertools
import socket
from collections.abc import Callable, Sequence
from typing import Any

from m2d_clap.service import frames
from m2d_clap.service.jobs import Encoded, Failed, Kind

_Answer = Encoded | Failed | None


class Line:
    """Our side of the connection to a process that has greeted. `listen` runs beside whoever asks."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self._speaking = asyncio.Lock()
        self._numbers = itertools.count()
        self._asked: dict[int, tuple[asyncio.Future[_Answer], Callable[[], None]]] = {}
        self._ended = False

    async def ask(self, kind: Kind, items: Sequence[Any], room: Callable[[], None]) -> _Answer:
        """The answer; None where the process died. room: called where another job would find room
        before that. Raises OSError where nobody listens any more."""
        number = next(self._numbers)
        answer: asyncio.Future[_Answer] = asyncio.get_running_loop().create_future()
        if self._ended:
            return None
        self._asked[number] = (answer, room)
        try:
            async with self._speaking:
                await self._say((number, kind, items))
            return await answer
        finally:
            del self._asked[number]

    async def listen(self) -> None:
        """Until the process has ended; then everybody is told."""
        try:
            while True:
                number, said = await frames.receive(self._connection)
                if number not in self._asked:  # who asked has gone
                    continue
                answer, room = self._asked[number]
                if said is None:
                    room()
                elif not answer.done():
                    answer.set_result(said)
        except (EOFError, OSError):
            pass
        finally:
            self._ended = True
            for answer, _ in self._asked.values():
                if not answer.done():
                    answer.set_result(None)

    async def close(self) -> None:
        """To be called when the process has ended."""
        async with self._speaking:  # who is still saying something must not find it closed
            self._connection.close()

    async def _say(self, job: Any) -> None:
        try:
            await frames.send(self._connection, job)
        except asyncio.CancelledError:  # half a job was said: nothing can follow it
            with contextlib.suppress(OSError):
                self._connection.shutdown(socket.SHUT_RDWR)
            raise
