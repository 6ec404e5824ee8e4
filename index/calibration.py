"""Cosine → relevance, 0 … 1: a map learned from an index, for people to read.

Cosines of a contrastive model lie close together (matched pairs of the published M2D-CLAP average
0.33, others 0.22) and differently for every model and library. Two crowds of cosines are taken
from the index itself: those of **unrelated** pairs (any two drawn at random) and those of **closest**
pairs (each sound of a sample with what is nearest to it: of the built-in labels' sentences, or of the
other clips' sounds). A relevance of 0.1 is what one unrelated pair in forty reaches, 0.9 what the
closest pairs have on average; a logistic curve goes through the two.

So below 0.1 two have nothing to do with each other as far as this model can tell, and 0.9 is as good a
match as this library usually has. It is no probability that a person would agree: nobody's judgement
went into it, and where a library holds nothing that fits any sentence, its closest pairs are called
close all the same. It never changes the order of one query's hits.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

SAMPLE = 1024
_ONE_IN = 1 / 40
_ODDS = float(np.log(9))  # log-odds of 0.9
_NARROWEST = 1e-4  # between cosines; below it float32's own noise would be learned
_SEED = 8


@dataclass(frozen=True)
class Calibration:
    """relevance = 1 / (1 + exp(−(slope · cosine + offset))); slope > 0."""

    slope: float
    offset: float

    def log_odds(self, cosine: float) -> float:
        return self.slope * cosine + self.offset

    def relevance(self, cosine: float) -> float:
        """0 … 1; never falls when the cosine rises."""
        return squash(self.log_odds(cosine))


def squash(log_odds: float) -> float:
    """The logistic function, 0 … 1."""
    return 1.0 / (1.0 + math.exp(-min(max(log_odds, -500.0), 500.0)))


def of_sounds(vectors: NDArray[np.float32], clips: NDArray[np.int64]) -> Calibration | None:
    """Between sounds: closest is the nearest window of another clip. None with fewer than 3 clips.

    vectors: (windows, dim) of unit length; clips: (windows,) whose each is.
    """
    if len(np.unique(clips)) < 3:
        return None
    other = clips[:, None] != clips[None, :]
    cosines = vectors @ vectors.T
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
    """The logistic curve through both anchors; of crowds that overlap it is no steeper than the
    unrelated one is narrow."""
    low = float(np.quantile(unrelated, 1 - _ONE_IN))
    apart = max(float(unrelated.std(dtype=np.float64)) / 4, _NARROWEST)
    high = max(float(closest.mean(dtype=np.float64)), low + apart)
    slope = 2 * _ODDS / (high - low)
    return Calibration(slope, -slope * (low + high) / 2)
