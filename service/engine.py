"""Everything behind the routes: the index, the encoders and the ways to them."""

import asyncio
import contextlib
import os
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from pathlib import Path
from typing import BinaryIO

from m2d_clap.index import Clip, SearchIndex
from m2d_clap.index.calibration import of_sentences, of_sounds
from m2d_clap.model import Waveform
from m2d_clap.model.captions import Captioned, Decoding
from m2d_clap.model.description import Description
from m2d_clap.model.errors import NoCaptionerError, TextEncoderError
from m2d_clap.service import logs
from m2d_clap.service.encoding import EMBEDDING_LABELS, Encoding
from m2d_clap.service.errors import (
    ClipFileGoneError,
    UnknownClipError,
    WorkerDownError,
)
from m2d_clap.service.jobs import CaptionJob, Vectors
from m2d_clap.service.kept import Kept
from m2d_clap.service.metrics import Metrics, Stage
from m2d_clap.service.places import Places
from m2d_clap.service.questions import Scale
from m2d_clap.service.serving import Serving
from m2d_clap.service.settings import Settings
from m2d_clap.service.tracing import Traces
from m2d_clap.service.uploads import Decoder

SEARCH_TEXT = "/v1/search/text"
_KEPT_BYTES = 64 * 2**20  # of pictures and maps


class Engine:
    """What a query walks through: decode → batcher → worker → index or labels."""

    def __init__(self, settings: Settings, traces: Traces | None = None) -> None:
        """Opens the index and checks that the checkpoint is the one it was made with.

        Raises LibraryIndexError, CheckpointError or TracesError, with the command that mends it.
        """
        self.settings = settings
        self.metrics = Metrics()
        self.traces = traces or Traces.to(settings.traces_endpoint)
        self.serving = Serving(settings, self.metrics, self.traces)
        self.decoder = Decoder(settings.decoding, lambda seconds: self._took("decode", seconds))
        self.places = Places(settings.decoders + settings.waiting_uploads)
        self.kept = Kept(_KEPT_BYTES)
        self._scale: tuple[SearchIndex | None, Vectors | None, Scale] = (None, None, Scale())
        self.metrics.watch(
            {
                "texts": lambda: self._encoding.texts.waiting,
                "sounds": lambda: self._encoding.sounds.waiting,
                "spans": lambda: self._encoding.spans.waiting,
                "classes": lambda: self._encoding.classes.waiting,
                "captions": lambda: self._encoding.captions.waiting,
                "uploads": lambda: self.decoder.waiting,
            }
        )
        self.metrics.watch_deaths(
            {
                "encoder": lambda: self._encoding.worker.deaths,
                "decoder": lambda: self.decoder.pool.deaths,
            }
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
                await asyncio.to_thread(self.traces.close)

    # A request relies on one generation, however often it asks: see serving.py.

    @property
    def index(self) -> SearchIndex:
        return self.serving.now.index

    @property
    def model(self) -> Description:
        return self._encoding.model

    @property
    def _encoding(self) -> Encoding:
        return self.serving.now.encoding

    @contextlib.contextmanager
    def stage(self, stage: Stage) -> Iterator[None]:
        """Measures, and traces, what happens inside."""
        start = time.perf_counter()
        try:
            yield
        finally:
            self._took(stage, time.perf_counter() - start)

    def _took(self, stage: Stage, seconds: float) -> None:
        self.metrics.took({stage: seconds})
        self.traces.stage(stage, seconds)

    def require_ready(self) -> None:
        """Raises WorkerDownError, saying why, unless every kind of request can be answered."""
        missing = self._encoding.missing()
        if missing is not None:
            raise WorkerDownError(missing)

    def check(self, path: str, content_type: str) -> None:
        """Raises BusyError where what a request will need is full, before its body is read."""
        if content_type.lower().startswith("multipart/form-data"):
            self.places.check()
        elif path == SEARCH_TEXT:
            self._encoding.texts.check()

    def measure(self) -> bytes:
        """Everything measured, for Prometheus."""
        encoding = self._encoding
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

    def vocabulary_vectors(self) -> Vectors:
        """(labels, dim) of the built-in vocabulary. Raises WorkerDownError until it is embedded."""
        self._require_text()
        if self._encoding.vocabulary is None:
            raise WorkerDownError(EMBEDDING_LABELS)
        return self._encoding.vocabulary

    async def sentences(self, texts: Sequence[str]) -> Vectors:
        """(texts, dim) unit vectors."""
        self._require_text()
        if self.settings.log_texts:
            logs.note(texts=list(texts))
        return await self._encoding.sentences.vectors(texts)

    @contextlib.asynccontextmanager
    async def upload(self, file: BinaryIO) -> AsyncIterator[Waveform]:
        """An upload, decoded; it takes up a place until the context ends. Raises BusyError, and
        WorkerDownError at once where nothing could be made of it."""
        worker = self._encoding.worker
        if not worker.ready.is_set():
            raise WorkerDownError(worker.reason)
        with self.places.one():
            yield await self.decoder.decode(file, self.model.config.front_end.sample_rate)

    async def heard(self, waveform: Waveform) -> Vectors:
        """(dim,): the unit vector of a sound."""
        return await self._encoding.sounds.submit(waveform, waveform.seconds)

    async def sound(self, file: BinaryIO) -> Vectors:
        """(dim,): the unit vector of an upload."""
        async with self.upload(file) as waveform:
            return await self.heard(waveform)

    async def spans(self, waveform: Waveform) -> Vectors:
        """(spans, dim): unit vectors of a sound's stretches."""
        return await self._encoding.spans.submit(waveform, waveform.seconds)

    async def classes(self, waveform: Waveform) -> Vectors:
        """(1 + spans, classes): probabilities of the whole and of its stretches."""
        return await self._encoding.classes.submit(waveform, waveform.seconds)

    def require_captioner(self) -> None:
        """Raises NoCaptionerError where the checkpoint has none."""
        if self.model.captioner is None:
            raise NoCaptionerError(
                f"the checkpoint served here ({self.model.config.name}) has no captioner: train one "
                "with m2d-clap train MANIFEST --stage caption-mini --parent CHECKPOINT"
            )

    async def captions(self, waveform: Waveform, how: Decoding) -> Captioned:
        """Captions of a sound. Raises NoCaptionerError."""
        self.require_captioner()
        return await self._encoding.captions.submit(CaptionJob(waveform, how), waveform.seconds)

    async def scale(self, index: SearchIndex) -> Scale:
        """What makes this index's cosines readable; learned when first asked for."""
        of_index, of_vocabulary, scale = self._scale
        vocabulary = self._encoding.vocabulary
        if of_index is not index or of_vocabulary is not vocabulary:
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
        for file in self.index.files(clip):
            if os.path.isfile(file):  # noqa: PTH113  (Path.is_file raises where a mount is dead)
                return file
        raise ClipFileGoneError(
            f"{clip.path} is not in the library now: is its drive mounted? If it is gone for good, "
            "index the library again"
        )

    def _require_text(self) -> None:
        if not self._encoding.understands_text:
            raise TextEncoderError("the checkpoint served here hears sounds only, it knows no text")


def _learned(index: SearchIndex, vocabulary: Vectors | None) -> Scale:
    """An index made by an older release holds no calibration between sounds: it is learned here."""
    vectors, owners = index.sample()
    if not len(vectors):
        return Scale()
    text = None if vocabulary is None else of_sentences(vectors, vocabulary)
    return Scale(text, index.calibration or of_sounds(vectors, owners))
