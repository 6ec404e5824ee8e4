"""One checkpoint being served: its worker, the queues before it, the labels it has embedded."""

import asyncio
from typing import Any

from m2d_clap.model.captions import Captioned
from m2d_clap.model.description import Description
from m2d_clap.service.batcher import Batcher
from m2d_clap.service.errors import BusyError, EncodingError, WorkerDownError
from m2d_clap.service.jobs import Kind, Plan, Vectors
from m2d_clap.service.known_texts import KnownTexts
from m2d_clap.service.metrics import Metrics
from m2d_clap.service.settings import Settings
from m2d_clap.service.tagging import vocabulary
from m2d_clap.service.tracing import Traces
from m2d_clap.service.worker import Worker

EMBEDDING_LABELS = "the built-in labels are being embedded"
_TEXTS_TOGETHER, _SECONDS_TOGETHER = 64, 400.0


class Encoding:
    """From `start` to `stop`; `users` counts the requests that rely on it."""

    def __init__(
        self,
        plan: Plan,
        model: Description,
        settings: Settings,
        metrics: Metrics,
        traces: Traces,
    ) -> None:
        self.model = model
        self.vocabulary: Vectors | None = None
        self.users = 0
        self.worker = Worker(plan, settings.patience_seconds, metrics.took)
        device = asyncio.Lock()

        def queue(kind: Kind, most_waiting: float, most_together: float) -> Batcher[Any]:
            return Batcher(
                lambda items, room: self.worker.encode(kind, items, room),
                device,
                most_waiting,
                most_together,
                lambda items: metrics.batch(kind, items),
                traces.queued,
            )

        waiting, together = settings.waiting_seconds, _SECONDS_TOGETHER
        self.texts: Batcher[Vectors] = queue("texts", settings.waiting_texts, _TEXTS_TOGETHER)
        self.sounds: Batcher[Vectors] = queue("sounds", waiting, together)
        self.spans: Batcher[Vectors] = queue("spans", waiting, together)
        self.classes: Batcher[Vectors] = queue("classes", waiting, together)
        self.captions: Batcher[Captioned] = queue("captions", waiting, together)
        self.sentences = KnownTexts(
            lambda texts, taken_in: self.texts.submit(texts, len(texts), taken_in),
            _TEXTS_TOGETHER // 2,  # of one request at a time: others find room beside it
        )
        self._tasks: list[asyncio.Task[None]] = []

    @property
    def understands_text(self) -> bool:
        return self.model.config.text.kind != "none"

    def start(self) -> None:
        """Starts the worker and the queues; `missing` tells when they are ready."""
        queues = (self.texts, self.sounds, self.spans, self.classes, self.captions)
        loops = (self.worker.run(), *(queue.run() for queue in queues), self._prepare())
        self._tasks = [asyncio.create_task(loop) for loop in loops]

    async def stop(self) -> None:
        """Ends the worker; who still waits is told."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def missing(self) -> str | None:
        """Why not every kind of request can be answered; None when all can."""
        if not self.worker.ready.is_set():
            return self.worker.reason
        if self.vocabulary is None and self.understands_text:
            return EMBEDDING_LABELS
        return None

    async def _prepare(self) -> None:
        """Embeds the built-in labels once the worker is ready; again should it die meanwhile."""
        prompts = tuple(label.prompt for label in vocabulary())
        while self.understands_text and self.vocabulary is None:
            await self.worker.ready.wait()
            try:
                self.vocabulary = await self.texts.submit(prompts, len(prompts))
            except (BusyError, WorkerDownError, EncodingError):
                await asyncio.sleep(1.0)
