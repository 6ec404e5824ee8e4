"""Batches of sounds that depend on seed and step alone."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import overload

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

Rows = NDArray[np.int64]
"""Numbers, one a sound."""
Weights = NDArray[np.float64]
"""Visits an epoch, one a sound."""


@dataclass(frozen=True)
class Batch:
    """Sounds cut to one length, so that none is padded. members: (batch,) row numbers."""

    members: tuple[int, ...]
    columns: int


class Epoch(Sequence[Batch]):
    """The batches of an epoch, cut from its sounds when asked for, so that millions cost little."""

    def __init__(self, drawn: Rows, lengths: Rows, order: Rows) -> None:
        """drawn: sounds, those of a batch together; lengths: theirs, in columns; order: of the
        batches, by their numbers."""
        self._drawn, self._lengths, self._order = drawn, lengths, order
        # As np.array_split cuts: the first batches have one more where it does not come out even.
        each, more = divmod(len(drawn), len(order))
        self._starts = np.arange(len(order) + 1) * each
        self._starts += np.minimum(np.arange(len(order) + 1), more)

    def __len__(self) -> int:
        return len(self._order)

    @overload
    def __getitem__(self, place: int) -> Batch: ...
    @overload
    def __getitem__(self, place: slice) -> Sequence[Batch]: ...
    def __getitem__(self, place: int | slice) -> Batch | Sequence[Batch]:
        if isinstance(place, slice):
            return [self[i] for i in range(*place.indices(len(self)))]
        number = int(self._order[place])
        part = slice(self._starts[number], self._starts[number + 1])
        # One column to see and one to hide, though most sounds be shorter: they are filled up.
        common = max(2, int(np.quantile(self._lengths[part], 0.25)))
        return Batch(tuple(self._drawn[part].tolist()), common)


@dataclass(frozen=True)
class Plan:
    """Which sounds meet in which step.

    An epoch visits every sound once. By length, sounds of like length share a batch and are cut to a
    common one; else any meet, and each batch has the most columns. The order of batches is random.
    Everything follows from (seed, epoch).
    """

    lengths: Sequence[int] | Rows
    """Patch columns of every sound, at least 1."""
    batch: int
    most_columns: int
    seed: int
    weights: Sequence[float] | Weights = ()
    """Visits an epoch for every sound, on average; empty means one each."""
    by_length: bool = True

    @property
    def steps(self) -> int:
        """Steps an epoch."""
        return math.ceil(self.visits / self.batch)

    @cached_property
    def visits(self) -> int:
        return round(float(np.sum(self.weights))) if len(self.weights) else len(self.lengths)

    def epoch(self, number: int) -> Epoch:
        rng = np.random.default_rng((self.seed, number))
        if len(self.weights):
            share = np.asarray(self.weights) / np.sum(self.weights)
            drawn = rng.choice(len(self.lengths), self.visits, replace=True, p=share)
        else:
            drawn = rng.permutation(len(self.lengths))
        if not self.by_length:
            whole = np.full(len(drawn), self.most_columns)
            return Epoch(drawn, whole, rng.permutation(self.steps))
        lengths = np.minimum(np.asarray(self.lengths)[drawn], self.most_columns)
        # Noise in the sorting key lets neighbours in length meet in ever new company.
        order = np.argsort(np.log(lengths) + rng.normal(0, 0.15, len(drawn)), kind="stable")
        return Epoch(drawn[order], lengths[order], rng.permutation(self.steps))


def crop(
    log_mel_: Tensor, frames: int, rng: np.random.Generator, fill: float | None = None
) -> Tensor:
    """(mels, n) → (mels, frames): a random stretch. A shorter sound is followed by `fill`, as in the
    papers, or put at a random place in its own quietest frame's level, so that no edge betrays its
    length."""
    missing = frames - log_mel_.shape[1]
    if missing <= 0:
        start = int(rng.integers(0, -missing + 1))
        return log_mel_[:, start : start + frames].float()
    if fill is not None:
        return torch.nn.functional.pad(log_mel_.float(), (0, missing), value=fill)
    before = int(rng.integers(0, missing + 1))
    sound = log_mel_.float()
    floor = sound.amin(dim=1, keepdim=True)
    parts = [floor.expand(-1, before), sound, floor.expand(-1, missing - before)]
    return torch.cat(parts, dim=1)
