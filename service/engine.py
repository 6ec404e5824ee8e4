"""Everything behind the routes: the index, the encoders and the ways to them."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import BinaryIO

from m2d_clap.index import Clip, Hit, Index
from m2d_clap.model.checkpoint import describe
from m2d_clap.model.errors import TextEncoderError
from m2d_clap.service.batcher import Batcher
from m2d_clap.service.encoders import Plan, Vectors
from m2d_clap.service.errors import (
    ClipFileGoneError,
    EncodingError,
    UnknownClipError,
    WorkerDownError,
)
from m2d_clap.service.settings import Settings
from m2d_clap.service.tagging import Label, Tag, rank, vocabulary
from m2d_clap.service.uploads import Decoder
from m2d_clap.service.worker import Worker

_EMBEDDING_LABELS = "the built-in labels are being embedded"
_TEXTS_TOGETHER, _SECONDS_TOGETHER = 64, 400.0


class Engine:
    """What a query walks through: decode → batcher → worker → index or labels."""

    def __init__(self, settings: Settings) -> None:
        """Opens the index and checks that the checkpoint is the one it was made with.

        Raises LibraryIndexError or CheckpointError, with the command that mends it.
        """
        self.settings = settings
        self.index = Index.open(settings.index)
        checkpoint = settings.checkpoint or self.index.checkpoint
        self.model = describe(checkpoint)
        self.index.check_model(self.model.fingerprint, checkpoint)
        self._decoder = Decoder(
            self.model.config.front_end.sample_rate,
            settings.max_seconds,
            settings.min_seconds,
            settings.decoders,
            settings.waiting_uploads,
        )
        plan = Plan(checkpoint, settings.device, settings.threads, settings.text_encoder_path)
        self.worker = Worker(plan, settings.patience_seconds)
        device = asyncio.Lock()
        self.texts = Batcher(
            lambda items: self.worker.encode("texts", items),
            device,
            settings.waiting_texts,
            _TEXTS_TOGETHER,
        )
        self.sounds = Batcher(
            lambda items: self.worker.encode("sounds", items),
            device,
            settings.waiting_seconds,
            _SECONDS_TOGETHER,
        )
        self._vocabulary: Vectors | None = None

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Runs worker and batchers for as long as the context lasts."""
        loops = (self.worker.run(), self.texts.run(), self.sounds.run(), self._prepare())
        tasks = [asyncio.create_task(loop) for loop in loops]
        try:
            yield
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            self._decoder.close()

    def require_ready(self) -> None:
        """Raises WorkerDownError, saying why, unless every kind of request can be answered."""
        if not self.worker.ready.is_set():
            raise WorkerDownError(self.worker.reason)
        if self._vocabulary is None and self._understands_text:
            raise WorkerDownError(_EMBEDDING_LABELS)

    async def search_text(self, query: str, k: int) -> list[Hit]:
        """The k clips nearest to a text, best first."""
        return await self._nearest((await self._sentences([query]))[0], k)

    async def search_audio(self, file: BinaryIO, k: int) -> list[Hit]:
        """The k clips nearest to an uploaded sound, best first."""
        return await self._nearest(await self._sound(file), k)

    async def tags(self, file: BinaryIO, names: Sequence[str], k: int) -> list[Tag]:
        """The k best of the labels given, of the built-in vocabulary without any."""
        self._require_text()
        sound = await self._sound(file)
        if not names:
            if self._vocabulary is None:
                raise WorkerDownError(_EMBEDDING_LABELS)
            return rank(sound, self._vocabulary, vocabulary(), k)
        labels = [Label(name) for name in dict.fromkeys(names)]
        return rank(sound, await self._sentences([label.prompt for label in labels]), labels, k)

    def clip(self, clip_id: str) -> Clip:
        """Raises UnknownClipError."""
        clip = self.index.clip(clip_id)
        if clip is None:
            raise UnknownClipError(f"no clip has the id {clip_id!r}")
        return clip

    def clip_file(self, clip_id: str) -> Path:
        """A file that holds the clip. Raises UnknownClipError or ClipFileGoneError."""
        clip = self.clip(clip_id)
        for path in clip.paths:
            file = self.index.library / path
            if file.is_file():
                return file
        raise ClipFileGoneError(f"{clip.path} is no longer in the library; index it again")

    @property
    def _understands_text(self) -> bool:
        return self.model.config.text.kind != "none"

    def _require_text(self) -> None:
        if not self._understands_text:
            raise TextEncoderError("the checkpoint served here hears sounds only, it knows no text")

    async def _sentences(self, texts: Sequence[str]) -> Vectors:
        self._require_text()
        return await self.texts.submit(tuple(texts), len(texts))

    async def _sound(self, file: BinaryIO) -> Vectors:
        if not self.worker.ready.is_set():
            raise WorkerDownError(self.worker.reason)
        waveform = await self._decoder.decode(file)
        return await self.sounds.submit(waveform, waveform.seconds)

    async def _nearest(self, vector: Vectors, k: int) -> list[Hit]:
        return await asyncio.to_thread(self.index.search, vector, k)

    async def _prepare(self) -> None:
        """Embeds the built-in labels once the worker is ready; again should it die meanwhile."""
        prompts = [label.prompt for label in vocabulary()]
        while self._understands_text and self._vocabulary is None:
            await self.worker.ready.wait()
            try:
                self._vocabulary = await self._sentences(prompts)
            except (WorkerDownError, EncodingError):
                await asyncio.sleep(1.0)
