"""Long sounds are cut into windows, so that every second of them can be found."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from m2d_clap.model.audio import Samples

WINDOW_SECONDS = 10.0


@dataclass(frozen=True)
class Window:
    """A stretch of a sound: start, end in seconds; samples (n,) float32 mono."""

    start: float
    end: float
    samples: Samples


@dataclass(frozen=True)
class Embedded:
    """A window's place in its sound, in seconds, and its unit vector (dim,) float32."""

    start: float
    end: float
    vector: NDArray[np.float32]


def windows(blocks: Iterable[Samples], rate: int) -> Iterator[Window]:
    """Consecutive windows of a stream, in bounded memory.

    The last one of a long sound is moved back to end at the sound's end, so it is never short; a
    sound shorter than a window is one window.
    """
    size = int(WINDOW_SECONDS * rate)
    pending: list[Samples] = []
    held = taken = 0
    previous = np.zeros(0, np.float32)
    for block in blocks:
        pending.append(block)
        held += len(block)
        while held >= size:
            buffer = pending[0] if len(pending) == 1 else np.concatenate(pending)
            previous = buffer[:size]
            yield Window(taken / rate, (taken + size) / rate, previous)
            taken += size
            pending, held = [buffer[size:]], len(buffer) - size
    if held:
        tail = np.concatenate([previous, *pending])[-size:]
        yield Window((taken + held - len(tail)) / rate, (taken + held) / rate, tail)
