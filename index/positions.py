"""Vectors → points of a plane, so that a person sees which sounds are alike.

A few hundred centres (k-means) are laid out by t-SNE, which keeps neighbours together and pushes the
rest apart; every sound then lies among the centres nearest to it. The cost grows with the number of
sounds as k-means does, not as t-SNE.
"""

import math
from collections.abc import Callable

import faiss
import numpy as np
from numpy.typing import NDArray

_CENTRES = 256
_TOGETHER = 64 * _CENTRES
"""Sounds that are looked at together; so many stand for all where centres are looked for."""
_NEAREST = 3
_STEPS = 250
_SEED = 8

Points = NDArray[np.float64]


def positions(count: int, vectors: Callable[[slice], NDArray[np.float32]]) -> Points:
    """(count, 2) in −1 … 1; the same at every call.

    vectors: of a slice of all sounds, their unit vectors (sounds, dim). Few are asked for at a time.
    """
    if count < 3:
        return np.stack([np.linspace(-0.5, 0.5, count), np.zeros(count)], axis=1)
    drawn = _floats(vectors(slice(None, None, math.ceil(count / _TOGETHER))))
    if count <= _CENTRES:
        return _spread(_plane(drawn.astype(np.float64)))
    means = faiss.Kmeans(
        drawn.shape[1],
        _CENTRES,
        niter=10,
        seed=_SEED,
        spherical=True,
        min_points_per_centroid=1,
        max_points_per_centroid=_TOGETHER // _CENTRES,
    )
    means.train(drawn)
    found = np.asarray(means.centroids, np.float32)
    laid = _plane(found.astype(np.float64))
    near = faiss.IndexFlatIP(drawn.shape[1])
    near.add(found)
    # Soft, so that a sound between two centres lies between them; the width is that of the data.
    cosines, _ = near.search(drawn, _NEAREST)
    width = max(float((cosines[:, 0] - cosines[:, -1]).mean()), 1e-6) / 2

    def between(some: slice) -> Points:
        cosines, centres = near.search(_floats(vectors(some)), _NEAREST)
        weights = np.exp((cosines - cosines[:, :1]) / width).astype(np.float64)
        weights /= weights.sum(axis=1, keepdims=True)
        return np.asarray(np.einsum("nk,nkd->nd", weights, laid[centres]))

    starts = range(0, count, _TOGETHER)
    return _spread(np.concatenate([between(slice(at, at + _TOGETHER)) for at in starts]))


def _floats(vectors: NDArray[np.float32]) -> NDArray[np.float32]:
    return np.ascontiguousarray(vectors, np.float32)


def _plane(vectors: NDArray[np.float64]) -> Points:
    """Exact t-SNE (van der Maaten, Hinton 2008) of a few hundred vectors, begun at their first two
    principal components."""
    centred = vectors - vectors.mean(axis=0)
    left, strength, _ = np.linalg.svd(centred, full_matrices=False)
    start = left[:, :2] * strength[:2]
    if start.shape[1] < 2:
        start = np.pad(start, ((0, 0), (0, 2 - start.shape[1])))
    laid: Points = start / max(float(start[:, 0].std()), 1e-12) * 1e-2
    # Equal vectors would stay on one spot for ever.
    laid = laid + np.random.default_rng(_SEED).normal(0, 1e-4, laid.shape)
    wanted = _neighbourhoods(centred)
    speed = np.zeros_like(laid)
    for step in range(_STEPS):
        kernel = 1.0 / (1.0 + _distances(laid))
        np.fill_diagonal(kernel, 0.0)
        stronger = 4.0 if step < 80 else 1.0
        pull = (stronger * wanted - kernel / kernel.sum()) * kernel
        slope = 4.0 * (pull.sum(axis=1, keepdims=True) * laid - pull @ laid)
        speed = (0.5 if step < 80 else 0.8) * speed - len(laid) / 4.0 * slope
        laid = laid + speed
    return laid


def _neighbourhoods(vectors: NDArray[np.float64]) -> NDArray[np.float64]:
    """(n, n): how much each pair belongs together; symmetric, all together 1."""
    count = len(vectors)
    distances = _distances(vectors)
    neighbours = max(2, min(15, (count - 1) // 3))
    # Each sound's own width: the distance of its last neighbour.
    width = np.maximum(np.sort(distances, axis=1)[:, min(neighbours, count - 1)], 1e-12)
    together = np.exp(-2.0 * distances / width[:, None])
    np.fill_diagonal(together, 0.0)
    together /= np.maximum(together.sum(axis=1, keepdims=True), 1e-300)
    both: NDArray[np.float64] = together + together.T
    return np.asarray(both / both.sum())


def _distances(points: Points) -> NDArray[np.float64]:
    """(n, n): squared."""
    squares = (points**2).sum(axis=1)
    apart: NDArray[np.float64] = squares[:, None] + squares[None] - 2.0 * points @ points.T
    return np.maximum(apart, 0.0)


def _spread(laid: Points) -> Points:
    """Fills the square: half its place by value, half by rank, so that no outlier squeezes the rest."""
    span = np.maximum(np.abs(laid - np.median(laid, axis=0)).max(axis=0), 1e-12)
    values = (laid - np.median(laid, axis=0)) / span
    ranks = np.argsort(np.argsort(laid, axis=0, kind="stable"), axis=0, kind="stable")
    mixed: Points = 0.5 * values + 0.5 * (2.0 * ranks / (len(laid) - 1) - 1.0)
    return np.clip(mixed, -1.0, 1.0)
