"""Audio embedding → tags: the nearest of the labels' sentences."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np

from m2d_clap.model.labels import audioset
from m2d_clap.service.jobs import Vectors


@dataclass(frozen=True)
class Label:
    """A name people use; mid: its AudioSet class, where it is one."""

    name: str
    mid: str | None = None

    @property
    def prompt(self) -> str:
        """The sentence that stands for it."""
        return f"{self.name.replace('_', ' ')} can be heard"


@dataclass(frozen=True)
class Tag:
    """A label and the cosine of its sentence to the sound."""

    label: Label
    score: float


@cache
def vocabulary() -> tuple[Label, ...]:
    """AudioSet's 527 names, then those of tags.txt that it lacks."""
    known = [Label(name, mid) for mid, name in audioset()]
    names = {label.name.lower() for label in known}
    lines = (Path(__file__).parent / "tags.txt").read_text(encoding="utf-8").splitlines()
    more = [line for line in lines if line and line.lower() not in names]
    return (*known, *(Label(name) for name in more))


def rank(sound: Vectors, sentences: Vectors, labels: Sequence[Label], k: int) -> list[Tag]:
    """The k best labels for a unit vector (dim,), given their unit vectors (labels, dim)."""
    scores = sentences @ sound
    best = np.argsort(-scores, kind="stable")[:k]
    return [Tag(labels[i], float(scores[i])) for i in best]
