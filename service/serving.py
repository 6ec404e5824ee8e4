"""What is being served, and how another index or checkpoint takes its place without a gap.

A request keeps, from its first to its last byte, what was served when it came: the ContextVar
holds it. What nobody uses any more is ended.
"""

import asyncio
import contextlib
import math
import signal
import sys
import time
from collections.abc import AsyncIterator, Iterator
from contextvars import ContextVar
from dataclasses import dataclass, replace
from pathlib import Path

from starlette.types import ASGIApp, Receive, Scope, Send

from m2d_clap.index import SearchIndex, live
from m2d_clap.index.base import INDEX_FILE
from m2d_clap.index.engines import open_index
from m2d_clap.model.description import CONFIG_FILE, Description, describe
from m2d_clap.model.errors import ClapError
from m2d_clap.service import logs
from m2d_clap.service.encoding import Encoding
from m2d_clap.service.errors import WorkerDownError
from m2d_clap.service.jobs import Plan
from m2d_clap.service.metrics import Metrics
from m2d_clap.service.settings import Settings
from m2d_clap.service.tracing import Traces

_LOG = logs.logger(__name__)
_FIRST_REST, _LAST_REST = 60.0, 3600.0  # seconds until a compaction that failed is tried again
_FIRST_AGAIN, _LAST_AGAIN = 5.0, 600.0  # seconds until a reload that failed is
_LOADING = 600.0  # seconds a new checkpoint may take until it is ready
_MOST_DEATHS = 3  # of its process meanwhile


@dataclass(frozen=True)
class Generation:
    """An index and the encoders of the checkpoint it was made with."""

    index: SearchIndex
    encoding: Encoding


_PINNED: ContextVar[Generation | None] = ContextVar("generation", default=None)


class Serving:
    """The current generation, and its replacement."""

    def __init__(self, settings: Settings, metrics: Metrics, traces: Traces) -> None:
        """Raises LibraryIndexError or CheckpointError, with the command that mends it."""
        self._settings = settings
        self._metrics = metrics
        self._traces = traces
        self._limits = live.Limits.of(settings.compact_after)
        self._replacing = asyncio.Lock()
        self._refreshing = asyncio.Lock()
        self.writing = asyncio.Lock()
        self._compacting: asyncio.Task[None] | None = None
        self._rest = _FIRST_REST
        self._asked = asyncio.Event()
        self._retiring: set[asyncio.Task[None]] = set()
        self._current = self._generation(*_open(settings), None)
        self._seen = self._stamps()
        self._pause, self._again = _FIRST_AGAIN, math.inf

    @property
    def now(self) -> Generation:
        """What the request being served relies on; outside of one, the newest."""
        return _PINNED.get() or self._current

    @property
    def newest(self) -> Generation:
        """What the next request will rely on."""
        return self._current

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Serves, and watches for what is new, for as long as the context lasts."""
        self._current.encoding.start()
        loop = asyncio.get_running_loop()
        watching = asyncio.create_task(self._watch())
        with contextlib.suppress(ValueError, RuntimeError, NotImplementedError, AttributeError):
            loop.add_signal_handler(signal.SIGHUP, self._asked.set)  # main thread only
        try:
            yield
        finally:
            with contextlib.suppress(ValueError, RuntimeError, NotImplementedError, AttributeError):
                loop.remove_signal_handler(signal.SIGHUP)
            tasks = [watching, *([self._compacting] if self._compacting else [])]
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, *self._retiring, return_exceptions=True)
            await self._current.encoding.stop()

    @contextlib.contextmanager
    def pinned(self) -> Iterator[None]:
        """Inside, `now` stays what it is at the beginning."""
        generation = self._current
        generation.encoding.users += 1
        token = _PINNED.set(generation)
        try:
            yield
        finally:
            _PINNED.reset(token)
            generation.encoding.users -= 1

    async def refresh(self) -> None:
        """Takes in what was added and deleted until now, by this server or another."""
        async with self._refreshing:
            old = self._current
            index = await asyncio.to_thread(old.index.refreshed)
            if index is not old.index and index.fingerprint == old.index.fingerprint:
                self._current = replace(old, index=index)
        if self._settings.writable and self._compacting is None and self._limits.passed(index):
            self._compacting = asyncio.create_task(self._compact())

    async def _compact(self) -> None:
        """Has a process make a new generation, and switches to it."""
        try:
            command = [sys.executable, "-m", "m2d_clap.index.compaction"]
            command.append(str(self._settings.index))
            process = await asyncio.create_subprocess_exec(
                *command, stdin=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.PIPE
            )
            try:
                said = (await process.communicate())[1]
            finally:
                if process.returncode is None:
                    process.kill()
            if process.returncode:
                self._metrics.compactions.labels("failed").inc()
                reason = said.decode(errors="replace")[-2000:].strip()
                _LOG.error("compaction_failed", reason=reason or f"status {process.returncode}")
                await asyncio.sleep(self._rest)
                self._rest = min(2 * self._rest, _LAST_REST)
            else:
                self._rest = _FIRST_REST
                self._metrics.compactions.labels("done").inc()
                await self.reload()
        finally:
            self._compacting = None

    async def reload(self) -> bool:
        """Opens what lies at the index's place now, and switches to it when it is ready.

        Where that fails, the old goes on, and log and metrics say so.
        """
        async with self._replacing:
            old = self._current
            try:
                index, model, plan = await asyncio.to_thread(_open, self._settings)
                new = self._generation(index, model, plan, old)
                if new.encoding is not old.encoding:
                    new.encoding.start()
                await self._switch(new, old)
            except Exception as error:  # noqa: BLE001  (whatever it was, the old one goes on)
                self._metrics.reloads.labels("failed").inc()
                self._metrics.reload_failing.set(1)
                told = _LOG.error if isinstance(error, ClapError) else _LOG.exception
                told("reload_failed", reason=str(error) or type(error).__name__)
                return False
            self._metrics.reloads.labels("done").inc()
            self._metrics.reload_failing.set(0)
            index = self._current.index
            _LOG.info("reloaded", clips=len(index), generation=index.generation)
            if new.encoding is not old.encoding:
                patience = 2 * self._settings.patience_seconds
                retiring = asyncio.create_task(_retire(old.encoding, patience))
                self._retiring.add(retiring)
                retiring.add_done_callback(self._retiring.discard)
            return True

    async def _switch(self, new: Generation, old: Generation) -> None:
        """Raises ClapError, and ends encoders that nobody will use, where that cannot be."""
        try:
            if new.encoding is not old.encoding:
                await _until_ready(new.encoding)
            async with self._refreshing:  # what came while it was opened
                self._current = replace(new, index=await asyncio.to_thread(new.index.refreshed))
        except BaseException:
            if new.encoding is not old.encoding:
                await new.encoding.stop()
            raise

    def _generation(
        self, index: SearchIndex, model: Description, plan: Plan, old: Generation | None
    ) -> Generation:
        if old is not None and (
            (old.encoding.model.fingerprint, old.encoding.model.captioner)
            == (model.fingerprint, model.captioner)
        ):
            return Generation(index, old.encoding)
        return Generation(index, Encoding(plan, model, self._settings, self._metrics, self._traces))

    async def _watch(self) -> None:
        while True:
            try:
                await self._look()
            except ClapError as error:
                _LOG.error("refresh_failed", reason=str(error))
            except Exception:  # noqa: BLE001  (whatever it was, the next index is to be noticed)
                _LOG.exception("watch_failed")

    async def _look(self) -> None:
        """Waits for its time, or to be asked; takes in what is new then."""
        try:
            async with asyncio.timeout(self._settings.reload_seconds or None):
                await self._asked.wait()
        except TimeoutError:
            stamps = await asyncio.to_thread(self._stamps)
            if stamps == self._seen and time.monotonic() < self._again:
                await self.refresh()
                return
            self._seen = stamps
        self._asked.clear()
        if await self.reload():
            self._pause, self._again = _FIRST_AGAIN, math.inf
        else:  # what is there may not be all of it yet
            self._again = time.monotonic() + self._pause
            self._pause = min(2 * self._pause, _LAST_AGAIN)

    def _stamps(self) -> tuple[tuple[int, int, int], ...]:
        """When, and as what, index and checkpoint were last written."""
        now = self._current
        checkpoint = self._settings.checkpoint or now.index.checkpoint
        return (_stamp(self._current.index.folder / INDEX_FILE), _stamp(checkpoint / CONFIG_FILE))


class Pinned:
    """ASGI middleware: a request relies on one generation from its first to its last byte."""

    def __init__(self, app: ASGIApp, serving: Serving) -> None:
        self._app = app
        self._serving = serving

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        with self._serving.pinned():
            await self._app(scope, receive, send)


def _open(settings: Settings) -> tuple[SearchIndex, Description, Plan]:
    index = open_index(settings.index)
    checkpoint = settings.checkpoint or index.checkpoint
    model = describe(checkpoint)
    index.check_model(model.fingerprint, checkpoint)
    plan = Plan(
        checkpoint,
        settings.device,
        settings.threads,
        settings.text_encoder_path,
        settings.precision,
        settings.engine,
        model.fingerprint,
        settings.log_level,
    )
    return index, model, plan


async def _until_ready(encoding: Encoding) -> None:
    """Raises WorkerDownError where it cannot be loaded."""
    end = asyncio.get_running_loop().time() + _LOADING
    while (missing := encoding.missing()) is not None:
        late = asyncio.get_running_loop().time() > end
        worker = encoding.worker  # which was ended from outside is started again, if not for ever
        if late or worker.unloadable or worker.deaths > _MOST_DEATHS:
            raise WorkerDownError(missing)
        await asyncio.sleep(0.05)


async def _retire(encoding: Encoding, patience: float) -> None:
    """Once nobody relies on it; somebody who reads an answer for ever does not count for ever."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(patience):
            while encoding.users:
                await asyncio.sleep(0.05)
    await encoding.stop()


def _stamp(file: Path) -> tuple[int, int, int]:
    try:
        state = file.stat()
    except OSError:
        return (0, 0, 0)
    return (state.st_mtime_ns, state.st_size, state.st_ino)
