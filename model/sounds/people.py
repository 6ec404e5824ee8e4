"""Heartbeats, clapping, breathing, snoring, laughter-like and humming voices."""

import numpy as np
from scipy import signal

from m2d_clap.model.sounds.dsp import (
    Rng,
    Signal,
    band,
    decay,
    every,
    place,
    repeat,
    resonate,
    room,
    scatter,
    seconds,
    sine,
    swell,
    wander,
    white,
)
from m2d_clap.model.sounds.kind import Kind, Take


def heartbeat(rng: Rng, rate: int) -> Take:
    length, period = rng.uniform(3.5, 5), rng.uniform(0.45, 1.1)
    hz = rng.uniform(38, 60)
    lub = sine(hz, 0.2, rate) * decay(0.2, 0.05, rate, 0.01)
    dub = sine(hz * 1.35, 0.18, rate) * decay(0.18, 0.035, rate, 0.01)
    parts = []
    for start in np.arange(0.05, length - 0.4, period):
        parts += [(float(start), lub), (float(start) + 0.3 * min(period, 0.9), 0.7 * dub)]
    pace = "fast" if period < 0.6 else "slow" if period > 0.9 else "steady"
    captions = ("a heartbeat", "a heart beating", f"a {pace} heartbeat")
    return Take(place(parts, length, rate), captions)


def _clap(rng: Rng, rate: int) -> Signal:
    centre = rng.uniform(900, 2200)
    hit = band(white(rng, 0.06, rate), centre * 0.6, centre * 1.8, rate)
    return hit * decay(0.06, rng.uniform(0.006, 0.014), rate, 0.0005) * rng.uniform(0.4, 1)


def applause(rng: Rng, rate: int) -> Take:
    length, crowd = rng.uniform(3.5, 5), rng.uniform(60, 250)
    sound = repeat(lambda: _clap(rng, rate), scatter(rng, crowd, length), length, rate)
    sound = room(rng, sound * swell(length, 0.4, 0.8, rate), 1.0, 0.3, rate)
    captions = ("applause", "an audience clapping", "a crowd applauds")
    return Take(sound, captions)


def clapping(rng: Rng, rate: int) -> Take:
    length, period = rng.uniform(2.5, 4), rng.uniform(0.22, 0.6)
    sound = repeat(lambda: _clap(rng, rate), every(rng, period, 0.12, length - 0.2), length, rate)
    sound = room(rng, sound, 0.3, 0.15, rate)
    return Take(sound, ("a person clapping hands", "hand claps", "someone claps"))


def breathing(rng: Rng, rate: int) -> Take:
    length, period = rng.uniform(4, 5), rng.uniform(1.2, 2.6)
    parts = []
    for start in np.arange(0.05, length, period):
        for offset, low, high, level in ((0, 700, 5000, 0.7), (0.48 * period, 300, 2500, 1.0)):
            long = 0.4 * period
            air = band(white(rng, long, rate), low, high, rate)
            parts.append(
                (float(start) + offset, level * air * swell(long, long / 2, long / 2, rate))
            )
    return Take(
        place(parts, length, rate), ("breathing", "someone breathing heavily", "deep breaths")
    )


def snoring(rng: Rng, rate: int) -> Take:
    length, period = rng.uniform(4, 5), rng.uniform(1.8, 2.5)
    parts = []
    for start in np.arange(0.1, length, period):
        long = period * 0.5
        t = seconds(long, rate)
        flutter = np.exp(-5 * ((t * rng.uniform(22, 45)) % 1))
        throat = band(white(rng, long, rate), 100, 1500, rate) * flutter
        parts.append((float(start), resonate(throat, 350, 200, rate) * swell(long, 0.3, 0.2, rate)))
    return Take(
        place(parts, length, rate), ("snoring", "a person snoring", "someone snores in bed")
    )


def _voice(rng: Rng, rate: int, pitch: Signal, vowel: tuple[float, float]) -> Signal:
    source = signal.sawtooth(2 * np.pi * np.cumsum(pitch) / rate)
    source += 0.05 * rng.standard_normal(len(source))
    return resonate(source, vowel[0], 90, rate) + 0.6 * resonate(source, vowel[1], 130, rate)


def laughing(rng: Rng, rate: int) -> Take:
    many, hz = int(rng.integers(4, 10)), rng.uniform(160, 420)
    gap = rng.uniform(0.16, 0.23)
    parts = []
    for n in range(many):
        long = gap * 0.65
        pitch = hz * (1.15 - 0.04 * n) * np.linspace(1.1, 0.9, int(long * rate))
        ha = _voice(rng, rate, pitch, (750, 1250)) * swell(long, 0.02, 0.05, rate)
        puff = band(white(rng, gap * 0.4, rate), 600, 4000, rate) * 0.02
        parts += [(0.05 + n * gap, ha * rng.uniform(0.7, 1)), (0.05 + n * gap, puff)]
    sound = room(rng, place(parts, many * gap + 0.5, rate), 0.4, 0.2, rate)
    return Take(sound, ("a person laughing", "laughter", "someone laughs out loud"))


def humming(rng: Rng, rate: int) -> Take:
    length, hz = rng.uniform(2.5, 4.5), rng.uniform(110, 330)
    steps = np.repeat(rng.choice([1, 9 / 8, 5 / 4, 3 / 2], 8), int(length * rate / 8) + 1)
    pitch = hz * band(steps[: int(length * rate)] - 1, 0, 8, rate) + hz
    pitch = pitch * (1 + 0.01 * wander(rng, length, rate, 5))
    sound = band(_voice(rng, rate, pitch, (280, 900)), 0, 1500, rate)
    captions = ("a person humming", "someone hums a tune", "humming a melody")
    return Take(sound * swell(length, 0.1, 0.2, rate), captions)


def coughing(rng: Rng, rate: int) -> Take:
    many = int(rng.integers(1, 4))
    parts, at = [], 0.05
    for _ in range(many):
        burst = band(white(rng, 0.35, rate), 300, 4000, rate) * decay(0.35, 0.06, rate, 0.003)
        throat = 0.8 * resonate(burst, rng.uniform(500, 1000), 150, rate)
        parts.append((at, 0.5 * burst + throat))
        at += rng.uniform(0.35, 0.6)
    sound = room(rng, place(parts, at + 0.4, rate), 0.3, 0.15, rate)
    return Take(
        sound, ("coughing", "a person coughs", "a cough" if many == 1 else "a coughing fit")
    )


KINDS: dict[str, Kind] = {
    "heartbeat": heartbeat,
    "applause": applause,
    "clapping": clapping,
    "breathing": breathing,
    "snoring": snoring,
    "laughing": laughing,
    "humming": humming,
    "coughing": coughing,
}
