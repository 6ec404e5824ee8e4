"""What came and went since a generation was made: few sounds, kept in memory and searched exactly."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from m2d_clap.index.changes import Added
from m2d_clap.index.clips import Clips
from m2d_clap.index.columns import Mask


@dataclass(frozen=True)
class Delta:
    """seq: the last change it holds; touched: every sound that came, went or was replaced; clips:
    those of them that are there; owners: (rows,) numbers among these; times: (rows, 2) seconds;
    vectors: (rows, dim)."""

    seq: int
    touched: frozenset[str]
    clips: Clips
    owners: NDArray[np.int64]
    times: NDArray[np.float64]
    vectors: NDArray[np.float32]

    @classmethod
    def none(cls, seq: int, dim: int) -> "Delta":
        rows = np.zeros(0, np.int64), np.zeros((0, 2)), np.zeros((0, dim), np.float32)
        return cls(seq, frozenset(), Clips.of(()), *rows)

    def after(self, changes: Mapping[str, Added | None], seq: int) -> "Delta":
        """With later changes, up to `seq`, on top."""
        there = {clip.id: (clip, self._rows(n)) for n, clip in enumerate(self.clips)}
        for clip, added in changes.items():
            there.pop(clip, None)
            if added is not None and added.windows:
                times = np.array([(w.start, w.end) for w in added.windows], np.float64)
                there[clip] = added.clip, (times, np.stack([w.vector for w in added.windows]))
        ordered = sorted(there.values(), key=lambda one: one[0].path)
        rows = [one[1] for one in ordered]
        dim = self.vectors.shape[1]
        return Delta(
            seq,
            self.touched | changes.keys(),
            Clips.of([clip for clip, _ in ordered]),
            np.repeat(np.arange(len(rows)), [len(times) for times, _ in rows]),
            np.concatenate([np.zeros((0, 2)), *(times for times, _ in rows)]),
            np.concatenate([np.zeros((0, dim), np.float32), *(v for _, v in rows)]),
        )

    def nearest(
        self, query: NDArray[np.float32], fetch: int, admitted: Mask
    ) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        """(scores, rows) of the `fetch` admitted rows nearest to a query (dim,), best first."""
        rows = np.flatnonzero(admitted)
        scores = self.vectors[rows] @ query
        best = np.argsort(-scores, kind="stable")[:fetch]
        return scores[best], rows[best]

    def _rows(self, number: int) -> tuple[NDArray[np.float64], NDArray[np.float32]]:
        mine = self.owners == number
        return self.times[mine], self.vectors[mine]
