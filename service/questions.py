"""Texts and sounds with weights → one direction to search in, and how relevant what lies there is.

score     = cosine between a hit's best window and the question's vector
question  = Σ weight · part, scaled to length 1; every part is of length 1, negative weights push away
relevance = logistic of Σ weight · log-odds(part) / Σ |weight|, where log-odds is what the calibration
            of the part's kind says of the cosine between the hit's window and that part alone

For a question of one part the relevance is that of its score. Where texts and sounds are mixed, the
order by relevance may differ from the order by score, which the hits are in.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from m2d_clap.index.calibration import Calibration, squash
from m2d_clap.service.errors import NoDirectionError
from m2d_clap.service.jobs import Vectors

_SHORTEST = 1e-4  # below it the direction of a sum of float32 unit vectors is noise


@dataclass(frozen=True)
class Part:
    """vector (dim,), of unit length."""

    kind: Literal["text", "sound"]
    vector: Vectors
    weight: float = 1.0


@dataclass(frozen=True)
class Scale:
    """What makes cosines readable; None where it is not known."""

    text: Calibration | None = None
    sound: Calibration | None = None

    def of(self, kind: Literal["text", "sound"]) -> Calibration | None:
        return self.text if kind == "text" else self.sound


def direction(parts: Sequence[Part]) -> Vectors:
    """(dim,) of unit length. Raises NoDirectionError where the parts cancel out, or there are none."""
    if not parts:
        raise NoDirectionError("nothing is asked for: give a text, a clip or a file")
    if len(parts) == 1 and parts[0].weight > 0:
        return parts[0].vector
    largest = max(abs(part.weight) for part in parts)
    if largest == 0:
        raise NoDirectionError("every weight is 0: give one part another weight")
    total = np.sum([part.weight / largest * part.vector.astype(np.float64) for part in parts], 0)
    length = float(np.linalg.norm(total))
    if length < _SHORTEST:
        raise NoDirectionError("the parts cancel each other out: change a weight")
    unit: Vectors = (total / length).astype(np.float32)
    return unit


def relevances(
    parts: Sequence[Part], scores: Sequence[float], windows: Callable[[], Vectors], scale: Scale
) -> list[float | None]:
    """Of each hit, given its score and, where that is not enough, its best window's unit vector:
    windows() (hits, dim)."""
    weighted = [(part, scale.of(part.kind)) for part in parts if part.weight]
    odds = [0.0] * len(scores)
    for part, calibration in weighted:
        if calibration is None:
            return [None] * len(scores)
        cosines = scores
        if len(parts) > 1 or part.weight < 0:
            cosines = (windows().astype(np.float64) @ part.vector.astype(np.float64)).tolist()
        told = map(calibration.log_odds, cosines)
        odds = [before + part.weight * one for before, one in zip(odds, told, strict=True)]
    whole = sum(abs(part.weight) for part, _ in weighted)
    return [squash(one / whole) for one in odds]
