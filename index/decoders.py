"""Decoding in processes of their own, for the reader's threads to lean on."""

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np

from m2d_clap.index.busy import Busy
from m2d_clap.index.reading import Opened, Unreadable
from m2d_clap.index.windows import Window

_PATIENCE = 120.0  # seconds; on a dead drive, or in a damaged file, decoding may never end
_SLOWEST = 1e6  # bytes a second that are hashed
_WAITS = 20  # that a patience is divided into: no more than one ends while the run is suspended


class Decoders:
    """As many processes as files are read at once, started when first needed and kept.

    Close it to end them. One that dies, or answers no more, takes only the file it was at with it.
    """

    def __init__(self, busy: Busy) -> None:
        self._busy = busy
        self._idle: list[_Process] = []
        self._lock = threading.Lock()
        self._closed = False

    def open(self, file: Path, rate: int) -> "_Remote":
        """Raises Unreadable."""
        with self._lock:
            process = self._idle.pop() if self._idle else None
        return _Remote(self, process or _Process(), self._busy, file, rate)

    def give_back(self, process: "_Process") -> None:
        with self._lock:
            if not self._closed:
                self._idle.append(process)
                return
        process.end()

    def close(self) -> None:
        with self._lock:
            self._closed = True
            idle, self._idle = self._idle, []
        for process in idle:
            process.end()


class _Process:
    def __init__(self) -> None:
        ours, theirs = socket.socketpair()
        with theirs:
            # -P: nothing of the working directory is imported
            command = [sys.executable, "-P", "-m", "m2d_clap.index.decoding"]
            self._process = subprocess.Popen(
                [*command, str(theirs.fileno())],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                pass_fds=[theirs.fileno()],
                env={**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"},
            )
        self.connection = Connection(ours.detach())

    def send(self, message: dict[str, Any]) -> None:
        """Raises EOFError where the process has ended."""
        try:
            self.connection.send_bytes(json.dumps(message).encode())
        except OSError as error:
            raise EOFError from error

    def receive(self, patience: float) -> bytes:
        """Raises EOFError where the process has ended, TimeoutError where nothing comes for so many
        seconds."""
        try:
            if any(self.connection.poll(patience / _WAITS) for _ in range(_WAITS)):
                return self.connection.recv_bytes()
        except OSError as error:
            raise EOFError from error
        raise TimeoutError(f"its decoder gave no answer for {patience:.0f} s")

    def end(self) -> int:
        """Its exit status, negative for a signal."""
        self.connection.close()
        try:
            return self._process.wait(0.5)  # it may be about to end by itself, and say how
        except subprocess.TimeoutExpired:
            self._process.kill()
        try:
            return self._process.wait(5)
        except subprocess.TimeoutExpired:  # the system itself waits for a drive
            return -signal.SIGKILL


class _Remote:
    """A file being read in another process."""

    def __init__(
        self, decoders: Decoders, process: _Process, busy: Busy, file: Path, rate: int
    ) -> None:
        self._decoders = decoders
        self._process: _Process | None = process
        self._busy = busy
        self.damage: str | None = None
        self._waits = False  # to be told to go on: the process can be asked for another file then
        try:
            with self._alive() as alive:
                alive.send({"path": str(file), "rate": rate})
                answer = self._answer(alive, _PATIENCE + _size(file) / _SLOWEST)
                self.opened = Opened(answer["sha256"], answer["facts"])
                self._waits = True
        except BaseException:
            self.close()
            raise

    def windows(self) -> Iterator[tuple[Window, int]]:
        with self._alive() as alive:
            self._waits = False
            alive.send({"go": True})
            while not (answer := self._answer(alive, _PATIENCE)).get("ended"):
                samples = np.frombuffer(bytearray(alive.receive(_PATIENCE)), np.float32)
                yield Window(answer["start"], answer["end"], samples), answer["read"]
            self.damage = answer["damage"]
            self._free()

    def close(self) -> None:
        if self._process is None:
            return
        if self._waits:
            with self._alive() as alive:
                alive.send({"go": False})
                self._free()
        else:  # it is in the middle of a file that nobody wants any more
            self._end()

    def _answer(self, alive: _Process, patience: float) -> dict[str, Any]:
        answer: dict[str, Any] = json.loads(alive.receive(patience))
        for part, seconds in answer["busy"].items():
            self._busy.add(part, seconds)
        if "error" in answer:
            self._free()
            raise Unreadable(answer["error"], answer["lasting"])
        return answer

    def _end(self) -> int:
        assert self._process is not None
        status = self._process.end()
        self._process = None
        return status

    def _free(self) -> None:
        if self._process is not None:
            self._decoders.give_back(self._process)
            self._process = None

    @contextlib.contextmanager
    def _alive(self) -> Iterator[_Process]:
        assert self._process is not None, "this file has been read"
        try:
            yield self._process
        except TimeoutError as error:
            self._end()
            raise Unreadable(str(error), lasting=False) from None
        except EOFError:
            status = self._end()
            # Killed from outside, for memory perhaps, it may fare better another time.
            crashed = status < 0 and status != -signal.SIGKILL
            why = (
                "it is damaged in a way that crashes the decoder"
                if crashed
                else "its decoder ended"
            )
            raise Unreadable(why, lasting=crashed) from None


def _size(file: Path) -> int:
    try:
        return file.stat().st_size
    except OSError:  # which its decoder tells of
        return 0
