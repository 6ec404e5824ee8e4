"""From rows to hits: the best row of each clip, in order, from where the asker left off."""

import math
from collections.abc import Callable, Iterable

from m2d_clap.index.hits import Place

Found = tuple[float, int, int]
"""Of a row that a search found: its negative score, so that the best sorts first, its number, and the
number of its clip."""


def ranked(
    found: Iterable[Found],
    name: Callable[[int], str],
    k: int,
    least: float | None,
    after: Place | None,
    leave_out: frozenset[str],
) -> list[Found]:
    """The first k clips, each by its best row; equals by id. name: a clip's id, by its number."""
    best: dict[int, Found] = {}
    for each in sorted(found):
        best.setdefault(each[2], each)
    near = [
        each
        for each in best.values()
        if (least is None or -each[0] >= least) and (after is None or -each[0] <= after.score)
    ]
    most = k + len(leave_out)
    if after is not None:
        most += sum(-each[0] == after.score for each in near) + 1
    if len(near) > most:  # only those that can be among the first need a name
        last = near[most - 1][0]
        near = [each for each in near if each[0] <= last]
    passed = (-math.inf, "") if after is None else (-after.score, after.clip)
    named = sorted((each[0], name(each[2]), each) for each in near)
    return [
        each
        for lost, clip, each in named
        if (lost, clip) > passed and clip != passed[1] and clip not in leave_out
    ][:k]
