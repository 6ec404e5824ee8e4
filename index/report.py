"""What each kind of vector index would give for the vectors of an index: measured, side by side."""

import time
from dataclasses import dataclass
from typing import get_args

from m2d_clap.index import kinds
from m2d_clap.index.kinds import Kind, Wish, bytes_a_vector
from m2d_clap.index.recall import drawn, latency, recall, tuned
from m2d_clap.index.store import Index
from m2d_clap.index.vectors import Vectors


@dataclass(frozen=True)
class Measured:
    """recall: @10 against exact search, of a sample of the index's own vectors; bytes: a vector, of
    the part that is searched; p50: seconds of one search; seconds: to build; served: the index is of
    this kind, and was measured as it is."""

    kind: Kind
    recall: float
    bytes: int
    p50: float
    seconds: float | None
    served: bool


def measured(index: Index, wish: Wish) -> list[Measured]:
    """Of every kind that fits into the memory wished for, and of the one that is served."""
    vectors = index.base.vectors
    exact = vectors.exact()
    rows, dim = exact.shape
    questions = drawn(exact)
    found = []
    for kind in get_args(Kind):
        served = kind == vectors.tuning.kind
        if not served and (rows < 2 or bytes_a_vector(kind, dim) * rows > wish.bytes):
            continue
        seconds = None
        tried = vectors
        if not served:
            start = time.perf_counter()
            built, tuning = kinds.empty(kind, rows, dim)
            kinds.fill(built, tuning, exact)
            tuning = tuned(built, tuning, exact)
            seconds = time.perf_counter() - start
            tried = Vectors(built, tuning, None if kind == "flat" else exact)
        reached, p50 = recall(tried, questions), latency(tried, questions)
        found.append(Measured(kind, reached, bytes_a_vector(kind, dim), p50, seconds, served))
    return found
