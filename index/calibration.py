"""Cosine → relevance, 0 … 1: a map learned from an index, for people to read.

Cosines of a contrastive model lie close together (matched pairs of the published M2D-CLAP average
0.33, others 0.22) and differently for every model and library. Two crowds of cosines are taken from
the index itself: those of **unrelated** pairs (any two drawn at random) and those of **closest**
pairs (each sound of a sample with what is nearest to it). With both crowds taken as normal and
equally wide, the chance that a cosine belongs to the closest, were both equally frequent, is a
logistic function of it; that is the relevance.

So 0.5 lies half-way between a random pair and the best that this library usually has, near 1 is as
good as its best, near 0 is like anything. It is no probability that a person would agree: nobody's
judgement went into it, and where a library holds nothing that fits any sentence, its best is still
called so. It never changes the order of one query's hits.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

SAMPLE = 1024
_NARROWEST = 1e-4  # standard deviation of cosines; below it float32's own noise would be learned
_SEED = 8


@dataclass(frozen=True)
class Calibration:
    """relevance = 1 / (1 + exp(−(slope · cosine + offset))); slope ≥ 0."""

    slope: float
    offset: float

    def log_odds(self, cosine: float) -> float:
        return self.slope * cosine + self.offset

    def relevance(self, cosine: float) -> float:
        """0 … 1; never falls when the cosine rises."""
        return squash(self.log_odds(cosine))


def squash(log_odds: float) -> float:
    """The logistic function, 0 … 1."""
    return float(1.0 / (1.0 + np.exp(-np.clip(log_odds, -500.0, 500.0))))


def of_sounds(vectors: NDArray[np.float32], clips: NDArray[np.int64]) -> Calibration | None:
    """Between sounds: closest is the nearest window of another clip. None with fewer than 3 clips.

    vectors: (windows, dim) of unit length; clips: (windows,) whose each is.
    """
    if len(np.unique(clips)) < 3:
        return None
    cosines = vectors @ vectors.T
    other = clips[:, None] != clips[None, :]
    return _between(cosines[other], np.where(other, cosines, -np.inf).max(axis=1))


def of_sentences(
    vectors: NDArray[np.float32], sentences: NDArray[np.float32]
) -> Calibration | None:
    """Between sounds and sentences: closest is the best sentence of each window.

    vectors: (windows, dim), sentences: (sentences, dim), of unit length. None where there are no
    windows, or fewer than 3 sentences.
    """
    if not len(vectors) or len(sentences) < 3:
        return None
    cosines = vectors @ sentences.T
    return _between(cosines.ravel(), cosines.max(axis=1))


def drawn(rows: int, most: int = SAMPLE) -> Sequence[int]:
    """Which rows of an index stand for all: at most `most`, the same at every call, ascending."""
    if rows <= most:
        return range(rows)
    chosen = np.random.default_rng(_SEED).choice(rows, most, replace=False)
    return sorted(int(row) for row in chosen)


def _between(unrelated: NDArray[np.float32], closest: NDArray[np.float32]) -> Calibration:
    """Equal-variance normal crowds: the log-odds between them are linear."""
    low, high = float(unrelated.mean(dtype=np.float64)), float(closest.mean(dtype=np.float64))
    spread = np.sqrt((unrelated.var(dtype=np.float64) + closest.var(dtype=np.float64)) / 2)
    variance = max(float(spread), _NARROWEST) ** 2
    slope = max(high - low, 0.0) / variance
    return Calibration(slope, -slope * (low + high) / 2)
