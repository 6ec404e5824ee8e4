"""One checkpoint being served: its worker, the queues before it, the labels it has embedded."""

import asyncio

from m2d_clap.model.checkpoint import Description
from m2d_clap.service.batcher import Batcher
from m2d_clap.service.encoders import Plan, Vectors
from m2d_clap.service.errors import EncodingError, WorkerDownError
from m2d_clap.service.metrics import Metrics
from m2d_clap.service.settings import Settings
from m2d_clap.service.tagging import vocabulary
from m2d_clap.service.worker import Worker

EMBEDDING_LABELS = "the built-in labels are being embedded"
_TEXTS_TOGETHER, _SECONDS_TOGETHER = 64, 400.0


class Encoding:
    """From `start` to `stop`; `users` counts the requests that rely on it."""

    def __init__(
        self, plan: Plan, model: Description, settings: Settings, metrics: Metrics
    ) -> None:
        self.model = model
        self.vocabulary: Vectors | None = None
        self.users = 0
        self.worker = Worker(plan, settings.patience_seconds, metrics.took)
        device = asyncio.Lock()
        self.texts = Batcher(
            lambda items: self.worker.encode("texts", items),
            device,
            settings.waiting_texts,
            _TEXTS_TOGETHER,
            lambda items: metrics.batch("texts", items),
        )
        self.sounds = Batcher(
            lambda items: self.worker.encode("sounds", items),
            device,
            settings.waiting_seconds,
            _SECONDS_TOGETHER,
            lambda items: metrics.batch("sounds", items),
        )
        self._tasks: list[asyncio.Task[None]] = []

    @property
    def understands_text(self) -> bool:
        return self.model.config.text.kind != "none"

    def start(self) -> None:
        """Starts the worker and the queues; `missing` tells when they are ready."""
        loops = (self.worker.run(), self.texts.run(), self.sounds.run(), self._prepare())
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
            except (WorkerDownError, EncodingError):
                await asyncio.sleep(1.0)
