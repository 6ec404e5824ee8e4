"""Engines, rotors, trains, aeroplanes."""

import numpy as np
from scipy import signal

from m2d_clap.model.sounds.dsp import (
    Rng,
    Signal,
    band,
    coloured,
    decay,
    harmonics,
    place,
    room,
    seconds,
    swell,
    wander,
    white,
)
from m2d_clap.model.sounds.kind import Kind, Take


def _explosions(rng: Rng, firing: Signal, rate: int, rough: float) -> Signal:
    """A pulse train at a changing rate in Hz, each pulse a little different."""
    phase = np.cumsum(firing) / rate
    pulse = np.exp(-6 * (phase % 1))
    strength = 1 + rough * rng.standard_normal(int(phase[-1]) + 2)
    return np.asarray(pulse * strength[phase.astype(int)])


def engine(rng: Rng, rate: int) -> Take:
    length, hz = rng.uniform(3, 5), rng.uniform(22, 55)
    revving = rng.random() < 0.4
    path = hz * (1 + 0.02 * wander(rng, length, rate, 3))
    if revving:
        path = path * (1 + 1.5 * np.clip(wander(rng, length, rate, 1), 0, 1.5))
    beats = _explosions(rng, path, rate, 0.25)
    sound = (
        band(beats, 30, 700, rate) + 0.1 * band(white(rng, length, rate), 200, 3000, rate) * beats
    )
    words = ("a car engine revving", "an engine revs up") if revving else ("an engine idling",)
    return Take(sound, (*words, "a car engine running", "a motor is running"))


def motorcycle(rng: Rng, rate: int) -> Take:
    length = rng.uniform(3, 5)
    hz = rng.uniform(45, 75) * (1 + np.clip(0.8 + wander(rng, length, rate, 0.7), 0, 2.5))
    beats = _explosions(rng, hz, rate, 0.35)
    sound = np.tanh(3 * band(beats, 60, 2500, rate))
    captions = ("a motorcycle", "a motorbike accelerating", "a motorcycle engine revving")
    return Take(sound, captions)


def helicopter(rng: Rng, rate: int) -> Take:
    length, blades = rng.uniform(3.5, 5), rng.uniform(9, 16)
    t = seconds(length, rate)
    chop = np.exp(-5 * ((t * blades) % 1))
    air = band(coloured(rng, length, rate, 0.6), 40, 1200, rate)
    turbine = harmonics(rng.uniform(500, 900), [1, 0.3], length, rate) * 0.04
    distance = np.clip(0.8 + 0.3 * wander(rng, length, rate, 0.5), 0.3, 2)
    sound = (air * (0.1 + chop) + turbine) * distance
    captions = ("a helicopter", "a helicopter flying overhead", "helicopter rotor blades")
    return Take(sound, captions)


def train(rng: Rng, rate: int) -> Take:
    length, period = rng.uniform(4, 5), rng.uniform(0.5, 1.1)
    bed = 0.35 * band(coloured(rng, length, rate, 0.8), 40, 1500, rate)
    parts = []
    for start in np.arange(0.05, length, period):
        for offset in (0.0, 0.12, 0.32 * period + 0.12, 0.32 * period + 0.24):
            hit = white(rng, 0.12, rate) * decay(0.12, 0.02, rate, 0.001)
            parts.append((float(start) + offset, 2.2 * band(hit, 120, 1800, rate)))
    captions = ("a train on the tracks", "a train passing by", "a train clattering over rails")
    return Take(bed + place(parts, length, rate), captions)


def steam_train(rng: Rng, rate: int) -> Take:
    length, chuffs = rng.uniform(4, 5), rng.uniform(2, 6)
    t = seconds(length, rate)
    accent = np.array([1, 0.6, 0.75, 0.6])[(t * chuffs).astype(int) % 4]
    puff = np.exp(-4 * ((t * chuffs) % 1)) * accent
    sound = band(white(rng, length, rate), 250, 4500, rate) * puff
    if rng.random() < 0.5:
        long = rng.uniform(0.8, 1.6)
        pipes = [harmonics(h, [1, 0.4, 0.2], long, rate) for h in (370, 465, 555)]
        blow = np.sum(pipes, axis=0)
        at = int(rng.uniform(0.5, 2) * rate)
        sound[at : at + len(blow)] += 0.4 * blow * swell(long, 0.08, 0.2, rate)
        words = ("a steam train whistling", "a steam locomotive blows its whistle")
    else:
        words = ("a steam train puffing", "a steam locomotive chugging")
    return Take(sound, (*words, "a steam train"))


def aeroplane(rng: Rng, rate: int) -> Take:
    length = rng.uniform(4, 5)
    jet = rng.random() < 0.5
    passing = swell(length, length * 0.6, length * 0.4, rate) + 0.1
    if jet:
        whine = harmonics(
            rng.uniform(1800, 3000) * np.linspace(1.05, 0.85, len(passing)), [1], length, rate
        )
        sound = band(coloured(rng, length, rate, 0.5), 80, 4000, rate) + 0.15 * whine
        words = ("a jet plane flying over", "a jet aircraft roars past")
    else:
        hz = rng.uniform(70, 110) * np.linspace(1.06, 0.9, len(passing))
        sound = band(_explosions(rng, hz, rate, 0.1), 50, 1500, rate)
        words = ("a propeller plane", "a small plane flying overhead")
    return Take(sound * passing, (*words, "an aeroplane", "an aircraft passing"))


def car_passing(rng: Rng, rate: int) -> Take:
    length = rng.uniform(3, 5)
    t = seconds(length, rate) - length * rng.uniform(0.4, 0.6)
    near = 1 / (1 + (rng.uniform(2, 5) * t) ** 2)
    tyres = band(coloured(rng, length, rate, 0.3), 200, 3000, rate)
    hum = signal.sawtooth(2 * np.pi * np.cumsum(70 * (1 - 0.08 * np.tanh(2 * t))) / rate)
    sound = (tyres + 0.3 * band(hum, 60, 500, rate)) * near
    return Take(sound, ("a car passing by", "a car drives past", "road traffic"))


def boat(rng: Rng, rate: int) -> Take:
    length, hz = rng.uniform(3.5, 5), rng.uniform(8, 16)
    beats = _explosions(rng, np.full(int(length * rate), hz), rate, 0.2)
    thud = band(beats - np.mean(beats), 40, 500, rate) * 3
    water = band(white(rng, length, rate), 400, 4000, rate) * 0.05
    water *= np.clip(1 + wander(rng, length, rate, 2), 0.2, 3)
    captions = ("a boat engine puttering", "a motor boat", "a diesel boat chugging along")
    return Take(room(rng, thud, 0.3, 0.2, rate) + water, captions)


KINDS: dict[str, Kind] = {
    "engine": engine,
    "motorcycle": motorcycle,
    "helicopter": helicopter,
    "train": train,
    "steam_train": steam_train,
    "aeroplane": aeroplane,
    "car_passing": car_passing,
    "boat": boat,
}
