"""Pieces of sounds → rows of the catalogue, a batch at a time."""

from collections.abc import Generator, Sequence
from contextlib import closing

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from m2d_clap.index.ahead import ahead
from m2d_clap.index.busy import Busy
from m2d_clap.index.catalogue import Catalogue
from m2d_clap.index.errors import LibraryIndexError
from m2d_clap.index.reading import Broken, Heard, Piece, Whole
from m2d_clap.index.windows import Embedded, Window
from m2d_clap.model import Clap, Waveform


def embed(cut: Sequence[Window], clap: Clap) -> NDArray[np.float32]:
    """Unit vectors (windows, dim).

    Lengths may differ: the encoder batches equal ones and pads none. Raises LibraryIndexError
    where the model gives something that is not a number.
    """
    rate = clap.config.front_end.sample_rate
    waves = [Waveform(window.samples, rate) for window in cut]
    return unit(clap.embed_audio(waves))


def unit(embeddings: Tensor) -> NDArray[np.float32]:
    """(windows, dim) of length one. Raises LibraryIndexError where some are no numbers."""
    vectors: NDArray[np.float32] = embeddings.cpu().numpy()
    if not np.isfinite(vectors).all():
        raise LibraryIndexError(
            "the checkpoint gives embeddings that are not numbers: choose another --checkpoint"
        )
    vectors /= np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)
    return vectors


Batch = Sequence[Piece]
Encoded = tuple[Batch, Sequence[NDArray[np.float32]]]
"""Pieces, and a unit vector of each Heard among them."""


def encoded(
    batches: Generator[Batch, None, None], clap: Clap, busy: Busy
) -> Generator[Encoded, None, None]:
    """Batches in order: while one is written the next is encoded, the one behind it turned into
    log-mels, and others are read. Close it to stop all that."""
    mels = ahead(iter([_log_mels(batches, clap, busy)]), 1, 1, lambda _: 1.0)
    with closing(ahead(iter([_encodings(mels, clap, busy)]), 1, 1, lambda _: 1.0)) as done:
        yield from done


def _log_mels(
    batches: Generator[Batch, None, None], clap: Clap, busy: Busy
) -> Generator[tuple[Batch, list[Tensor]], None, None]:
    rate = clap.config.front_end.sample_rate
    with closing(batches):
        for pieces in batches:
            with busy.at("log-mel"):
                heard = [piece.window.samples for piece in pieces if isinstance(piece, Heard)]
                mels = [clap.log_mel(Waveform(samples, rate)) for samples in heard]
            yield [_light(piece) for piece in pieces], mels


def _light(piece: Piece) -> Piece:
    """Without the samples, which nobody needs any more."""
    if not isinstance(piece, Heard):
        return piece
    window = Window(piece.window.start, piece.window.end, np.zeros(0, np.float32))
    return Heard(piece.file, piece.clip, piece.position, window, piece.read)


def _encodings(
    mels: Generator[tuple[Batch, list[Tensor]], None, None], clap: Clap, busy: Busy
) -> Generator[Encoded, None, None]:
    with closing(mels):
        for pieces, batch in mels:
            with busy.at("encode"):
                vectors = list(unit(clap.project(clap.grids(batch)))) if batch else []
            yield pieces, vectors


def write(pieces: Batch, vectors: Sequence[NDArray[np.float32]], catalogue: Catalogue) -> None:
    """Writes pieces and the vectors of the windows among them in one transaction."""
    heard = [piece for piece in pieces if isinstance(piece, Heard)]
    whole = [piece for piece in pieces if isinstance(piece, Whole)]
    catalogue.add(
        windows=[
            (piece.clip, piece.position, Embedded(piece.window.start, piece.window.end, vector))
            for piece, vector in zip(heard, vectors, strict=True)
        ],
        clips=[(piece.clip, piece.seconds) for piece in whole if piece.seconds is not None],
        files=[(piece.file, piece.clip) for piece in whole],
        broken=[(p.file, p.reason) for p in pieces if isinstance(p, Broken) and p.lasting],
        facts=[(p.clip, p.sha256, p.facts) for p in whole if p.seconds is not None],
        headers=[(p.clip, p.sha256, p.facts) for p in whole if p.seconds is None],
    )
