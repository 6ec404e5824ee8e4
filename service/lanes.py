"""Batches on several cores, each of which works on a part of its own.

One computation spread over the cores waits, many times a layer, for the slowest of them; beside a
server and decoders one always is slow. Parts of a batch wait for each other once, at the end; and a
core that is through with its part need not wait at all, if the next batch is there by then.
"""

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from typing import Any

import numpy as np
import torch

from m2d_clap.service.stages import Stages

Encode = Callable[[Sequence[Any], Stages], list[Any]]


class Lanes:
    """count: cores to use. Every part computes on one of them, in the order they were begun in."""

    def __init__(self, count: int) -> None:
        self._count = count
        self._pool = ThreadPoolExecutor(count, "lane", torch.set_num_threads, (1,))
        self._lock = threading.Lock()
        self._waiting = self._working = 0
        self._newest: _Batch | None = None

    @property
    def busy(self) -> bool:
        """Whether anything is being worked on."""
        return self._waiting + self._working > 0

    def begin(
        self,
        encode: Encode,
        items: Sequence[Any],
        costs: Sequence[float],
        stages: Stages,
        room: Callable[[], None] = lambda: None,
    ) -> "Future[list[Any]]":
        """What `encode` makes of each item, in order, or what it raised for any part.

        stages: told what the parts took, as if they had followed each other on all cores. room:
        called when a core has nothing to do, unless that is when the batch is done.
        """
        batch = _Batch(shares(costs, self._count), len(items), stages, room)
        with self._lock:
            self._newest = batch
            self._waiting += len(batch.parts)
        for part in batch.parts:
            self._pool.submit(self._work, partial(encode, [items[at] for at in part]), part, batch)
        return batch.made

    def _work(
        self, encode: Callable[[Stages], list[Any]], part: list[int], batch: "_Batch"
    ) -> None:
        with self._lock:
            self._waiting -= 1
            self._working += 1
        watch = Stages()
        made: dict[int, Any] | Exception
        try:
            made = dict(zip(part, encode(watch), strict=True))
        except Exception as error:  # noqa: BLE001  (whatever it is, who asked is told)
            made = error
        with self._lock:
            self._working -= 1
            batch.keep(made, watch)
            done = not batch.left
            newest = self._newest if not self._waiting else None
            if newest is not None:
                self._newest = None
        if newest is not None and not (done and newest is batch):
            newest.room()
        if done:
            batch.end()


class _Batch:
    def __init__(
        self, parts: list[list[int]], size: int, stages: Stages, room: Callable[[], None]
    ) -> None:
        self.parts, self.room = parts, room
        self.left = len(parts)
        self.made: Future[list[Any]] = Future()
        self._items: list[Any] = [None] * size
        self._stages = stages
        self._error: Exception | None = None

    def keep(self, made: dict[int, Any] | Exception, watch: Stages) -> None:
        self.left -= 1
        if isinstance(made, Exception):
            self._error = made
            return
        for at, one in made.items():
            self._items[at] = one
        for stage, seconds in watch.seconds.items():
            self._stages.seconds[stage] += seconds / len(self.parts)

    def end(self) -> None:
        if self._error is not None:
            self.made.set_exception(self._error)
        else:
            self.made.set_result(self._items)


def shares(costs: Sequence[float], count: int) -> list[list[int]]:
    """Places of the items, in at most so many parts of about the same cost, none empty.

    Alike costs stay together, as what is encoded together is padded to the longest.
    """
    order = np.argsort(costs, kind="stable")
    middles = np.cumsum(np.asarray(costs)[order]) - np.asarray(costs)[order] / 2
    part = np.minimum(middles * count // max(float(np.sum(costs)), 1e-9), count - 1)
    return [places.tolist() for number in range(count) if len(places := order[part == number])]
