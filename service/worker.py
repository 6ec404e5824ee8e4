"""The server's side of the encoding process: starts it, asks it, notices its death, restarts it."""

import asyncio
import contextlib
import multiprocessing
import socket
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from multiprocessing.context import SpawnProcess
from typing import Any

from m2d_clap.service import frames, logs
from m2d_clap.service.errors import EncodingError, WorkerDownError
from m2d_clap.service.jobs import Encoded, Failed, Kind, Plan, Ready
from m2d_clap.service.line import Line

_LOG = logs.logger(__name__)
_FIRST_PAUSE, _LONGEST_PAUSE = 0.5, 30.0
_LAST_WORDS = 5.0


class Worker:
    """One process at a time.

    patience: seconds a job may take; measured: told the seconds of each stage of a job.
    """

    def __init__(
        self,
        plan: Plan,
        patience: float = 300.0,
        measured: Callable[[Mapping[str, float]], None] = lambda _: None,
    ) -> None:
        self._plan = plan
        self._patience = patience
        self._measured = measured
        self._process: SpawnProcess | None = None
        self._line: Line | None = None
        self._threads = ThreadPoolExecutor(2, "worker")  # which wait for a process's end
        self.ready = asyncio.Event()
        self.reason = "the encoders are loading"
        self.device = self.precision = ""
        self.deaths = 0
        self.unloadable = False
        """The last process said that it cannot load; trying again will hardly help."""

    @property
    def pid(self) -> int | None:
        """The process's id, None while there is none."""
        return self._process.pid if self._process else None

    async def run(self) -> None:
        """Keeps a process alive until cancelled. After a death it starts the next one, behind a pause
        that doubles each time."""
        pause = _FIRST_PAUSE
        try:
            while True:
                try:
                    if await self._one_life():
                        pause = _FIRST_PAUSE
                except OSError as error:  # the system lets no process start now; it may, later
                    self.deaths += 1
                    self.reason = f"the encoding process could not be started: {error}"
                    _LOG.error("worker_not_started", reason=self.reason)
                await asyncio.sleep(pause)
                pause = min(2 * pause, _LONGEST_PAUSE)
        finally:
            self.ready.clear()
            _kill(self._process)
            self._threads.shutdown(wait=False)

    async def encode(
        self, kind: Kind, items: Sequence[Any], room: Callable[[], None] = lambda: None
    ) -> Encoded:
        """Vectors for each item, in order, and what each stage took. room: called when the process has
        room for more, where that is before it is through with these.

        Raises WorkerDownError where no process is ready or it died meanwhile, EncodingError where
        the encoders failed on this input.
        """
        if not self.ready.is_set() or self._line is None:
            raise WorkerDownError(self.reason)
        process, answer = self._process, None
        with contextlib.suppress(OSError):  # TimeoutError is one
            async with asyncio.timeout(self._patience):
                answer = await self._line.ask(kind, items, room)
        if answer is None:
            _kill(process)
            if self._process is process:  # not to be seen as ready until its end is noticed
                self.ready.clear()
            raise WorkerDownError("the encoding process died")
        if isinstance(answer, Failed):
            raise EncodingError(answer.reason)
        self._measured(answer.seconds)
        return answer

    async def _one_life(self) -> bool:
        """Starts a process and waits for its end; whether it ever became ready."""
        ours, theirs = socket.socketpair()
        ours.setblocking(False)
        process = multiprocessing.get_context("spawn").Process(
            target=_encoders, args=(theirs, self._plan), name="m2d-clap-encoders", daemon=True
        )
        self._process, self._line = process, Line(ours)
        listening = None
        try:
            with theirs:
                await self._in_thread(process.start)
            greeting = await _greeting(ours)
            listening = asyncio.create_task(self._line.listen())
            return await self._until_it_ends(process, greeting)
        finally:
            _kill(process)
            if listening is not None:  # what it said last is still to be heard
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(_LAST_WORDS):
                        await listening
            await self._line.close()

    async def _until_it_ends(self, process: SpawnProcess, greeting: Any) -> bool:
        """Waits for it; whether it became ready."""
        was_ready = False
        self.unloadable = isinstance(greeting, Failed)
        if isinstance(greeting, Ready):
            self.device, self.precision = greeting.device, greeting.precision
            self.ready.set()
            was_ready = True
        elif isinstance(greeting, Failed):
            self.reason = f"the encoders could not be loaded: {greeting.reason}"
        await self._in_thread(process.join)
        self.ready.clear()
        self.deaths += 1
        if not isinstance(greeting, Failed):
            self.reason = (
                f"the encoding process ended ({_cause(process.exitcode)}); it is restarted"
            )
        _LOG.error("worker_ended", reason=self.reason)
        return was_ready

    async def _in_thread(self, function: Any, *args: Any) -> Any:
        return await asyncio.get_running_loop().run_in_executor(self._threads, function, *args)


async def _greeting(connection: socket.socket) -> Any:
    """What a process says first; None where it dies before."""
    try:
        return await frames.receive(connection)
    except (EOFError, OSError):
        return None


def _kill(process: SpawnProcess | None) -> None:
    if process is not None and process.is_alive():
        process.kill()


def _cause(exit_code: int | None) -> str:
    if exit_code is not None and exit_code < 0:
        return f"signal {-exit_code}"
    return f"status {exit_code}"


def _encoders(connection: socket.socket, plan: Plan) -> None:
    """The process's main."""
    from m2d_clap.service import encoders  # here alone is torch needed

    encoders.serve(connection, plan)
