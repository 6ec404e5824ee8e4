"""Everything behind the routes: the index, the encoders and the ways to them."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import BinaryIO

from m2d_clap.index import Clip, Hit, Index
from m2d_clap.model.checkpoint import Description
from m2d_clap.model.errors import TextEncoderError
from m2d_clap.service import logs
from m2d_clap.service.batcher import Batcher
from m2d_clap.service.encoders import Vectors
from m2d_clap.service.encoding import EMBEDDING_LABELS
from m2d_clap.service.errors import (
    ClipFileGoneError,
    UnknownClipError,
    WorkerDownError,
)
from m2d_clap.service.metrics import Metrics
from m2d_clap.service.serving import Serving
from m2d_clap.service.settings import Settings
from m2d_clap.service.tagging import Label, Tag, rank, vocabulary
from m2d_clap.service.uploads import Decoder
from m2d_clap.service.worker import Worker


class Engine:
    """What a query walks through: decode → batcher → worker → index or labels."""

    def __init__(self, settings: Settings) -> None:
        """Opens the index and checks that the checkpoint is the one it was made with.

        Raises LibraryIndexError or CheckpointError, with the command that mends it.
        """
        self.settings = settings
        self.metrics = Metrics()
        self.serving = Serving(settings, self.metrics)
        self.decoder = Decoder(
            settings.decoding, lambda seconds: self.metrics.took({"decode": seconds})
        )
        self.metrics.watch(
            {
                "texts": lambda: self.texts.waiting,
                "sounds": lambda: self.sounds.waiting,
                "uploads": lambda: self.decoder.waiting,
            }
        )
        self.metrics.watch_deaths(
            {"encoder": lambda: self.worker.deaths, "decoder": lambda: self.decoder.pool.deaths}
        )

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Runs encoders and decoders for as long as the context lasts."""
        async with self.serving.running():
            await self.decoder.pool.start()
            try:
                yield
            finally:
                await self.decoder.close()

    # What a request relies on, of one generation however often it asks; see serving.py.

    @property
    def index(self) -> Index:
        return self.serving.now.index

    @property
    def model(self) -> Description:
        return self.serving.now.encoding.model

    @property
    def worker(self) -> Worker:
        return self.serving.now.encoding.worker

    @property
    def texts(self) -> Batcher:
        return self.serving.now.encoding.texts

    @property
    def sounds(self) -> Batcher:
        return self.serving.now.encoding.sounds

    @property
    def _vocabulary(self) -> Vectors | None:
        return self.serving.now.encoding.vocabulary

    def require_ready(self) -> None:
        """Raises WorkerDownError, saying why, unless every kind of request can be answered."""
        missing = self.serving.now.encoding.missing()
        if missing is not None:
            raise WorkerDownError(missing)

    def measure(self) -> bytes:
        """Everything measured, for Prometheus."""
        encoding = self.serving.now.encoding
        self.metrics.ready.set(encoding.missing() is None)
        self.metrics.index_clips.set(len(self.index))
        self.metrics.index_vectors.set(self.index.windows)
        self.metrics.index_generation.set(self.index.generation)
        self.metrics.model.info(
            {
                "fingerprint": self.model.fingerprint[:16],
                "text": self.model.config.text.kind,
                "device": encoding.worker.device,
                "precision": encoding.worker.precision,
            }
        )
        return self.metrics.page()

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
                raise WorkerDownError(EMBEDDING_LABELS)
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
        if self.settings.log_texts:
            logs.note(texts=list(texts))
        return await self.texts.submit(tuple(texts), len(texts))

    async def _sound(self, file: BinaryIO) -> Vectors:
        if not self.worker.ready.is_set():
            raise WorkerDownError(self.worker.reason)
        waveform = await self.decoder.decode(file, self.model.config.front_end.sample_rate)
        return await self.sounds.submit(waveform, waveform.seconds)

    async def _nearest(self, vector: Vectors, k: int) -> list[Hit]:
        with self.metrics.stage("search"):
            return await asyncio.to_thread(self.index.search, vector, k)
