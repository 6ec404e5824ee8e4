"""Small sounds of a house and an office."""

import numpy as np

from m2d_clap.model.sounds.dsp import (
    Rng,
    Signal,
    band,
    decay,
    every,
    harmonics,
    partials,
    place,
    repeat,
    room,
    scatter,
    seconds,
    swell,
    wander,
    white,
)
from m2d_clap.model.sounds.kind import Kind, Take


def _click(rng: Rng, rate: int, low: float, high: float, dying: float) -> Signal:
    return band(white(rng, 0.06, rate), low, high, rate) * decay(0.06, dying, rate, 0.0003)


def typing(rng: Rng, rate: int) -> Take:
    length, speed = rng.uniform(3, 5), rng.uniform(4, 11)

    def key() -> Signal:
        down = _click(rng, rate, 1200, 6000, 0.004)
        up = _click(rng, rate, 2000, 7000, 0.003) * 0.4
        return place([(0, down), (rng.uniform(0.05, 0.09), up)], 0.2, rate) * rng.uniform(0.5, 1)

    sound = repeat(key, every(rng, 1 / speed, 0.9, length - 0.2), length, rate)
    captions = (
        "typing on a keyboard",
        "someone typing",
        "computer keyboard typing",
        "keys clicking",
    )
    return Take(sound, captions)


def mouse_click(rng: Rng, rate: int) -> Take:
    many = int(rng.integers(1, 5))
    parts = []
    at = 0.1
    for _ in range(many):
        parts.append((at, _click(rng, rate, 1500, 6500, 0.002)))
        parts.append((at + rng.uniform(0.06, 0.1), 0.6 * _click(rng, rate, 2000, 7500, 0.002)))
        at += rng.uniform(0.2, 0.7)
    words = ("a mouse click",) if many == 1 else ("clicking a mouse", "mouse clicks")
    return Take(place(parts, at + 0.3, rate), (*words, "a computer mouse"))


def knocks(rng: Rng, rate: int) -> Take:
    many, gap = int(rng.integers(2, 6)), rng.uniform(0.14, 0.35)
    pitches = rng.uniform(110, 220) * np.array([1, 1.7, 2.6])
    body = partials(pitches, [1, 0.6, 0.4], [0.04, 0.03, 0.02], 0.25, rate)
    parts = []
    for n in range(many):
        parts.append((0.05 + n * gap, body * rng.uniform(0.7, 1)))
        parts.append((0.05 + n * gap, 0.4 * _click(rng, rate, 300, 2500, 0.006)))
    sound = room(rng, place(parts, many * gap + 0.6, rate), 0.3, 0.25, rate)
    return Take(sound, ("knocking on a door", "a knock on the door", "someone knocks on wood"))


def footsteps(rng: Rng, rate: int) -> Take:
    length, period = rng.uniform(3, 5), rng.uniform(0.28, 0.7)
    gravel = rng.random() < 0.4

    def step() -> Signal:
        if gravel:
            long = 0.2
            grains = white(rng, long, rate) * (rng.random(int(long * rate)) < 0.08)
            return band(grains, 800, 6000, rate) * swell(long, 0.04, 0.12, rate) * 8
        heel = _click(rng, rate, 80, 1200, 0.012)
        toe = 0.4 * _click(rng, rate, 300, 3000, 0.006)
        return place([(0, heel), (rng.uniform(0.05, 0.1), toe)], 0.25, rate) * rng.uniform(0.7, 1)

    sound = repeat(step, every(rng, period, 0.1, length - 0.3), length, rate)
    verb = "running" if period < 0.38 else "walking"
    ground = "on gravel" if gravel else "on a hard floor"
    captions = ("footsteps", f"someone {verb} {ground}", f"footsteps {ground}", f"a person {verb}")
    return Take(room(rng, sound, 0.4, 0.05 if gravel else 0.25, rate), captions)


def clock(rng: Rng, rate: int) -> Take:
    length, period = rng.uniform(3.5, 5), float(rng.choice([0.25, 0.5, 0.5, 1.0]))
    hz = rng.uniform(1500, 4000)
    parts = []
    for n, start in enumerate(np.arange(0.05, length - 0.1, period)):
        ring = partials([hz, hz * 1.6], [1, 0.5], [0.01, 0.006], 0.06, rate)
        strike = ring + 0.3 * _click(rng, rate, 1000, 7000, 0.002)
        parts.append((float(start), strike * (1 if n % 2 else 0.7)))
    captions = (
        "a clock ticking",
        "a slow ticking clock" if period == 1 else "the ticking of a clock",
        "tick tock of a clock",
    )
    return Take(room(rng, place(parts, length, rate), 0.2, 0.15, rate), captions)


def glass(rng: Rng, rate: int) -> Take:
    length = rng.uniform(1.5, 2.5)
    crash = band(white(rng, length, rate), 2000, 7800, rate) * decay(length, 0.05, rate, 0.0005)
    parts = [(0.05, crash)]
    for start in np.cumsum(rng.exponential(0.03, int(rng.integers(15, 40)))):
        hz = rng.uniform(2000, 7000)
        shard = partials([hz, hz * 1.41], [1, 0.5], [0.04, 0.02], 0.2, rate)
        parts.append((0.07 + float(start), shard * rng.uniform(0.05, 0.5) * np.exp(-start)))
    sound = room(rng, place(parts, length, rate), 0.4, 0.15, rate)
    return Take(sound, ("glass breaking", "a window shatters", "a glass falls and breaks"))


def cutlery(rng: Rng, rate: int) -> Take:
    length = rng.uniform(2.5, 4)

    def clink() -> Signal:
        hz = rng.uniform(1800, 5000)
        strike = partials([hz, hz * 1.5, hz * 2.2], [1, 0.7, 0.3], [0.12, 0.06, 0.03], 0.5, rate)
        return strike * rng.uniform(0.2, 1)

    sound = repeat(clink, scatter(rng, rng.uniform(3, 7), length - 0.4), length, rate)
    captions = ("clinking dishes", "cutlery and plates", "clattering silverware", "glasses clink")
    return Take(room(rng, sound, 0.4, 0.2, rate), captions)


def creak(rng: Rng, rate: int) -> Take:
    length = rng.uniform(1.2, 3)
    slip = 25 + 120 * np.clip(0.5 + 0.5 * wander(rng, length, rate, 2.5), 0.05, 1.5)
    pulses = (np.diff(np.floor(np.cumsum(slip) / rate), prepend=0) > 0).astype(float)
    hinge = sum(
        np.convolve(pulses, partials([f], [1], [0.01], 0.05, rate))[: len(pulses)]
        for f in rng.uniform(500, 2400, 4)
    )
    sound = room(rng, np.asarray(hinge) * swell(length, 0.2, 0.3, rate), 0.5, 0.25, rate)
    return Take(
        sound, ("a creaking door", "a door creaks open", "a squeaky hinge", "wood creaking")
    )


def door_slam(rng: Rng, rate: int) -> Take:
    thud = band(white(rng, 0.8, rate), 40, 500, rate) * decay(0.8, 0.08, rate, 0.002) * 3
    latch = _click(rng, rate, 800, 5000, 0.008)
    sound = place([(0.1, thud), (0.1, latch), (0.16, 0.5 * latch)], 1.5, rate)
    return Take(
        room(rng, sound, 0.8, 0.3, rate), ("a door slams", "a door closing", "a door is shut")
    )


def zipper(rng: Rng, rate: int) -> Take:
    length = rng.uniform(0.5, 1.2)
    t = seconds(length, rate) / length
    speed = rng.uniform(50, 90) * (1 + 1.5 * t)
    teeth = np.exp(-3 * ((np.cumsum(speed) / rate) % 1))
    sound = (
        band(white(rng, length, rate), 1500, 7500, rate) * teeth * swell(length, 0.05, 0.05, rate)
    )
    sound = np.pad(sound, int(0.15 * rate))
    return Take(sound, ("a zipper", "a zip is pulled", "zipping up a jacket"))


def spray(rng: Rng, rate: int) -> Take:
    parts, at = [], 0.1
    for _ in range(int(rng.integers(1, 5))):
        long = rng.uniform(0.15, 0.9)
        hiss = band(white(rng, long, rate), 3000, 7900, rate) * swell(long, 0.02, 0.04, rate)
        parts.append((at, hiss))
        at += long + rng.uniform(0.1, 0.4)
    return Take(place(parts, at, rate), ("a spray can", "spraying from a can", "hissing spray"))


def coins(rng: Rng, rate: int) -> Take:
    parts = []
    for start in scatter(rng, rng.uniform(3, 9), 1.6):
        hz = rng.uniform(3000, 6000)
        ring = partials([hz, hz * 1.19, hz * 1.62], [1, 0.8, 0.4], [0.12, 0.1, 0.05], 0.5, rate)
        for bounce in np.cumsum([0, *(rng.uniform(0.1, 0.15) * 0.6 ** np.arange(5))]):
            parts.append((start + float(bounce), ring * rng.uniform(0.2, 0.6)))
    return Take(
        place(parts, 2.4, rate), ("coins dropping", "coins jingling", "money falling on a table")
    )


def microwave(rng: Rng, rate: int) -> Take:
    hum = harmonics(100, [1, 0.7, 0.4, 0.3, 0.2], 1.8, rate) * 0.25
    hz = rng.uniform(1900, 2300)
    beep = harmonics(hz, [1, 0, 0.3], 0.3, rate) * swell(0.3, 0.005, 0.005, rate)
    parts = [(0.0, hum), *((2.0 + 0.6 * n, beep) for n in range(3))]
    return Take(place(parts, 3.9, rate), ("a microwave oven beeping", "a microwave oven finishes"))


KINDS: dict[str, Kind] = {
    "typing": typing,
    "mouse_click": mouse_click,
    "door_knock": knocks,
    "footsteps": footsteps,
    "clock_tick": clock,
    "glass_breaking": glass,
    "cutlery": cutlery,
    "door_creak": creak,
    "door_slam": door_slam,
    "zipper": zipper,
    "spray_can": spray,
    "coins": coins,
    "microwave_oven": microwave,
}
