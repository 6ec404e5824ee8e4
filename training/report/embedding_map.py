"""Embeddings laid out in two dimensions, so that sounds that are alike lie together."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Vectors = NDArray[np.float32]
MOST = 1200
"""Points drawn; of more sounds evenly many are left out."""
FEW = 8
"""Fewer points than this have no neighbourhoods to keep: they are only projected."""


@dataclass(frozen=True)
class Region:
    """A label's points. centre: (x, y) of the one that is nearest to all others.

    together: the share of them whose nearest neighbour among all embeddings has the label too.
    """

    label: str
    members: tuple[int, ...]
    centre: tuple[float, float]
    together: float


@dataclass(frozen=True)
class Map:
    """points: (n, 2), each coordinate 0 … 1, of the sounds numbered in `members`."""

    members: tuple[int, ...]
    points: Vectors
    regions: tuple[Region, ...]
    of: int

    @property
    def together(self) -> float:
        """The share over all labelled points."""
        sizes = [len(region.members) for region in self.regions]
        return float(np.average([region.together for region in self.regions], weights=sizes))


def lay_out(vectors: Vectors, labels: Sequence[str], seed: int = 0) -> Map:
    """vectors: (n, dim), n ≥ 1; labels: one a vector, empty where unknown.

    Cosine neighbourhoods by t-SNE from the principal components; the same for the same seed.
    """
    of = len(vectors)
    members = np.unique(np.linspace(0, of - 1, min(of, MOST)).round().astype(int))
    chosen = vectors[members].astype(np.float64)
    unit = chosen / np.maximum(np.linalg.norm(chosen, axis=1, keepdims=True), 1e-12)
    points = _to_square(_flat(unit, seed))
    cosines = unit @ unit.T
    np.fill_diagonal(cosines, -np.inf)
    nearest = cosines.argmax(axis=1)
    named = np.array([labels[m] for m in members], dtype=object)
    regions = [
        _region(label, np.flatnonzero(named == label), points, named[nearest])
        for label in sorted(set(named) - {""})
    ]
    regions.sort(key=lambda region: (-len(region.members), region.label))
    return Map(tuple(members.tolist()), points, tuple(regions), of)


def _flat(unit: NDArray[np.float64], seed: int) -> NDArray[np.float64]:
    """(n, dim) → (n, 2)."""
    n = len(unit)
    left, size, _ = np.linalg.svd(unit - unit.mean(axis=0), full_matrices=False)
    components = np.zeros((n, max(2, min(50, len(size)))))
    components[:, : min(50, len(size))] = (left * size)[:, :50]
    if n < FEW or components[:, 0].std() < 1e-9:
        return components[:, :2]
    from sklearn.manifold import TSNE  # a second to import

    start = components[:, :2] / components[:, 0].std() * 1e-4
    tsne = TSNE(
        perplexity=min(30.0, (n - 1) / 3),
        init=start.astype(np.float32),
        learning_rate="auto",
        random_state=seed,
        n_jobs=1,
    )
    return np.asarray(tsne.fit_transform(components), dtype=np.float64)


def _to_square(points: NDArray[np.float64]) -> Vectors:
    low, high = points.min(axis=0), points.max(axis=0)
    square: Vectors = ((points - low) / np.where(high > low, high - low, 1.0)).astype(np.float32)
    return square


def _region(
    label: str, members: NDArray[np.int64], points: Vectors, neighbour: NDArray[np.object_]
) -> Region:
    own = points[members]
    apart = np.linalg.norm(own[:, None] - own[None], axis=-1).sum(axis=1)
    x, y = own[apart.argmin()].tolist()
    together = float(np.mean(neighbour[members] == label))
    return Region(label, tuple(members.tolist()), (x, y), together)
