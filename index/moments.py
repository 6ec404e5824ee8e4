"""From the best window of a recording to its other moments."""

from collections.abc import Callable, Iterable, Sequence

from m2d_clap.index.clips import Clip
from m2d_clap.index.hits import Hit

_BESIDE = 2
"""Windows that are looked at beyond those wanted: the hit's own again, and a recording's last one,
which alone overlaps another."""


def moments_of(
    hits: Sequence[Hit],
    nearest: Callable[[Sequence[Clip], int], Sequence[Iterable[Hit]]],
    most: int,
    least: float | None,
) -> list[list[Hit]]:
    """Of each hit itself and the best other windows of its clip: see SearchIndex.moments.

    nearest: of each of some clips, all different, the so many windows that are nearest to what was
    asked for, best first.
    """
    long = [hit for hit in hits if not _whole(hit)]
    near = nearest([hit.clip for hit in long], most + _BESIDE) if long else ()
    of_clip = {hit.clip.id: each for hit, each in zip(long, near, strict=True)}
    return [_apart(hit, of_clip.get(hit.clip.id, ()), most, least) for hit in hits]


def _apart(own: Hit, near: Iterable[Hit], most: int, least: float | None) -> list[Hit]:
    kept = [own]
    for hit in near:
        wanted = hit.row != own.row and (least is None or hit.score >= least)
        if wanted and not any(_overlap(hit, better) for better in kept):
            kept.append(hit)
    return kept[:most]


def _whole(hit: Hit) -> bool:
    return hit.start == 0 and hit.end >= hit.clip.seconds


def _overlap(one: Hit, other: Hit) -> bool:
    """By more than half of a window."""
    shared = min(one.end, other.end) - max(one.start, other.start)
    return 2 * shared > one.end - one.start
