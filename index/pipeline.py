"""Files → batches of pieces with their vectors: read, decoded and encoded at the same time."""

import os
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass
from pathlib import Path

from m2d_clap.index.ahead import ahead
from m2d_clap.index.busy import Busy
from m2d_clap.index.decoders import Decoders
from m2d_clap.index.embed import Batch, Encoded, encoded
from m2d_clap.index.reading import Heard, Here, Piece, Reader, Source
from m2d_clap.index.walk import File
from m2d_clap.model import Clap

BATCH_SECONDS = 400.0
"""Sound encoded and written together, and lost at most when the process is killed.

Sounds of equal length are encoded in one step; among more of them more are equal.
"""
_LONG, _LONG_SECONDS = 8, 30.0
"""From so many windows on, a recording is encoded in smaller batches: its windows are of equal length
anyway, and memory is less."""
THREADS = min(4, max(1, (os.cpu_count() or 1) // 2))
"""That read; the encoder needs the other cores."""
_FIRST_SECONDS = 25.0  # a first batch is soon read; each is up to twice as long as the one before
_BATCH_PIECES = 2000
_AHEAD_SECONDS = 200.0
_WORTH_PROCESSES = 32 << 20
"""Bytes to read from which on decoding in processes of its own pays for their start."""


@dataclass(frozen=True)
class Work:
    """What is to be embedded. complete: clips that need not be read; begun: how many windows of a
    clip are there already; batch_seconds: of sound, encoded together."""

    library: Path
    files: Sequence[File]
    complete: set[str]
    begun: Mapping[str, int]
    batch_seconds: float = BATCH_SECONDS


Remote = Callable[[Work], Generator[Encoded, None, None]]
"""Does what `embedded` does, elsewhere; files come in any order."""


def embedded(work: Work, clap: Clap, busy: Busy) -> Generator[Encoded, None, None]:
    """Batches in the order of the files; close it to stop everything."""
    rate = clap.config.front_end.sample_rate
    with ExitStack() as ending:
        source: Source = Here(busy)
        if sum(file.size for file in work.files) >= _WORTH_PROCESSES:
            source = ending.enter_context(closing(Decoders(busy)))
        reader = Reader(work.library, rate, work.complete, dict(work.begun), source)
        cut = _batches(reader, work.files, work.batch_seconds)
        yield from ending.enter_context(closing(encoded(cut, clap, busy)))


def _batches(
    reader: Reader, files: Sequence[File], batch_seconds: float
) -> Generator[Batch, None, None]:
    """Pieces in order, cut at `batch_seconds` of sound, inside a long file too."""
    batch: list[Piece] = []
    held, most = 0.0, min(_FIRST_SECONDS, batch_seconds)
    jobs = (reader.pieces(file) for file in files)
    with closing(ahead(jobs, THREADS, _AHEAD_SECONDS, _seconds)) as pieces:
        for piece in pieces:
            batch.append(piece)
            held += _seconds(piece)
            long = isinstance(piece, Heard) and piece.position >= _LONG
            enough = min(most, _LONG_SECONDS) if long else most
            if held >= enough or len(batch) >= _BATCH_PIECES:
                yield batch
                batch, held, most = [], 0.0, min(2 * most, batch_seconds)
    if batch:
        yield batch


def _seconds(piece: Piece) -> float:
    return piece.window.end - piece.window.start if isinstance(piece, Heard) else 0.01
