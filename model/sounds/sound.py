"""(kind, seed) → a captioned sound."""

import zlib
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from m2d_clap.model.errors import ClapError
from m2d_clap.model.sounds import (
    animals,
    bells,
    drums,
    electronic,
    engines,
    fire,
    household,
    insects,
    instruments,
    people,
    signals,
    tools,
    water,
    weather,
)
from m2d_clap.model.sounds.dsp import normalise
from m2d_clap.model.sounds.kind import Kind

_FAMILIES = (
    *(animals, bells, drums, electronic, engines, fire, household),
    *(insects, instruments, people, signals, tools, water, weather),
)
_KINDS: dict[str, Kind] = {name: kind for f in _FAMILIES for name, kind in f.KINDS.items()}


class SoundKindError(ClapError):
    """There is no such kind of sound."""


@dataclass(frozen=True)
class Sound:
    """samples: (n,) float32 mono, peak at most 1; caption: what can be heard, in English."""

    kind: str
    caption: str
    samples: NDArray[np.float32]
    sample_rate: int


def kinds() -> tuple[str, ...]:
    """The names of all kinds, sorted."""
    return tuple(sorted(_KINDS))


def make(kind: str, seed: int, sample_rate: int = 16_000) -> Sound:
    """One rendering, about 0.5 to 5 s: always the same for one seed, another for each.

    Raises SoundKindError.
    """
    if kind not in _KINDS:
        raise SoundKindError(f"no kind of sound is called {kind!r}; there are {', '.join(kinds())}")
    rng = np.random.default_rng([zlib.crc32(kind.encode()), seed])
    take = _KINDS[kind](rng, sample_rate)
    caption = take.captions[int(rng.integers(len(take.captions)))]
    peak = float(rng.uniform(0.25, 0.9))
    return Sound(kind, caption, normalise(take.samples, peak), sample_rate)
