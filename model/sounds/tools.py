"""Power tools and hand tools."""

import numpy as np
from scipy import signal

from m2d_clap.model.sounds.dsp import (
    Rng,
    band,
    decay,
    harmonics,
    partials,
    place,
    room,
    seconds,
    swell,
    wander,
    white,
)
from m2d_clap.model.sounds.kind import Kind, Take


def vacuum_cleaner(rng: Rng, rate: int) -> Take:
    length, hz = rng.uniform(3, 5), rng.uniform(180, 320)
    motor = harmonics(
        hz * (1 + 0.004 * wander(rng, length, rate, 2)), [1, 0.5, 0.6, 0.3], length, rate
    )
    air = band(white(rng, length, rate), 300, 6000, rate)
    sound = (0.25 * motor + 0.4 * air) * swell(length, 0.5, 0.2, rate)
    return Take(sound, ("a vacuum cleaner", "vacuuming a carpet", "the hum of a vacuum cleaner"))


def hair_dryer(rng: Rng, rate: int) -> Take:
    length = rng.uniform(3, 5)
    air = band(white(rng, length, rate), 500, 7000, rate)
    whine = harmonics(rng.uniform(400, 700), [1, 0.4, 0.2], length, rate)
    captions = ("a hair dryer", "someone drying hair", "a blow dryer")
    return Take((air + 0.25 * whine) * swell(length, 0.3, 0.3, rate), captions)


def drill(rng: Rng, rate: int) -> Take:
    length, hz = rng.uniform(2.5, 4.5), rng.uniform(90, 180)
    speed = np.clip(np.minimum(seconds(length, rate) / 0.3, 1), 0.05, 1)
    load = 1 - 0.2 * np.clip(wander(rng, length, rate, 1), 0, 1)
    path = hz * speed * load
    whirr = harmonics(path, [0.6, 0.8, 1, 0.9, 0.7, 0.8, 0.5, 0.5, 0.4, 0.3], length, rate)
    grind = band(white(rng, length, rate), 1500, 6000, rate) * (1.2 - load) * 1.5
    return Take(whirr + grind, ("an electric drill", "drilling a hole", "a power drill"))


def jackhammer(rng: Rng, rate: int) -> Take:
    length, beats = rng.uniform(3, 4.5), rng.uniform(12, 22)
    parts = []
    for start in np.arange(0.02, length - 0.1, 1 / beats):
        hit = band(white(rng, 0.08, rate), 150, 4500, rate) * decay(0.08, 0.012, rate, 0.0005)
        parts.append((float(start), hit * rng.uniform(0.8, 1.1)))
    sound = room(rng, place(parts, length, rate), 0.3, 0.3, rate)
    return Take(sound, ("a jackhammer", "a pneumatic drill breaking concrete", "road works"))


def chainsaw(rng: Rng, rate: int) -> Take:
    length = rng.uniform(3, 5)
    hz = rng.uniform(70, 110) * (1 + 0.5 * np.clip(wander(rng, length, rate, 1.2), -0.5, 1.2))
    buzz = np.tanh(3 * signal.sawtooth(2 * np.pi * np.cumsum(hz) / rate))
    rough = 1 + 0.4 * band(white(rng, length, rate), 0, 300, rate)
    sound = band(buzz * rough, 100, 5000, rate) + 0.2 * band(
        white(rng, length, rate), 1000, 6000, rate
    )
    return Take(sound, ("a chainsaw", "a chainsaw cutting wood", "sawing with a chainsaw"))


def hand_saw(rng: Rng, rate: int) -> Take:
    length, stroke = rng.uniform(2.5, 4.5), rng.uniform(0.25, 0.5)
    t = seconds(length, rate)
    push = np.abs(np.sin(np.pi * t / stroke)) ** 1.5
    way = np.where((t / stroke).astype(int) % 2 == 0, 1.0, 0.55)
    teeth = band(white(rng, length, rate), 800, 5000, rate)
    teeth *= 1 + 0.6 * np.sin(2 * np.pi * np.cumsum(60 + 180 * push) / rate)
    return Take(teeth * push * way, ("sawing wood by hand", "a hand saw", "someone saws a board"))


def hammer(rng: Rng, rate: int) -> Take:
    period, many = rng.uniform(0.35, 0.8), int(rng.integers(2, 7))
    metal = rng.random() < 0.5
    pitches = rng.uniform(400, 900) * np.array([1, 2.3, 3.9, 5.1])
    hit = band(white(rng, 0.1, rate), 100, 3000, rate) * decay(0.1, 0.01, rate, 0.0005)
    ring = partials(pitches, [0.4, 0.6, 0.5, 0.3], [0.1, 0.15, 0.1, 0.05], 0.5, rate)
    stroke = np.pad(hit, (0, len(ring) - len(hit))) + (1.2 if metal else 0.15) * ring
    parts = [(0.03 + n * period, stroke * rng.uniform(0.7, 1)) for n in range(many)]
    sound = room(rng, place(parts, many * period + 0.6, rate), 0.3, 0.2, rate)
    words = ("hammering on metal",) if metal else ("hammering a nail into wood",)
    return Take(sound, (*words, "hammering", "a hammer hitting"))


def washing_machine(rng: Rng, rate: int) -> Take:
    length, turns = rng.uniform(4, 5), rng.uniform(0.8, 6)
    t = seconds(length, rate)
    slosh = band(white(rng, length, rate), 150, 1800, rate)
    slosh *= (0.5 + 0.5 * np.sin(2 * np.pi * turns * t)) ** 2
    motor = harmonics(rng.uniform(48, 62), [1, 0.6, 0.5, 0.3, 0.2], length, rate)
    return Take(slosh + 0.5 * motor, ("a washing machine", "a washing machine running", "laundry"))


KINDS: dict[str, Kind] = {
    "vacuum_cleaner": vacuum_cleaner,
    "hair_dryer": hair_dryer,
    "drill": drill,
    "jackhammer": jackhammer,
    "chainsaw": chainsaw,
    "hand_saw": hand_saw,
    "hammer": hammer,
    "washing_machine": washing_machine,
}
