"""Everything behind the routes: the index, the encoders and the ways to them."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import BinaryIO

import numpy as np

from m2d_clap.index import Clip, Index
from m2d_clap.index.calibration import drawn, of_sentences, of_sounds
from m2d_clap.model import Waveform
from m2d_clap.model.checkpoint import describe
from m2d_clap.model.errors import TextEncoderError
from m2d_clap.service.batcher import Batcher
from m2d_clap.service.encoders import Kind, Plan, Vectors
from m2d_clap.service.errors import (
    ClipFileGoneError,
    EncodingError,
    UnknownClipError,
    WorkerDownError,
)
from m2d_clap.service.kept import Kept
from m2d_clap.service.questions import Scale
from m2d_clap.service.settings import Settings
from m2d_clap.service.tagging import vocabulary
from m2d_clap.service.uploads import Decoder
from m2d_clap.service.worker import Worker

_EMBEDDING_LABELS = "the built-in labels are being embedded"
_TEXTS_TOGETHER, _SECONDS_TOGETHER = 64, 400.0
_KEPT_BYTES = 64 * 2**20  # of pictures and maps


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
        self.decoder = Decoder(
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
        self._spans = self._along("spans", device)
        self._classes = self._along("classes", device)
        self.kept = Kept(_KEPT_BYTES)
        self._vocabulary: Vectors | None = None
        self._scale: tuple[Index | None, Vectors | None, Scale] = (None, None, Scale())

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Runs worker and batchers for as long as the context lasts."""
        queues = (self.texts, self.sounds, self._spans, self._classes)
        loops = (self.worker.run(), *(queue.run() for queue in queues), self._prepare())
        tasks = [asyncio.create_task(loop) for loop in loops]
        try:
            yield
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            self.decoder.close()

    def require_ready(self) -> None:
        """Raises WorkerDownError, saying why, unless every kind of request can be answered."""
        if not self.worker.ready.is_set():
            raise WorkerDownError(self.worker.reason)
        if self._vocabulary is None and self._understands_text:
            raise WorkerDownError(_EMBEDDING_LABELS)

    def vocabulary_vectors(self) -> Vectors:
        """(labels, dim) of the built-in vocabulary. Raises WorkerDownError until it is embedded."""
        self._require_text()
        if self._vocabulary is None:
            raise WorkerDownError(_EMBEDDING_LABELS)
        return self._vocabulary

    async def sentences(self, texts: Sequence[str]) -> Vectors:
        """(texts, dim) unit vectors, many of them in several turns, so that others get theirs."""
        self._require_text()
        turns = [
            tuple(texts[at : at + _TEXTS_TOGETHER]) for at in range(0, len(texts), _TEXTS_TOGETHER)
        ]
        return np.concatenate([await self.texts.submit(turn, len(turn)) for turn in turns])

    async def waveform(self, file: BinaryIO) -> Waveform:
        """An upload, decoded; refused at once where nothing could be made of it."""
        if not self.worker.ready.is_set():
            raise WorkerDownError(self.worker.reason)
        return await self.decoder.decode(file)

    async def heard(self, waveform: Waveform) -> Vectors:
        """(dim,): the unit vector of a sound."""
        return await self.sounds.submit(waveform, waveform.seconds)

    async def sound(self, file: BinaryIO) -> Vectors:
        """(dim,): the unit vector of an upload."""
        return await self.heard(await self.waveform(file))

    async def spans(self, waveform: Waveform) -> Vectors:
        """(spans, dim): unit vectors of a sound's stretches."""
        return await self._spans.submit(waveform, waveform.seconds)

    async def classes(self, waveform: Waveform) -> Vectors:
        """(1 + spans, classes): probabilities of the whole and of its stretches."""
        return await self._classes.submit(waveform, waveform.seconds)

    async def scale(self, index: Index) -> Scale:
        """What makes this index's cosines readable; learned when first asked for."""
        of_index, of_vocabulary, scale = self._scale
        if of_index is not index or of_vocabulary is not self._vocabulary:
            vocabulary = self._vocabulary
            scale = await asyncio.to_thread(_learned, index, vocabulary)
            self._scale = (index, vocabulary, scale)
        return scale

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

    def _along(self, kind: Kind, device: asyncio.Lock) -> Batcher:
        return Batcher(
            lambda items: self.worker.encode(kind, items),
            device,
            self.settings.waiting_seconds,
            _SECONDS_TOGETHER,
        )

    async def _prepare(self) -> None:
        """Embeds the built-in labels once the worker is ready; again should it die meanwhile."""
        prompts = tuple(label.prompt for label in vocabulary())
        while self._understands_text and self._vocabulary is None:
            await self.worker.ready.wait()
            try:
                self._vocabulary = await self.texts.submit(prompts, len(prompts))
            except (WorkerDownError, EncodingError):
                await asyncio.sleep(1.0)


def _learned(index: Index, vocabulary: Vectors | None) -> Scale:
    """An index made by an older release holds no calibration between sounds: it is learned here."""
    rows = drawn(index.windows)
    if not rows:
        return Scale()
    vectors = index.rows(rows)
    text = None if vocabulary is None else of_sentences(vectors, vocabulary)
    return Scale(text, index.calibration or of_sounds(vectors, index.owners(rows)))
