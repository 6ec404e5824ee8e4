"""The first start: the library is indexed in a process of its own while the probes tell how far.

The socket is bound throughout, so that who connects is answered, by this or by what comes after.
"""

import asyncio
import contextlib
import multiprocessing
import signal
import socket
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from m2d_clap.index.engines import engine_at
from m2d_clap.index.progress import Progress, Report
from m2d_clap.model import bundled
from m2d_clap.model.errors import ClapError
from m2d_clap.service import logs, problems
from m2d_clap.service.device import device
from m2d_clap.service.errors import ServiceError, WorkerDownError
from m2d_clap.service.jobs import Failed
from m2d_clap.service.settings import Settings

_LOG = logs.logger(__name__)
_BATCH_SECONDS = 100.0  # of sound between two words of progress, and lost at most by a kill
_LOG_EVERY = 5.0  # seconds
_METHODS = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"]


class FirstIndexError(ServiceError):
    """The library could not be indexed; the message says why."""


@dataclass(frozen=True)
class _Job:
    library: Path
    out: Path | str
    checkpoint: Path
    device: str
    threads: int | None


def is_due(settings: Settings) -> bool:
    """Whether there is a library to index, and no finished index with a sound in it."""
    if settings.library is None:
        return False
    engine = engine_at(settings.index)
    return not engine.there() or not len(engine.open())


def make(settings: Settings, listening: socket.socket) -> bool:
    """Indexes `settings.library` into `settings.index`; False where it was told to stop before.

    Stopped or killed at any time, the next start goes on. Raises FirstIndexError.
    """
    assert settings.library is not None
    logs.install(settings.log_level)
    job = _Job(
        settings.library,
        settings.index,
        settings.checkpoint or bundled(),
        settings.device,
        settings.threads,
    )
    first = _FirstIndex(job)
    first.serve(listening)
    if isinstance(first.outcome, Failed):
        raise FirstIndexError(first.outcome.reason)
    return first.outcome is not None


class _FirstIndex:
    """One process, what it last said, and a server that repeats it."""

    def __init__(self, job: _Job) -> None:
        self._job = job
        self._detail = "the library is being indexed: looking for sounds"
        self._logged = -_LOG_EVERY
        self.outcome: Report | Failed | None = None
        app = Starlette(
            routes=[
                Route("/livez", self._alive),
                Route("/{path:path}", self._not_yet, methods=_METHODS),
            ],
            lifespan=self._running,
        )
        self._server = uvicorn.Server(
            uvicorn.Config(
                app, log_config=None, log_level="warning", access_log=False, server_header=False
            )
        )

    def serve(self, listening: socket.socket) -> None:
        """Until the process has ended, or a signal came. The socket stays open."""
        with contextlib.suppress(KeyboardInterrupt), listening.dup() as ours:
            self._server.run(sockets=[ours])

    @contextlib.asynccontextmanager
    async def _running(self, _: Starlette) -> AsyncIterator[None]:
        ours, theirs = multiprocessing.Pipe(duplex=False)
        process = multiprocessing.get_context("spawn").Process(
            target=_index, args=(theirs, self._job), name="m2d-clap-index", daemon=True
        )
        await asyncio.to_thread(process.start)
        theirs.close()
        following = asyncio.create_task(self._follow(ours))
        try:
            yield
        finally:
            process.kill()  # where it still runs, a signal came: what it has written is kept
            await asyncio.to_thread(process.join)
            await following
            ours.close()

    async def _follow(self, connection: Connection) -> None:
        _LOG.info("indexing", library=str(self._job.library), index=str(self._job.out))
        try:
            while self.outcome is None:
                said = await asyncio.to_thread(connection.recv)
                if isinstance(said, Progress):
                    self._tell(said)
                else:
                    self.outcome = said
        except (EOFError, OSError):
            if not self._server.should_exit:
                self.outcome = Failed(
                    "the indexing process was ended from outside (out of memory?); "
                    "the next start goes on from there"
                )
        if isinstance(self.outcome, Report):
            _LOG.info("indexed", clips=self.outcome.clips, left_out=len(self.outcome.skipped))
        self._server.should_exit = True

    def _tell(self, state: Progress) -> None:
        self._detail = (
            f"the library is being indexed: {state.done} of {state.files} files, "
            f"{state.share:.0%} of the bytes"
        )
        if time.monotonic() - self._logged >= _LOG_EVERY:
            self._logged = time.monotonic()
            share = round(state.share, 3)
            _LOG.info("indexing", files=state.files, done=state.done, share=share)

    async def _alive(self, _: Request) -> Response:
        return JSONResponse({"status": "alive"})

    async def _not_yet(self, request: Request) -> Response:
        return problems.refusal(request, WorkerDownError(self._detail))


def _index(connection: Connection, job: _Job) -> None:
    """The process's main: Progress again and again, at last a Report or Failed."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches all: the server decides
    import torch

    from m2d_clap.index import build_index
    from m2d_clap.index.options import Options
    from m2d_clap.model import Checkpoint

    if job.threads:
        torch.set_num_threads(job.threads)
    try:
        model = Checkpoint.load(job.checkpoint)
        clap = model.clap(device(job.device))
        engine = engine_at(job.out)
        report = build_index(
            job.library, engine.folder, job.checkpoint, model.fingerprint, clap,
            connection.send, Options(_BATCH_SECONDS), engine,
        )  # fmt: skip
    except ClapError as error:
        connection.send(Failed(str(error)))
        return
    if report.clips:
        connection.send(report)
    else:
        connection.send(Failed(f"no sound was found in {job.library}: is it the right folder?"))
