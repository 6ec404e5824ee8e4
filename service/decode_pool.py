"""The server's side of the decoding processes: starts them, hands them files, replaces the dead."""

import asyncio
import contextlib
import io
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

from m2d_clap.model import errors
from m2d_clap.service.decoding import LONGEST_MESSAGE, Answer, Job
from m2d_clap.service.errors import AudioTooCostlyError, DecoderDownError

_STARTING = 60.0  # seconds a process may take until it greets
_JOBS = 2000  # of one process's life, should a library in it leak
_CRASHES = {signal.SIGSEGV, signal.SIGBUS, signal.SIGABRT, signal.SIGILL, signal.SIGFPE}

Decoded = tuple[NDArray[np.float32], float]
"""Samples (n,), and the seconds decoding took."""


class DecodePool:
    """At most `processes` at a time. patience: seconds a job may take."""

    def __init__(self, processes: int, patience: float) -> None:
        self._patience = patience
        self._free = asyncio.Semaphore(processes)
        self._processes = processes
        self._idle: list[_Child] = []
        self._busy: set[_Child] = set()
        self._asked: set[asyncio.Task[Decoded]] = set()
        self.deaths = 0

    @property
    def pids(self) -> list[int]:
        """Ids of the processes that are alive."""
        return [c.process.pid for c in [*self._idle, *self._busy] if c.process.poll() is None]

    async def start(self) -> None:
        """Starts every process, so that the first requests need not wait for them."""
        self._idle.extend(await asyncio.gather(*(_Child.start() for _ in range(self._processes))))

    async def run(self, job: Job, file: BinaryIO) -> Decoded:
        """A file's samples.

        Raises AudioErrors as `decode` does; AudioTooCostlyError beyond a limit; NotAudioError
        where the decoder crashed on it; DecoderDownError where the process was ended from outside.
        """
        await self._free.acquire()
        # Who goes away meanwhile does not take a process with him: it ends the job first.
        asked = asyncio.create_task(self._one(job, file))
        self._asked.add(asked)
        asked.add_done_callback(self._ended)
        return await asyncio.shield(asked)

    async def close(self) -> None:
        """Ends every process."""
        for task in self._asked:
            task.cancel()
        await asyncio.gather(*self._asked, return_exceptions=True)
        children = [*self._idle, *self._busy]
        await asyncio.gather(*(child.end() for child in children))

    def _ended(self, asked: "asyncio.Task[Decoded]") -> None:
        self._asked.discard(asked)
        self._free.release()
        if not asked.cancelled():
            asked.exception()  # heard here where nobody waits for it any more

    async def _one(self, job: Job, file: BinaryIO) -> Decoded:
        with contextlib.ExitStack() as opened:
            source = await asyncio.to_thread(_descriptor, file)
            opened.callback(os.close, source)
            out = _nameless()
            opened.callback(os.close, out)
            answer = await self._ask(job, source, out)
            if answer.error is not None:
                raise _refusal(answer)
            return await asyncio.to_thread(_samples, out, answer.samples), answer.seconds

    async def _ask(self, job: Job, source: int, out: int) -> Answer:
        taken = False
        while not taken:
            child = await self._child()
            self._busy.add(child)
            try:
                # The start of a process is no part of it: on a busy machine that takes long.
                async with asyncio.timeout(self._patience):
                    taken = await child.takes(job, source, out)
                    answer = await child.receive() if taken else None
            except TimeoutError as error:
                await self._bury(child)
                raise AudioTooCostlyError(
                    f"decoding it took longer than {self._patience:g} seconds"
                ) from error
            except asyncio.CancelledError:
                await child.end()
                raise
            finally:
                self._busy.discard(child)
            if not taken:  # it died idle: nothing is lost
                await self._bury(child)
        if answer is None:
            raise _death(await self._bury(child))
        child.jobs += 1
        if child.jobs < _JOBS:
            self._idle.append(child)
        else:
            await child.end()
        return answer

    async def _child(self) -> "_Child":
        while self._idle:
            child = self._idle.pop()
            if child.process.poll() is None:
                return child
            await self._bury(child)
        return await _Child.start()

    async def _bury(self, child: "_Child") -> int:
        self.deaths += 1
        self._busy.discard(child)
        return await child.end()


class _Child:
    """One decoding process and the socket to it."""

    def __init__(self, process: "subprocess.Popen[bytes]", connection: socket.socket) -> None:
        self.process = process
        self.jobs = 0
        self._connection = connection
        self._received = b""

    @classmethod
    async def start(cls) -> "_Child":
        """A process that has loaded all it needs. Raises DecoderDownError."""
        ours, theirs = socket.socketpair()
        ours.setblocking(False)
        with theirs:
            # -P: nothing of the working directory is imported
            command = [sys.executable, "-P", "-m", "m2d_clap.service.decoding"]
            process = await asyncio.to_thread(
                subprocess.Popen,
                [*command, str(theirs.fileno())],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                pass_fds=[theirs.fileno()],
                env={**os.environ, "OPENBLAS_NUM_THREADS": "1", "MALLOC_ARENA_MAX": "2"},
            )
        child = cls(process, ours)
        try:
            async with asyncio.timeout(_STARTING):
                greeting = await child.receive()
        except TimeoutError:
            greeting = None
        except BaseException:
            await child.end()
            raise
        if greeting is None:
            await child.end()
            raise DecoderDownError("the decoding process did not start")
        return child

    async def takes(self, job: Job, source: int, out: int) -> bool:
        """Hands over a job and its two open files; false where nobody is there to take them."""
        try:
            socket.send_fds(self._connection, [json.dumps(vars(job)).encode()], [source, out])
        except OSError:
            return False
        return await self.receive() is not None

    async def receive(self) -> Answer | None:
        """The next answer; None when the process has ended."""
        loop = asyncio.get_running_loop()
        while b"\n" not in self._received:
            try:
                part = await loop.sock_recv(self._connection, LONGEST_MESSAGE)
            except OSError:
                part = b""
            if not part or len(self._received) > 8 * LONGEST_MESSAGE:
                return None
            self._received += part
        message, _, self._received = self._received.partition(b"\n")
        return Answer(**json.loads(message))

    async def end(self) -> int:
        """Kills it where it still lives; its exit status, negative for a signal."""
        self._connection.close()
        return await asyncio.to_thread(self._wait)

    def _wait(self) -> int:
        try:
            return self.process.wait(0.2)  # it may be about to end by itself, and say how
        except subprocess.TimeoutExpired:
            self.process.kill()
            return self.process.wait()


def _descriptor(file: BinaryIO) -> int:
    """An open file of the system with the same bytes. Raises ValueError where the file was closed
    meanwhile: its request has ended."""
    if isinstance(file, io.BufferedReader | io.FileIO):
        return os.dup(file.fileno())
    out = _nameless()
    try:
        file.seek(0)
        with os.fdopen(os.dup(out), "wb") as copy:
            shutil.copyfileobj(file, copy, 1 << 20)
    except BaseException:
        os.close(out)
        raise
    return out


def _nameless() -> int:
    """A new file that lies in no folder."""
    if hasattr(os, "memfd_create"):
        return os.memfd_create("m2d-clap")
    with tempfile.TemporaryFile() as file:
        return os.dup(file.fileno())


def _samples(out: int, count: int) -> NDArray[np.float32]:
    samples = np.empty(count, np.float32)
    with os.fdopen(os.dup(out), "rb", buffering=0) as file:
        file.seek(0)
        rest = samples.data.cast("B")
        while rest:
            taken = file.readinto(rest)
            if not taken:
                raise DecoderDownError("the decoding process gave fewer samples than it said")
            rest = rest[taken:]
    return samples


def _refusal(answer: Answer) -> Exception:
    if answer.error == AudioTooCostlyError.__name__:
        return AudioTooCostlyError(answer.reason)
    kind = getattr(errors, answer.error or "", errors.NotAudioError)
    refusal: Exception = kind(answer.reason)
    return refusal


def _death(status: int) -> Exception:
    if status == -signal.SIGXCPU:
        return AudioTooCostlyError("decoding it took more processor time than is allowed")
    if -status in _CRASHES:
        return errors.NotAudioError("it is damaged in a way that crashes the decoder")
    return DecoderDownError("the process that decoded it was ended from outside: try again")
