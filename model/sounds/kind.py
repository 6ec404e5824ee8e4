"""What a family file gives for each kind of sound it knows."""

from collections.abc import Callable
from dataclasses import dataclass

from m2d_clap.model.sounds.dsp import Rng, Signal


@dataclass(frozen=True)
class Take:
    """One rendering: samples (n,) at any level, and captions that are all true of it."""

    samples: Signal
    captions: tuple[str, ...]


Kind = Callable[[Rng, int], Take]
"""(random generator, sample rate in Hz) → a take; another generator, another take."""


def among(rng: Rng, *choices: str) -> str:
    """One of the words, by chance."""
    return choices[int(rng.integers(len(choices)))]
