"""How each class fares, and what it is taken for."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from m2d_clap.training.metrics import Scores, Truth, average_precision

Metric = Literal["accuracy", "average precision"]
MATRIX = 14
"""Classes in the picture of confusions."""
PAIRS = 14


@dataclass(frozen=True)
class ClassScore:
    """value: the share of the class's n clips that are found, or its average precision."""

    name: str
    n: int
    value: float


@dataclass(frozen=True)
class Pair:
    """n of the `of` clips of one class were taken for another."""

    own: str
    taken: str
    n: int
    of: int


@dataclass(frozen=True)
class Confusion:
    """Of the classes most often taken for one another.

    counts: a row a class, a column a class it was taken for and, last, all other classes. A clip
    of several classes that was taken for one of them counts as right for all.
    """

    names: tuple[str, ...]
    counts: tuple[tuple[int, ...], ...]
    totals: tuple[int, ...]
    pairs: tuple[Pair, ...]


@dataclass(frozen=True)
class Classes:
    """scores: of the classes that have a clip, best first; clips: how many were scored."""

    metric: Metric
    scores: tuple[ClassScore, ...]
    clips: int
    confusion: Confusion

    @property
    def mean(self) -> float:
        """Over classes."""
        return float(np.mean([score.value for score in self.scores]))


def per_class(names: Sequence[str], scores: Scores, truth: Truth, metric: Metric) -> Classes:
    """scores, truth: (clips, classes), at least one class has a clip."""
    counts = confusions(scores, truth)
    totals = truth.sum(axis=0)
    if metric == "accuracy":
        taken = scores.argmax(axis=1)
        found = np.bincount(taken[truth[np.arange(len(truth)), taken]], minlength=len(names))
        values = found / np.maximum(totals, 1)
    else:
        values = average_precision(scores, truth)
    listed = [
        ClassScore(name, int(n), float(value))
        for name, n, value in zip(names, totals, values, strict=True)
        if n
    ]
    listed.sort(key=lambda score: (-score.value, -score.n, score.name))
    return Classes(metric, tuple(listed), len(scores), _picked(names, counts, totals))


def confusions(scores: Scores, truth: Truth) -> np.ndarray:
    """(classes, classes) int: clips of the row's class whose highest class is the column's."""
    taken = scores.argmax(axis=1)
    right = truth[np.arange(len(truth)), taken]
    counts = np.zeros((truth.shape[1],) * 2, dtype=np.int64)
    clips, own = np.nonzero(truth)
    np.add.at(counts, (own, np.where(right[clips], own, taken[clips])), 1)
    return counts


def _picked(names: Sequence[str], counts: np.ndarray, totals: np.ndarray) -> Confusion:
    wrong = counts.copy()
    np.fill_diagonal(wrong, 0)
    own, taken = np.nonzero(wrong)
    n = wrong[own, taken]
    order = np.lexsort((taken, own, -n / np.maximum(totals[own], 1), -n))
    pairs = [
        Pair(names[o], names[t], int(wrong[o, t]), int(totals[o]))
        for o, t in zip(own[order], taken[order], strict=True)
    ]
    chosen: list[int] = []
    for o, t in zip(own[order].tolist(), taken[order].tolist(), strict=True):
        new = [c for c in (o, t) if c not in chosen]
        if len(chosen) + len(new) <= MATRIX:
            chosen += new
    inside = counts[np.ix_(chosen, chosen)]
    others = counts[chosen].sum(axis=1) - inside.sum(axis=1)
    return Confusion(
        names=tuple(names[c] for c in chosen),
        counts=tuple((*row, int(rest)) for row, rest in zip(inside.tolist(), others, strict=True)),
        totals=tuple(int(totals[c]) for c in chosen),
        pairs=tuple(pairs[:PAIRS]),
    )
