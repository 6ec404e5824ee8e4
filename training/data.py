"""Batches of sounds that depend on seed and step alone."""

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor


@dataclass(frozen=True)
class Batch:
    """Sounds cut to one length, so that none is padded. members: (batch,) row numbers."""

    members: tuple[int, ...]
    columns: int


@dataclass(frozen=True)
class Plan:
    """Which sounds meet in which step.

    An epoch visits every sound once. Sounds of like length share a batch and are cut to a common
    length, at random; the order of batches is random. Everything follows from (seed, epoch).
    """

    lengths: tuple[int, ...]
    """Patch columns of every sound, at least 1."""
    batch: int
    most_columns: int
    seed: int
    weights: tuple[float, ...] = ()
    """Visits an epoch for every sound, on average; empty means one each."""

    @property
    def steps(self) -> int:
        """Steps an epoch."""
        return math.ceil(self.visits / self.batch)

    @property
    def visits(self) -> int:
        return round(sum(self.weights)) if self.weights else len(self.lengths)

    def epoch(self, number: int) -> list[Batch]:
        rng = np.random.default_rng((self.seed, number))
        if self.weights:
            share = np.asarray(self.weights) / sum(self.weights)
            drawn = rng.choice(len(self.lengths), self.visits, replace=True, p=share)
        else:
            drawn = rng.permutation(len(self.lengths))
        lengths = np.minimum(np.asarray(self.lengths)[drawn], self.most_columns)
        # Noise in the sorting key lets neighbours in length meet in ever new company.
        order = np.argsort(np.log(lengths) + rng.normal(0, 0.15, len(drawn)), kind="stable")
        drawn, lengths = drawn[order], lengths[order]
        batches = []
        for part, cut in zip(
            np.array_split(drawn, self.steps), np.array_split(lengths, self.steps), strict=True
        ):
            common = max(1, int(np.quantile(cut, 0.25)))
            batches.append(Batch(tuple(int(i) for i in part), common))
        return [batches[i] for i in rng.permutation(len(batches))]


def crop(log_mel_: Tensor, frames: int, rng: np.random.Generator) -> Tensor:
    """(mels, n) → (mels, frames): a random stretch; a shorter sound is put at a random place in
    its own quietest frame's level, so that no edge betrays its length."""
    missing = frames - log_mel_.shape[1]
    if missing <= 0:
        start = int(rng.integers(0, -missing + 1))
        return log_mel_[:, start : start + frames].float()
    before = int(rng.integers(0, missing + 1))
    sound = log_mel_.float()
    floor = sound.amin(dim=1, keepdim=True)
    parts = [floor.expand(-1, before), sound, floor.expand(-1, missing - before)]
    return torch.cat(parts, dim=1)
