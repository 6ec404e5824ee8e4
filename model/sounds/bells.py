"""Bells, gongs, chimes and struck bars."""

import numpy as np

from m2d_clap.model.sounds.dsp import Rng, every, partials, place, room, scatter
from m2d_clap.model.sounds.kind import Kind, Take

_CHURCH = (0.5, 1.0, 1.19, 1.5, 2.0, 2.52, 3.0, 4.03, 5.4)  # hum, prime, tierce, quint, nominal …
_BAR = (1.0, 3.98, 9.2)
_SCALE = (0, 2, 4, 7, 9, 12, 14, 16)  # pentatonic, semitones


def church_bell(rng: Rng, rate: int) -> Take:
    length, hz, period = rng.uniform(4, 5), rng.uniform(180, 480), rng.uniform(1.2, 2.5)
    levels = np.array([0.6, 1, 0.7, 0.3, 0.9, 0.4, 0.3, 0.2, 0.1])
    decays = rng.uniform(0.8, 1.3) * np.array([3, 2, 1.6, 1.2, 1, 0.6, 0.5, 0.3, 0.2])
    stroke = partials(hz * np.array(_CHURCH), levels, decays, 4.5, rate)
    parts = [(s, stroke * rng.uniform(0.7, 1)) for s in every(rng, period, 0.03, length - 0.5)]
    captions = (
        "a church bell",
        "church bells ringing",
        "a big bell tolls",
        "a church bell is ringing",
    )
    return Take(room(rng, place(parts, length, rate), 1.5, 0.2, rate), captions)


def door_bell(rng: Rng, rate: int) -> Take:
    hz = rng.uniform(550, 800)
    ding = partials([hz, hz * 2.01, hz * 4.1], [1, 0.3, 0.15], [0.5, 0.3, 0.1], 2, rate)
    dong = partials([hz * 0.794, hz * 1.6, hz * 3.2], [1, 0.3, 0.15], [0.8, 0.4, 0.1], 2, rate)
    sound = place([(0.05, ding), (rng.uniform(0.4, 0.8), dong)], 2.6, rate)
    captions = ("a door bell", "a doorbell rings", "ding dong of a doorbell")
    return Take(room(rng, sound, 0.3, 0.15, rate), captions)


def bicycle_bell(rng: Rng, rate: int) -> Take:
    hz, many = rng.uniform(2000, 3200), int(rng.integers(2, 7))
    stroke = partials([hz, hz * 1.51, hz * 2.1], [1, 0.6, 0.3], [0.4, 0.25, 0.1], 1.2, rate)
    parts = [(0.02 + 0.09 * n, stroke * rng.uniform(0.6, 1)) for n in range(many)]
    return Take(
        place(parts, 1.8, rate), ("a bicycle bell", "a bike bell rings", "ringing a small bell")
    )


def gong(rng: Rng, rate: int) -> Take:
    hz = rng.uniform(70, 140)
    many = 24
    ratios = np.sort(rng.uniform(1, 9, many))
    levels = rng.uniform(0.3, 1, many) / ratios**0.5
    sound = partials(hz * ratios, levels, 4 / ratios**0.6, 5, rate)
    return Take(
        room(rng, sound, 1.0, 0.2, rate), ("a gong", "a gong is struck", "a big gong resounds")
    )


def wind_chimes(rng: Rng, rate: int) -> Take:
    length, base = rng.uniform(3.5, 5), rng.uniform(900, 1500)
    tubes = [base * 2 ** (s / 12) for s in _SCALE[:6]]
    parts = []
    for start in scatter(rng, rng.uniform(3, 8), length):
        hz = float(rng.choice(tubes))
        strike = partials([hz, hz * 2.76, hz * 5.4], [1, 0.4, 0.1], [0.9, 0.4, 0.1], 2.5, rate)
        parts.append((start, strike * rng.uniform(0.2, 1)))
    return Take(place(parts, length, rate), ("wind chimes", "wind chimes tinkling in the breeze"))


def _melody(rng: Rng, rate: int, low: float, decays: tuple[float, ...], notes: int) -> np.ndarray:
    step = rng.uniform(0.15, 0.4)
    parts = []
    for n in range(notes):
        hz = low * 2 ** (int(rng.choice(_SCALE)) / 12)
        strike = partials(hz * np.array(_BAR), [1, 0.35, 0.1], decays, 1.8, rate)
        parts.append((0.02 + n * step, strike * rng.uniform(0.5, 1)))
    return place(parts, notes * step + 1, rate)


def xylophone(rng: Rng, rate: int) -> Take:
    sound = _melody(rng, rate, rng.uniform(500, 900), (0.12, 0.05, 0.02), int(rng.integers(4, 12)))
    captions = ("a xylophone", "a melody on a xylophone", "someone plays the xylophone")
    return Take(sound, captions)


def glockenspiel(rng: Rng, rate: int) -> Take:
    sound = _melody(rng, rate, rng.uniform(1000, 1800), (0.9, 0.3, 0.1), int(rng.integers(4, 10)))
    captions = ("a glockenspiel", "a tinkling glockenspiel melody", "a music box melody")
    return Take(sound, captions)


KINDS: dict[str, Kind] = {
    "church_bell": church_bell,
    "door_bell": door_bell,
    "bicycle_bell": bicycle_bell,
    "gong": gong,
    "wind_chimes": wind_chimes,
    "xylophone": xylophone,
    "glockenspiel": glockenspiel,
}
