"""Retrieval and zero-shot scores from a matrix of similarities."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Scores = NDArray[np.float32]
Truth = NDArray[np.bool_]

AT_ONCE = 1 << 21
"""Scores that are ranked together: about 80 MB of memory, however many there are."""


@dataclass(frozen=True)
class Retrieval:
    """Over `n` queries. recall: share with a right item among the first k; median_rank: of the
    first right item, from 1; mean_ap: mean average precision over the whole ranking; map_10: the
    mean of 1 / rank of the first right item where it is among the first ten."""

    n: int
    recall_1: float
    recall_5: float
    recall_10: float
    median_rank: float
    mean_ap: float
    map_10: float


def retrieval(scores: Scores, truth: Truth) -> Retrieval:
    """scores, truth: (queries, items); every query has at least one right item."""
    size = max(1, AT_ONCE // scores.shape[1])
    starts = range(0, len(scores), size)
    blocks = [
        _ranked(scores[start : start + size], truth[start : start + size]) for start in starts
    ]
    first = np.concatenate([found for found, _ in blocks])
    average = np.concatenate([found for _, found in blocks])
    return Retrieval(
        n=len(scores),
        recall_1=float((first <= 1).mean()),
        recall_5=float((first <= 5).mean()),
        recall_10=float((first <= 10).mean()),
        median_rank=float(np.median(first)),
        mean_ap=float(average.mean()),
        map_10=float(np.where(first <= 10, 1 / first, 0).mean()),
    )


def _ranked(scores: Scores, truth: Truth) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Of each query the place of the first right item, from 1, and the average precision."""
    order = np.argsort(-scores, axis=1, kind="stable")
    right = np.take_along_axis(truth, order, axis=1)
    places = np.arange(1, right.shape[1] + 1)
    precision = right.cumsum(axis=1) / places
    return right.argmax(axis=1) + 1, (precision * right).sum(axis=1) / right.sum(axis=1)


def accuracy(scores: Scores, classes: NDArray[np.int64]) -> float:
    """Share of items (rows) whose best class (column) is theirs."""
    return float((scores.argmax(axis=1) == classes).mean())


def average_precision(scores: Scores, truth: Truth) -> NDArray[np.float64]:
    """Average precision of every class (column) over all items (rows), (classes,).

    Items of equal score enter together, so that their order does not matter. NaN for a class
    without a right item. scores, truth: (items, classes).
    """
    order = np.argsort(-scores, axis=0, kind="stable")
    ranked = np.take_along_axis(scores, order, axis=0)
    right = np.take_along_axis(truth, order, axis=0)
    places = np.arange(len(scores))[:, None]
    ends = np.where(np.diff(ranked, axis=0) != 0, places[:-1], len(scores) - 1)
    ends = np.concatenate([ends, np.full_like(ends[:1], len(scores) - 1, shape=right[:1].shape)])
    ends = np.minimum.accumulate(ends[::-1], axis=0)[::-1]
    precision = np.take_along_axis(right.cumsum(axis=0), ends, axis=0) / (ends + 1)
    positives = right.sum(axis=0)
    summed = (precision * right).sum(axis=0)
    found = np.full(len(summed), np.nan)
    np.divide(summed, positives, out=found, where=positives > 0)
    return found


def mean_average_precision(scores: Scores, truth: Truth) -> float:
    """The mean over the classes that some item has (macro), or 0 where no class has one."""
    chosen = truth.any(axis=0)
    if not chosen.any():
        return 0.0
    return float(average_precision(scores[:, chosen], truth[:, chosen]).mean())
