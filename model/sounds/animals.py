"""Birds, frogs, dogs and other voices of animals; insects are in insects.py."""

import numpy as np
from scipy import signal

from m2d_clap.model.sounds.dsp import (
    Rng,
    Signal,
    band,
    coloured,
    harmonics,
    place,
    repeat,
    resonate,
    room,
    scatter,
    seconds,
    sine,
    swell,
    white,
)
from m2d_clap.model.sounds.kind import Kind, Take


def _glide(length: float, rate: int, *hz: float) -> Signal:
    """A smooth path through these frequencies."""
    t = seconds(length, rate)
    return np.asarray(np.interp(t, np.linspace(0, length, len(hz)), np.asarray(hz)))


def birds(rng: Rng, rate: int) -> Take:
    length, base = rng.uniform(3, 5), rng.uniform(2500, 4500)

    def phrase() -> Signal:
        note, many = rng.uniform(0.04, 0.12), int(rng.integers(2, 8))
        start, end = base * rng.uniform(0.7, 1.4), base * rng.uniform(0.7, 1.4)
        chirp = sine(_glide(note, rate, start, end, start), note, rate)
        chirp *= swell(note, note / 3, note / 3, rate)
        gap = note * rng.uniform(1.2, 2)
        return place([(n * gap, chirp) for n in range(many)], many * gap + note, rate)

    sound = repeat(phrase, scatter(rng, rng.uniform(1, 3), length - 0.5), length, rate)
    sound = room(rng, sound, 0.5, 0.25, rate) + 0.01 * coloured(rng, length, rate, 0.5)
    captions = ("birds chirping", "a bird singing", "chirping birds in a tree", "birdsong")
    return Take(sound, captions)


def cuckoo(rng: Rng, rate: int) -> Take:
    hz, many = rng.uniform(550, 720), int(rng.integers(1, 4))
    high = sine(hz, 0.22, rate) * swell(0.22, 0.05, 0.08, rate)
    low = sine(hz * 0.8, 0.35, rate) * swell(0.35, 0.05, 0.12, rate)
    parts = [(0.1 + n * 1.3 + d, s) for n in range(many) for d, s in ((0, high), (0.38, low))]
    sound = room(rng, place(parts, many * 1.3 + 0.3, rate), 1.0, 0.3, rate)
    return Take(sound, ("a cuckoo", "a cuckoo calling", "the call of a cuckoo"))


def owl(rng: Rng, rate: int) -> Take:
    hz = rng.uniform(300, 450)
    parts = []
    for start, long in ((0.1, 0.25), (0.6, 0.2), (0.9, 0.8)):
        path = _glide(long, rate, hz, hz * 1.06, hz * 0.95)
        hoot = harmonics(path, [1, 0.15, 0.05], long, rate) * swell(long, 0.06, 0.12, rate)
        parts.append((start + rng.uniform(-0.03, 0.03), hoot))
    sound = room(rng, place(parts, 2.5, rate), 1.5, 0.35, rate)
    return Take(sound, ("an owl hooting", "an owl at night", "the hoot of an owl"))


def crow(rng: Rng, rate: int) -> Take:
    many, hz = int(rng.integers(1, 5)), rng.uniform(380, 560)

    def caw() -> Signal:
        long = rng.uniform(0.25, 0.45)
        path = _glide(long, rate, hz, hz * 1.15, hz * 0.85)
        rough = signal.sawtooth(2 * np.pi * np.cumsum(path) / rate) + 0.8 * white(rng, long, rate)
        shaped = resonate(rough, 1300, 250, rate) + 0.6 * resonate(rough, 2400, 400, rate)
        return shaped * swell(long, 0.03, 0.1, rate)

    starts = [0.05 + n * rng.uniform(0.55, 0.7) for n in range(many)]
    sound = room(rng, repeat(caw, starts, many * 0.7 + 0.5, rate), 0.6, 0.2, rate)
    return Take(
        sound, ("a crow cawing", "a crow", "crows caw" if many > 2 else "the caw of a crow")
    )


def rooster(rng: Rng, rate: int) -> Take:
    hz = rng.uniform(420, 600)
    calls = ((0.05, 0.18, (1, 1.3)), (0.3, 0.16, (1.3, 1.5)), (0.52, 0.2, (1.5, 1.7)))
    parts = []
    for start, long, way in (*calls, (0.78, rng.uniform(0.8, 1.2), (1.3, 1.9, 1.7, 0.9))):
        path = hz * _glide(long, rate, *way)
        tone = harmonics(path, [0.6, 1, 0.9, 0.7, 0.5, 0.3, 0.2], long, rate)
        parts.append((start, tone * swell(long, 0.03, 0.08, rate)))
    sound = room(rng, place(parts, 2.4, rate), 0.6, 0.2, rate)
    return Take(sound, ("a rooster crowing", "a cock-a-doodle-doo", "a rooster in the morning"))


def frog(rng: Rng, rate: int) -> Take:
    length, hz, pulse = rng.uniform(2.5, 4.5), rng.uniform(300, 900), rng.uniform(30, 70)

    def croak() -> Signal:
        long = rng.uniform(0.2, 0.5)
        t = seconds(long, rate)
        pulses = np.abs(np.sin(np.pi * pulse * t)) ** 6
        tone = sine(hz, long, rate) + 0.5 * sine(hz * 2.1, long, rate)
        return np.asarray(tone * pulses * swell(long, 0.08, 0.05, rate))

    sound = repeat(croak, scatter(rng, 1.5, length - 0.5), length, rate)
    captions = ("a frog croaking", "frogs croak at a pond", "the croak of a frog")
    return Take(room(rng, sound, 0.5, 0.2, rate), captions)


def dog(rng: Rng, rate: int) -> Take:
    many, size = int(rng.integers(1, 6)), rng.uniform(0, 1)
    hz = 700 - 450 * size

    def bark() -> Signal:
        long = rng.uniform(0.14, 0.26)
        path = _glide(long, rate, hz * 0.7, hz * 1.2, hz * 0.6)
        source = signal.sawtooth(2 * np.pi * np.cumsum(path) / rate) + 0.7 * white(rng, long, rate)
        low, high = 900 - 350 * size, 2000 - 600 * size
        shaped = resonate(source, low, 150, rate) + 0.6 * resonate(source, high, 250, rate)
        return shaped * swell(long, 0.015, 0.08, rate)

    starts = [0.05 + n * rng.uniform(0.38, 0.5) for n in range(many)]
    sound = room(rng, repeat(bark, starts, many * 0.5 + 0.6, rate), 0.4, 0.2, rate)
    name = "a big dog" if size > 0.6 else "a small dog" if size < 0.3 else "a dog"
    captions = ("a dog barking", f"{name} barks", "barking" if many > 1 else "a bark of a dog")
    return Take(sound, captions)


def cat(rng: Rng, rate: int) -> Take:
    long, hz = rng.uniform(0.6, 1.1), rng.uniform(450, 700)
    path = _glide(long, rate, hz, hz * 1.5, hz * 1.4, hz * 0.9)
    source = harmonics(path, [1, 0.9, 0.8, 0.6, 0.5, 0.4, 0.3, 0.2], long, rate)
    t = seconds(long, rate) / long
    opened = 0.5 - 0.5 * np.cos(2 * np.pi * t)  # m – iaou: the mouth opens and shuts
    closed = resonate(source, 700, 200, rate)
    voice = (1 - opened) * closed + opened * (resonate(source, 1500, 250, rate) + closed)
    sound = np.pad(voice * swell(long, 0.12, 0.2, rate), (800, int(0.4 * rate)))
    return Take(room(rng, sound, 0.3, 0.15, rate), ("a cat meowing", "a cat", "the meow of a cat"))


def cow(rng: Rng, rate: int) -> Take:
    long, hz = rng.uniform(1.2, 2.2), rng.uniform(95, 160)
    path = _glide(long, rate, hz * 0.85, hz * 1.15, hz * 1.1, hz * 0.8)
    source = signal.sawtooth(2 * np.pi * np.cumsum(path) / rate) + 0.1 * white(rng, long, rate)
    voice = resonate(source, 350, 120, rate) + 0.5 * resonate(source, 800, 200, rate)
    sound = np.pad(voice * swell(long, 0.2, 0.4, rate), (800, int(0.4 * rate)))
    return Take(room(rng, sound, 0.6, 0.2, rate), ("a cow mooing", "a cow", "the moo of a cow"))


def sheep(rng: Rng, rate: int) -> Take:
    long, hz = rng.uniform(0.6, 1.1), rng.uniform(260, 380)
    t = seconds(long, rate)
    bleat = 1 + 0.5 * np.sin(2 * np.pi * rng.uniform(7, 10) * t)
    source = signal.sawtooth(2 * np.pi * np.cumsum(hz * (1 + 0.03 * (bleat - 1))) / rate)
    voice = resonate(source, 750, 150, rate) + 0.7 * resonate(source, 1700, 250, rate)
    sound = np.pad(voice * bleat * swell(long, 0.06, 0.15, rate), (800, int(0.3 * rate)))
    return Take(band(sound, 200, 6000, rate), ("a sheep bleating", "a sheep", "a goat bleats"))


KINDS: dict[str, Kind] = {
    "birds": birds,
    "cuckoo": cuckoo,
    "owl": owl,
    "crow": crow,
    "rooster": rooster,
    "frog": frog,
    "dog_bark": dog,
    "cat_meow": cat,
    "cow_moo": cow,
    "sheep_bleat": sheep,
}
