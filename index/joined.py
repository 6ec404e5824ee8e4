"""The rows of a generation and, behind them, those of what came since: numbered as one."""

from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from m2d_clap.index.base import Base
from m2d_clap.index.columns import Mask
from m2d_clap.index.delta import Delta
from m2d_clap.index.hits import units
from m2d_clap.index.vectors import Chosen, Numbers, Scores

_TOGETHER = 8192
"""Vectors in memory at a time, where all are gone through."""

_Number = TypeVar("_Number", np.int64, np.float64)


@dataclass(frozen=True)
class Admitted:
    """What a search may find. base: None where all of it may be; delta: (rows,)."""

    base: Chosen | None
    base_rows: int
    delta: Mask
    delta_rows: int


class Joined:
    """Rows and clips have numbers: those of the generation first, then those of what came since."""

    def __init__(self, base: Base, delta: Delta) -> None:
        self.dim = base.vectors.dim
        self._base = base
        self._delta = delta
        self._later_owners = delta.owners + len(base.clips)

    def __len__(self) -> int:
        return len(self._base.owners) + len(self._delta.owners)

    def vectors(self, rows: Numbers) -> NDArray[np.float32]:
        """(rows, dim): of unit length."""
        first = len(self._base.owners)
        later = rows >= first
        if not later.any():
            return self._base.vectors.rows(rows)
        found = np.empty((len(rows), self.dim), np.float32)
        found[~later] = self._base.vectors.rows(rows[~later])
        found[later] = self._delta.vectors[rows[later] - first]
        return found

    def owners(self, rows: Numbers) -> Numbers:
        """(rows,): the number of the clip that each belongs to."""
        return _either(self._base.owners, self._later_owners, rows)

    def times(self, rows: Numbers) -> NDArray[np.float64]:
        """(rows, 2): start and end in seconds."""
        return _either(self._base.times, self._delta.times, rows)

    def of_clips(self, clips: Numbers) -> Numbers:
        """(rows,): those of some clips, one clip's after the other's, each in order."""
        return _rows(*self._spans(clips))

    def means(self, clips: Numbers) -> NDArray[np.float32]:
        """(clips, dim): of each clip's vectors, of unit length."""
        first, count = self._spans(clips)
        rows, places = _rows(first, count), np.repeat(np.arange(len(clips)), count)
        sums = np.zeros((len(clips), self.dim), np.float32)
        for at in range(0, len(rows), _TOGETHER):
            part = slice(at, at + _TOGETHER)
            np.add.at(sums, places[part], self.vectors(rows[part]))
        return units(sums)

    def nearest(
        self, query: NDArray[np.float32], fetch: int, admitted: Admitted
    ) -> list[tuple[Scores, Numbers]]:
        """(scores, rows) nearest to a query (1, dim), best first, of the generation and of the rest."""
        base = self._base.vectors.nearest(query, fetch, admitted.base)
        if not admitted.delta_rows:
            return [base]
        scores, rows = self._delta.nearest(query[0], fetch, admitted.delta)
        return [base, (scores, rows + len(self._base.owners))]

    def _spans(self, clips: Numbers) -> tuple[Numbers, Numbers]:
        """(clips,) first rows, and how many there are: rows lie clip by clip."""
        later = clips >= len(self._base.clips)
        first, end = np.empty_like(clips), np.empty_like(clips)
        for side, found in (("left", first), ("right", end)):
            found[~later] = np.searchsorted(self._base.owners, clips[~later], side)  # type: ignore[call-overload]
            found[later] = np.searchsorted(self._later_owners, clips[later], side)  # type: ignore[call-overload]
            found[later] += len(self._base.owners)
        return first, end - first


def _rows(first: Numbers, count: Numbers) -> Numbers:
    """The rows of spans, one span after the other."""
    before = np.cumsum(count) - count
    return np.repeat(first - before, count) + np.arange(count.sum())


def _either(base: NDArray[_Number], delta: NDArray[_Number], rows: Numbers) -> NDArray[_Number]:
    """Of what the generation holds, and behind it what came since, some rows."""
    if not len(delta):
        return base.take(rows, axis=0)
    later = rows >= len(base)
    found = np.empty((len(rows), *base.shape[1:]), base.dtype)
    found[~later] = base[rows[~later]]
    found[later] = delta[rows[later] - len(base)]
    return found
