"""Fire, fireworks, explosions and gunshots."""

import numpy as np

from m2d_clap.model.sounds.dsp import (
    Rng,
    Signal,
    band,
    coloured,
    decay,
    place,
    repeat,
    room,
    scatter,
    seconds,
    sine,
    swell,
    wander,
    white,
)
from m2d_clap.model.sounds.kind import Kind, Take


def fire(rng: Rng, rate: int) -> Take:
    length, wild = rng.uniform(3, 5), rng.uniform(0, 1)

    def crackle() -> Signal:
        dying = rng.uniform(0.001, 0.008)
        snap = white(rng, 0.03, rate) * decay(0.03, dying, rate, 0.0003)
        return snap * rng.exponential(1.0)

    crackles = repeat(crackle, scatter(rng, 8 + 25 * wild, length), length, rate)
    roar = band(coloured(rng, length, rate, 0.9), 40, 500, rate)
    roar *= (0.1 + 0.4 * wild) * (1 + 0.3 * wander(rng, length, rate, 4))
    captions = (
        "a crackling fire",
        "fire burning" if wild < 0.6 else "a roaring fire",
        "wood crackles in a fireplace" if wild < 0.6 else "a big bonfire burning",
    )
    return Take(band(crackles, 600, 7500, rate) * 2 + roar, captions)


def _blast(rng: Rng, rate: int, size: float) -> Signal:
    """A burst whose lows last longest; size 0 … 1."""
    length = 0.6 + 2.0 * size
    low = coloured(rng, length, rate, 1.0) * decay(length, 0.15 + 0.5 * size, rate, 0.003)
    crack = white(rng, length, rate) * decay(length, 0.02 + 0.05 * size, rate, 0.0005)
    return band(low, 25, 200 + 500 * (1 - size), rate) + 0.6 * crack


def fireworks(rng: Rng, rate: int) -> Take:
    length = rng.uniform(3.5, 5)
    parts = []
    for start in scatter(rng, 0.8, length - 1.5):
        climb = rng.uniform(0.4, 0.9)
        t = seconds(climb, rate)
        whistle = sine(rng.uniform(900, 1800) * (1 + 0.6 * t / climb), climb, rate)
        parts.append((start, 0.15 * whistle * swell(climb, 0.1, 0.1, rate)))
        parts.append((start + climb, _blast(rng, rate, rng.uniform(0.1, 0.5))))
        for spark in scatter(rng, 30, 0.8):
            snap = white(rng, 0.02, rate) * decay(0.02, 0.003, rate, 0.0003)
            parts.append((start + climb + 0.2 + spark, 0.5 * snap))
    sound = room(rng, place(parts, length, rate), 1.2, 0.25, rate)
    return Take(sound, ("fireworks", "fireworks exploding in the sky", "rockets whistle and bang"))


def explosion(rng: Rng, rate: int) -> Take:
    size = rng.uniform(0.5, 1)
    sound = np.tanh(1.5 * _blast(rng, rate, size))
    captions = ("an explosion", "a bomb explodes", "a big blast" if size > 0.75 else "a blast")
    return Take(room(rng, sound, 1.5, 0.3, rate), captions)


def gunshot(rng: Rng, rate: int) -> Take:
    shots = int(rng.integers(1, 6))
    gap = rng.uniform(0.12, 0.5)
    length = 1.0 + shots * gap
    parts = [(0.05 + n * gap, _blast(rng, rate, 0.05)) for n in range(shots)]
    sound = room(rng, np.tanh(3 * place(parts, length, rate)), rng.uniform(0.3, 1.2), 0.25, rate)
    words = (
        ("a gunshot", "a single shot is fired") if shots == 1 else ("gunshots", "shots are fired")
    )
    return Take(sound, (*words, "gunfire"))


KINDS: dict[str, Kind] = {
    "fire": fire,
    "fireworks": fireworks,
    "explosion": explosion,
    "gunshot": gunshot,
}
