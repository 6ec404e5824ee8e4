"""What a search is asked and what it gives, whatever engine answers it."""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from m2d_clap.index.clips import Clip
from m2d_clap.index.errors import LibraryIndexError


@dataclass(frozen=True)
class Hit:
    """A clip, the cosine of its best window, where that lies, in seconds, and its row: the engine's
    own number of the window."""

    clip: Clip
    score: float
    start: float
    end: float
    row: int = -1


@dataclass(frozen=True)
class Place:
    """Where a list of hits was left off: the last one's score and id, and how many came so far."""

    score: float
    clip: str
    passed: int


def unit_query(embedding: NDArray[np.float32], dim: int) -> NDArray[np.float32]:
    """(1, dim) of unit length. Raises LibraryIndexError where the embedding is of another length, or
    not finite."""
    query = np.ascontiguousarray(embedding, np.float32).reshape(1, -1)
    if query.shape[1] != dim:
        raise LibraryIndexError(f"the query has {query.shape[1]} numbers, not {dim}")
    length = _length(query)
    if not math.isfinite(length):
        raise LibraryIndexError("the query holds numbers that are not finite: embed it again")
    return _divided(query, length)


def unit(vector: NDArray[np.float32]) -> NDArray[np.float32]:
    """Of length one; nothing stays nothing."""
    return _divided(vector, _length(vector))


def mean_of(
    times: NDArray[np.float64], vectors: NDArray[np.float32], at: float | None
) -> NDArray[np.float32]:
    """(dim,), of unit length: of a clip's windows, as SearchIndex.vector tells."""
    if at is not None:
        begun = int(np.searchsorted(times[:, 0], at, "right"))
        vectors = vectors[[max(begun - 1, 0)]]
    return unit(vectors.mean(axis=0))


def units(vectors: NDArray[np.float32]) -> NDArray[np.float32]:
    """(vectors, dim), each of length one; what is nothing stays nothing."""
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    return np.asarray(vectors / np.maximum(lengths, 1e-12), np.float32)


def _length(vector: NDArray[np.float32]) -> float:
    square = float(np.vdot(vector, vector))
    if 1e-30 < square < math.inf:
        return math.sqrt(square)
    wide = vector.astype(np.float64)  # float32 holds no such square
    return math.sqrt(float(np.vdot(wide, wide)))


def _divided(vector: NDArray[np.float32], length: float) -> NDArray[np.float32]:
    return np.asarray(vector / max(length, 1e-12), np.float32)
