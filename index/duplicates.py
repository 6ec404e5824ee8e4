"""Sounds of a library that are nearly the same."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from m2d_clap.index.clips import Clip
from m2d_clap.index.interface import SearchIndex

AT_LEAST = 0.98
LEAST = 0.5
"""Below it, sounds of one kind hang together, not copies of one sound."""
_BLOCK = 1024  # clips; what two blocks of them have in common takes less than 100 MB
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
    hangs, lowest = _together(means, at_least)
    members: dict[int, list[Clip]] = {}
    for group, clip in zip(hangs.tolist(), index.clips, strict=True):
        members.setdefault(group, []).append(clip)
    groups = [
        Group(tuple(found), round(float(lowest[group]), 6))
        for group, found in members.items()
        if sum(len(clip.paths) for clip in found) > 1
    ]
    return sorted(groups, key=lambda g: (-sum(len(c.paths) for c in g.clips), g.clips[0].path))


def _together(
    means: NDArray[np.float32], at_least: float
) -> tuple[NDArray[np.int32], NDArray[np.float32]]:
    """(clips,): the number of each one's group; by that number, the lowest cosine that counts."""
    group: NDArray[np.int32] = np.arange(len(means), dtype=np.int32)
    lowest = np.ones(len(means), np.float32)
    for start in range(0, len(means), _BLOCK):
        block = means[start : start + _BLOCK]
        least = lowest[start : start + _BLOCK]
        for other in range(start, len(means), _BLOCK):
            cosines = block @ means[other : other + _BLOCK].T
            near = cosines > at_least - _ROUNDING
            if other == start:
                near = np.triu(near, 1)
            if near.any():
                np.minimum(least, np.where(near, cosines, 1).min(axis=1), out=least)
                one, two = np.nonzero(near)
                group = _joined(group, group[start + one], group[other + two])
    of_groups = np.ones(len(means), np.float32)
    np.minimum.at(of_groups, group, lowest)
    return group, of_groups


def _joined(
    group: NDArray[np.int32], one: NDArray[np.int32], other: NDArray[np.int32]
) -> NDArray[np.int32]:
    """The number of each clip's group, where these groups are the same, pair by pair."""
    if not (apart := one != other).any():
        return group
    from scipy.sparse import coo_array  # which other commands need not wait for
    from scipy.sparse.csgraph import connected_components

    pairs = (one[apart], other[apart])
    links = coo_array((np.ones(len(pairs[0]), np.float32), pairs), shape=(len(group), len(group)))
    _, joined = connected_components(links, directed=False)
    return joined[group]
