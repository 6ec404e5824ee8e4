"""Search by brute force: the reference that the tests hold the fast one to."""

import numpy as np
from numpy.typing import NDArray


def best_clips(
    vectors: NDArray[np.float32], clips: NDArray[np.int64], query: NDArray[np.float32], k: int
) -> list[tuple[int, float, int]]:
    """The k clips nearest to a query: (clip, cosine of its best row, that row), best first.

    vectors: (rows, dim) of unit length; clips: (rows,) whose row it is; query: (dim,), of any
    length. Of equal scores the lower number comes first.
    """
    length = max(float(np.linalg.norm(query.astype(np.float64))), 1e-12)
    scores = vectors.astype(np.float64) @ (query.astype(np.float64) / length)
    found = []
    for clip in np.unique(clips):
        rows = np.flatnonzero(clips == clip)
        best = rows[np.argmax(scores[rows])]
        found.append((int(clip), float(scores[best]), int(best)))
    return sorted(found, key=lambda hit: (-hit[1], hit[0]))[:k]
