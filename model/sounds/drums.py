"""Drums and cymbals, single hits and loops."""

import numpy as np

from m2d_clap.model.sounds.dsp import (
    Rng,
    Signal,
    band,
    decay,
    partials,
    place,
    seconds,
    sine,
    white,
)
from m2d_clap.model.sounds.kind import Kind, Take


def _kick(rng: Rng, rate: int) -> Signal:
    length = rng.uniform(0.3, 0.6)
    t = seconds(length, rate)
    hz = rng.uniform(42, 65) + rng.uniform(100, 250) * np.exp(-t / rng.uniform(0.01, 0.03))
    click = (
        0.3 * band(white(rng, length, rate), 1000, 6000, rate) * decay(length, 0.004, rate, 0.0005)
    )
    return sine(hz, length, rate) * decay(length, length / 4, rate) + click


def _snare(rng: Rng, rate: int) -> Signal:
    length, hz = rng.uniform(0.2, 0.4), rng.uniform(170, 240)
    skin = partials([hz, hz * 1.6], [1, 0.5], [0.05, 0.03], length, rate)
    wires = band(white(rng, length, rate), 1500, 7500, rate)
    return skin + rng.uniform(0.5, 1) * wires * decay(length, rng.uniform(0.05, 0.1), rate, 0.001)


def _metal(rng: Rng, rate: int, length: float, dying: float) -> Signal:
    base = rng.uniform(300, 420)
    ratios = np.array([1, 1.34, 1.52, 1.88, 2.3, 2.9])
    buzz = sum(np.sign(sine(base * r, length, rate)) for r in ratios)
    shaped = band(buzz + 2 * white(rng, length, rate), 5000, 20000, rate, 4)
    return shaped * decay(length, dying, rate, 0.0005)


def _hits(
    rng: Rng, rate: int, hit: Signal, captions: tuple[str, ...], many: tuple[str, ...]
) -> Take:
    """One hit, or a few in a steady beat."""
    count = int(rng.integers(1, 6))
    gap = rng.uniform(0.2, 0.6)
    parts = [(0.02 + n * gap, hit * rng.uniform(0.7, 1)) for n in range(count)]
    length = 0.1 + (count - 1) * gap + len(hit) / rate
    return Take(place(parts, max(0.6, length), rate), captions if count == 1 else many)


def kick(rng: Rng, rate: int) -> Take:
    one = ("a kick drum", "a bass drum hit", "a thump of a kick drum")
    return _hits(rng, rate, _kick(rng, rate), one, ("a kick drum beat", "bass drum hits", one[0]))


def snare(rng: Rng, rate: int) -> Take:
    one = ("a snare drum", "a snare drum hit", "a crack of a snare drum")
    return _hits(
        rng, rate, _snare(rng, rate), one, ("snare drum hits", "a snare drum beat", one[0])
    )


def hi_hat(rng: Rng, rate: int) -> Take:
    opened = rng.random() < 0.4
    hit = _metal(rng, rate, 0.9 if opened else 0.15, 0.25 if opened else 0.03)
    word = "an open hi-hat" if opened else "a closed hi-hat"
    return _hits(
        rng, rate, hit, (word, "a hi-hat"), (f"{word} pattern", "hi-hat cymbals", "a hi-hat")
    )


def cymbal(rng: Rng, rate: int) -> Take:
    length = rng.uniform(2, 4)
    crash = _metal(rng, rate, length, rng.uniform(0.5, 1.2))
    crash += band(white(rng, length, rate), 2000, 7000, rate) * decay(length, 0.4, rate, 0.002)
    return Take(crash, ("a cymbal crash", "a crash cymbal", "a cymbal is struck"))


def tom(rng: Rng, rate: int) -> Take:
    parts = []
    count, gap = int(rng.integers(1, 7)), rng.uniform(0.12, 0.3)
    for n in range(count):
        hz = rng.uniform(80, 200)
        t = seconds(0.6, rate)
        skin = sine(hz * (1 + 0.4 * np.exp(-t / 0.03)), 0.6, rate) * decay(0.6, 0.15, rate)
        parts.append((0.02 + n * gap, skin))
    captions = ("a tom drum", "tom-tom hits") if count < 3 else ("a drum fill on toms", "drumming")
    return Take(place(parts, 0.7 + count * gap, rate), captions)


def drum_loop(rng: Rng, rate: int) -> Take:
    beat = 60 / rng.uniform(85, 150)
    low, crack, hat = _kick(rng, rate), _snare(rng, rate), _metal(rng, rate, 0.12, 0.03)
    steps = 16
    parts = []
    for step in range(steps):
        at = 0.02 + step * beat / 2
        parts.append((at, 0.25 * hat))
        if step % 4 == 0 or rng.random() < 0.15:
            parts.append((at, low))
        if step % 4 == 2:
            parts.append((at, 0.8 * crack))
    sound = place(parts, min(5.0, steps * beat / 2), rate)
    return Take(
        sound, ("a drum loop", "a drum beat with kick, snare and hi-hat", "a drum kit playing")
    )


def shaker(rng: Rng, rate: int) -> Take:
    length, step = rng.uniform(2, 4), rng.uniform(0.1, 0.2)
    parts = []
    for n, start in enumerate(np.arange(0.02, length - 0.1, step)):
        long = step * 0.8
        grains = band(white(rng, long, rate), 3500, 7800, rate)
        parts.append((float(start), grains * np.hanning(len(grains)) * (1 if n % 2 else 0.6)))
    return Take(place(parts, length, rate), ("a shaker", "maracas shaking", "a rhythm on a shaker"))


KINDS: dict[str, Kind] = {
    "kick_drum": kick,
    "snare_drum": snare,
    "hi_hat": hi_hat,
    "cymbal": cymbal,
    "tom_drum": tom,
    "drum_loop": drum_loop,
    "shaker": shaker,
}
