"""Pieces of sounds → rows of the catalogue, a batch at a time."""

from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

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
    vectors: NDArray[np.float32] = clap.embed_audio(waves).cpu().numpy()
    if not np.isfinite(vectors).all():
        raise LibraryIndexError(
            "the checkpoint gives embeddings that are not numbers: choose another --checkpoint"
        )
    vectors /= np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)
    return vectors


def write(pieces: Sequence[Piece], clap: Clap, catalogue: Catalogue) -> None:
    """Embeds the windows among the pieces and writes all of them in one transaction."""
    heard = [piece for piece in pieces if isinstance(piece, Heard)]
    whole = [piece for piece in pieces if isinstance(piece, Whole)]
    vectors: Iterable[NDArray[np.float32]] = ()
    if heard:
        vectors = embed([piece.window for piece in heard], clap)
    catalogue.add(
        windows=[
            (piece.clip, piece.position, Embedded(piece.window.start, piece.window.end, vector))
            for piece, vector in zip(heard, vectors, strict=True)
        ],
        clips=[(piece.clip, piece.seconds) for piece in whole if piece.seconds is not None],
        files=[(piece.file, piece.clip) for piece in whole],
        broken=[(p.file, p.reason) for p in pieces if isinstance(p, Broken) and p.lasting],
    )
