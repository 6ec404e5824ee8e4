"""Strings, winds, organs and synthesizers."""

import numpy as np
from scipy import signal

from m2d_clap.model.sounds.dsp import (
    Rng,
    Signal,
    band,
    decay,
    harmonics,
    place,
    room,
    seconds,
    sine,
    swell,
    wander,
    white,
)
from m2d_clap.model.sounds.kind import Kind, Take

_MAJOR, _MINOR = (0, 4, 7, 12), (0, 3, 7, 12)


def _pluck(rng: Rng, rate: int, hz: float, length: float, brightness: float) -> Signal:
    """Karplus and Strong's string: a burst circling through a damped delay."""
    period = max(2, round(rate / hz))
    n = int(length * rate)
    burst = np.zeros(n)
    burst[:period] = band(rng.uniform(-1, 1, period), 0, 1000 + 7000 * brightness, rate)
    loss = 0.5 ** (period / rate / (0.25 + 60 / hz))
    feedback = np.zeros(period + 2)
    feedback[0] = 1
    feedback[period : period + 2] = -0.5 * loss
    return np.asarray(signal.lfilter([1.0], feedback, burst))


def _notes(rng: Rng, low: float, many: int) -> list[float]:
    chord = _MAJOR if rng.random() < 0.5 else _MINOR
    return [low * 2 ** (int(rng.choice(chord)) / 12) for _ in range(many)]


def plucked_string(rng: Rng, rate: int) -> Take:
    many, gap, bright = int(rng.integers(1, 7)), rng.uniform(0.15, 0.5), rng.uniform(0.2, 1)
    low = rng.uniform(110, 260)
    parts = [
        (0.02 + n * gap, _pluck(rng, rate, hz, 2.5, bright))
        for n, hz in enumerate(_notes(rng, low, many))
    ]
    sound = place(parts, min(5.0, many * gap + 2), rate)
    one = ("a plucked guitar string", "a note on an acoustic guitar", "a string is plucked")
    more = ("an acoustic guitar melody", "plucked guitar strings", "someone plays the guitar")
    return Take(sound, one if many == 1 else more)


def guitar_chord(rng: Rng, rate: int) -> Take:
    low, spread = rng.uniform(80, 150), rng.uniform(0.01, 0.04)
    chord = _MAJOR if rng.random() < 0.5 else _MINOR
    degrees = [*chord, chord[1] + 12, chord[2] + 12]
    parts = [
        (0.02 + n * spread, _pluck(rng, rate, low * 2 ** (d / 12), 3.5, 0.7))
        for n, d in enumerate(degrees)
    ]
    return Take(
        place(parts, 3.5, rate), ("a guitar chord", "a strummed guitar", "guitar strumming")
    )


def bass_string(rng: Rng, rate: int) -> Take:
    many, gap = int(rng.integers(1, 9)), rng.uniform(0.2, 0.45)
    notes = _notes(rng, rng.uniform(41, 70), many)
    parts = [(0.02 + n * gap, _pluck(rng, rate, hz, 1.2, 0.1)) for n, hz in enumerate(notes)]
    one, more = ("a bass guitar note", "a low bass note"), ("a bass line", "a bass guitar playing")
    return Take(place(parts, many * gap + 1, rate), one if many == 1 else more)


def bowed_string(rng: Rng, rate: int) -> Take:
    length, hz = rng.uniform(2, 4), rng.uniform(130, 700)
    vibrato = 1 + 0.006 * np.sin(2 * np.pi * rng.uniform(4.5, 6.5) * seconds(length, rate))
    weights = [1 / n**1.1 for n in range(1, 16)]
    tone = harmonics(hz * vibrato, weights, length, rate)
    scrape = 0.03 * band(white(rng, length, rate), 1500, 6000, rate)
    sound = (tone + scrape) * swell(length, rng.uniform(0.08, 0.4), 0.3, rate)
    name = "a cello" if hz < 220 else "a violin"
    captions = (f"{name} playing a note", name, "a bowed string instrument")
    return Take(room(rng, sound, 0.8, 0.2, rate), captions)


def organ(rng: Rng, rate: int) -> Take:
    length, low = rng.uniform(2.5, 4.5), rng.uniform(110, 260)
    chord = _MAJOR if rng.random() < 0.5 else _MINOR
    stops = [1, 0.8, 0.2, 0.6, 0.05, 0.1, 0, 0.35]
    parts = sum(harmonics(low * 2 ** (d / 12), stops, length, rate) for d in chord[:3])
    sound = np.asarray(parts) * swell(length, 0.05, 0.15, rate)
    captions = ("a church organ", "a chord on a pipe organ", "an organ playing a chord")
    return Take(room(rng, sound, 1.8, 0.3, rate), captions)


def flute(rng: Rng, rate: int) -> Take:
    step, many, low = rng.uniform(0.3, 0.9), int(rng.integers(1, 6)), rng.uniform(400, 800)
    parts = []
    for n, hz in enumerate(_notes(rng, low, many)):
        vibrato = 1 + 0.005 * np.sin(2 * np.pi * 5.2 * seconds(step, rate))
        tone = harmonics(hz * vibrato, [1, 0.3, 0.1, 0.03], step, rate)
        breath = band(white(rng, step, rate), hz * 0.8, hz * 3, rate) * 0.12
        parts.append((0.02 + n * step, (tone + breath) * swell(step, 0.06, 0.08, rate)))
    sound = room(rng, place(parts, max(1.0, many * step + 0.4), rate), 0.8, 0.2, rate)
    one, more = ("a flute note", "a flute"), ("a flute melody", "someone plays the flute")
    return Take(sound, one if many == 1 else more)


def brass(rng: Rng, rate: int) -> Take:
    length, hz = rng.uniform(1, 3), rng.uniform(160, 480)
    bloom = np.minimum(1, seconds(length, rate) / rng.uniform(0.05, 0.2))
    total = np.zeros(len(bloom))
    for n in range(1, 13):  # higher overtones enter later and leave with the loudness
        total += bloom ** (0.5 + 0.4 * n) / n**0.7 * sine(hz * n, length, rate)
    sound = total * swell(length, 0.03, 0.1, rate)
    captions = (
        "a trumpet note",
        "a brass instrument",
        "a trumpet playing",
        "a horn blowing a note",
    )
    return Take(room(rng, sound, 0.8, 0.2, rate), captions)


def whistle(rng: Rng, rate: int) -> Take:
    length, hz = rng.uniform(1.5, 3.5), rng.uniform(900, 1800)
    path = hz * 2 ** (0.4 * wander(rng, length, rate, 2.5))
    breath = 0.02 * band(white(rng, length, rate), 800, 4000, rate)
    sound = (sine(path, length, rate) + breath) * swell(length, 0.08, 0.15, rate)
    return Take(sound, ("someone whistling", "a person whistles a tune", "human whistling"))


def referee_whistle(rng: Rng, rate: int) -> Take:
    length, hz = rng.uniform(0.5, 1.5), rng.uniform(2300, 3400)
    t = seconds(length, rate)
    trill = 1 + 0.6 * signal.sawtooth(2 * np.pi * rng.uniform(25, 45) * t, 0.5)
    tone = (sine(hz, length, rate) + 0.6 * sine(hz * 1.06, length, rate)) * trill
    sound = (tone + 0.2 * white(rng, length, rate)) * swell(length, 0.01, 0.05, rate)
    captions = ("a referee's whistle", "a pea whistle is blown", "a sports whistle")
    return Take(room(rng, sound, 0.3, 0.2, rate), captions)


def synth_pad(rng: Rng, rate: int) -> Take:
    length, low = rng.uniform(3.5, 5), rng.uniform(100, 240)
    t = seconds(length, rate)
    chord = _MAJOR if rng.random() < 0.5 else _MINOR
    saws = [
        signal.sawtooth(2 * np.pi * low * 2 ** (d / 12) * (1 + x) * t + rng.uniform(0, 6))
        for d in chord
        for x in (-0.004, 0.0, 0.005)
    ]
    sound = band(np.sum(saws, axis=0), 0, rng.uniform(700, 2500), rate)
    return Take(sound * swell(length, 1, 1, rate), ("a synthesizer pad", "a soft synth chord"))


def synth_bass(rng: Rng, rate: int) -> Take:
    length, step = rng.uniform(2, 4), rng.uniform(0.12, 0.3)
    low = rng.uniform(45, 80)
    parts = []
    for start in np.arange(0.02, length - step, step):
        hz = low * float(rng.choice([1, 1, 1, 1.5, 2]))
        note = signal.sawtooth(2 * np.pi * hz * seconds(step, rate))
        parts.append((float(start), band(note, 0, 900, rate) * decay(step, step / 2, rate)))
    return Take(place(parts, length, rate), ("a synthesizer bass line", "an electronic bass"))


KINDS: dict[str, Kind] = {
    "plucked_string": plucked_string,
    "guitar_chord": guitar_chord,
    "bass_guitar": bass_string,
    "bowed_string": bowed_string,
    "organ": organ,
    "flute": flute,
    "brass": brass,
    "whistling": whistle,
    "referee_whistle": referee_whistle,
    "synth_pad": synth_pad,
    "synth_bass": synth_bass,
}
