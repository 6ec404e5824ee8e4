"""Sounds of a library that are nearly the same."""

from collections.abc import Iterator
from dataclasses import dataclass

import faiss
import numpy as np
from numpy.typing import NDArray

from m2d_clap.index.clips import Clip
from m2d_clap.index.interface import SearchIndex

AT_LEAST = 0.98
_BLOCK = 1024
_ROUNDING = 1e-6


@dataclass(frozen=True)
class Group:
    """Clips that hang together, each with one of the others at `cosine` or more; a clip alone is
    one that several files hold byte by byte."""

    clips: tuple[Clip, ...]
    cosine: float


def duplicates(index: SearchIndex, at_least: float = AT_LEAST) -> list[Group]:
    """Groups by the cosines of the clips' mean vectors; the largest first.

    Every pair is compared: with 100,000 clips that is minutes. Clips that chain together are one
    group, though its ends may be less alike than `at_least`.
    """
    means = np.ascontiguousarray(index.means(), np.float32)
    clips = tuple(index.clips)
    above = np.arange(len(clips))
    lowest = np.ones(len(clips), np.float32)
    for one, other, cosine in _pairs(means, at_least):
        a, b = _root(above, one), _root(above, other)
        least = min(lowest[a], lowest[b], np.float32(cosine))
        above[max(a, b)] = min(a, b)
        lowest[min(a, b)] = least
    members: dict[int, list[Clip]] = {}
    for number, clip in enumerate(clips):
        members.setdefault(_root(above, number), []).append(clip)
    groups = [
        Group(tuple(found), round(float(lowest[root]), 6))
        for root, found in members.items()
        if sum(len(clip.paths) for clip in found) > 1
    ]
    return sorted(groups, key=lambda g: (-sum(len(c.paths) for c in g.clips), g.clips[0].path))


def _pairs(means: NDArray[np.float32], at_least: float) -> Iterator[tuple[int, int, float]]:
    if len(means) < 2:
        return
    near = faiss.IndexFlatIP(means.shape[1])
    near.add(means)
    for start in range(0, len(means), _BLOCK):
        block = means[start : start + _BLOCK]
        limits, cosines, others = near.range_search(block, at_least - _ROUNDING)
        for row in range(len(block)):
            for at in range(int(limits[row]), int(limits[row + 1])):
                if (other := int(others[at])) > start + row:
                    yield start + row, other, min(1.0, float(cosines[at]))


def _root(above: NDArray[np.int64], number: int) -> int:
    while above[number] != number:
        above[number] = above[above[number]]
        number = int(above[number])
    return number
