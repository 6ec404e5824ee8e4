"""A batch on several cores, each of which works on a part of its own.

One computation spread over the cores waits, many times a layer, for the slowest of them; beside a
server and decoders one always is slow. Parts of a batch wait for each other once, at the end.
"""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import torch

from m2d_clap.service.stages import Stages

Encode = Callable[[Sequence[Any], Stages], list[Any]]


class Lanes:
    """count: cores to use. Every part computes on one of them."""

    def __init__(self, count: int) -> None:
        self._count = count
        self._pool = ThreadPoolExecutor(count, "lane", torch.set_num_threads, (1,))

    def encode(
        self, encode: Encode, items: Sequence[Any], costs: Sequence[float], stages: Stages
    ) -> list[Any]:
        """What `encode` makes of each item, in order. Raises what it raises for any part.

        stages: told what the parts took, as if they had followed each other on all cores.
        """
        parts = shares(costs, self._count)
        watches = [Stages() for _ in parts]
        gathered = ([items[at] for at in part] for part in parts)
        made: list[Any] = [None] * len(items)
        for part, done in zip(parts, self._pool.map(encode, gathered, watches), strict=True):
            for at, one in zip(part, done, strict=True):
                made[at] = one
        for watch in watches:
            for stage, seconds in watch.seconds.items():
                stages.seconds[stage] += seconds / len(parts)
        return made


def shares(costs: Sequence[float], count: int) -> list[list[int]]:
    """Places of the items, in at most so many parts of about the same cost, none empty.

    Alike costs stay together, as what is encoded together is padded to the longest.
    """
    order = np.argsort(costs, kind="stable")
    middles = np.cumsum(np.asarray(costs)[order]) - np.asarray(costs)[order] / 2
    part = np.minimum(middles * count // max(float(np.sum(costs)), 1e-9), count - 1)
    return [places.tolist() for number in range(count) if len(places := order[part == number])]
