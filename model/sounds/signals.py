"""Sirens, alarms, telephones, Morse code, horns: sounds made to be noticed."""

import numpy as np
from scipy import signal

from m2d_clap.model.sounds.dsp import (
    Rng,
    Signal,
    band,
    harmonics,
    partials,
    place,
    room,
    seconds,
    sine,
    swell,
    wander,
)
from m2d_clap.model.sounds.kind import Kind, Take, among

_MORSE = {
    "A": ".-", "B": "-...", "C": "-.-.", "D": "-..", "E": ".", "F": "..-.", "G": "--.",
    "H": "....", "I": "..", "K": "-.-", "L": ".-..", "M": "--", "N": "-.", "O": "---",
    "R": ".-.", "S": "...", "T": "-", "U": "..-", "V": "...-", "W": ".--",
}  # fmt: skip
_KEYS = {"low": (697, 770, 852, 941), "high": (1209, 1336, 1477)}  # Hz, the telephone's key pad


def siren(rng: Rng, rate: int) -> Take:
    length = rng.uniform(3.5, 5)
    t = seconds(length, rate)
    low, high = rng.uniform(450, 700), rng.uniform(1000, 1600)
    if rng.random() < 0.4:
        period = rng.uniform(0.9, 1.4)
        hz = np.where(t % period < period / 2, low, low * 1.34)
        words = ("a two-tone ambulance siren", "a European emergency siren")
    else:
        period = rng.uniform(0.3, 4)
        way = signal.sawtooth(2 * np.pi * t / period, 0.5)
        hz = low + (high - low) * (0.5 + 0.5 * way)
        words = (
            ("a yelping police siren", "a police siren")
            if period < 1
            else ("a wailing siren", "an emergency siren wails")
        )
    sound = harmonics(hz, [1, 0.4, 0.3, 0.1], length, rate)
    return Take(room(rng, sound, 0.4, 0.2, rate), (*words, "a siren"))


def alarm(rng: Rng, rate: int) -> Take:
    length, hz = rng.uniform(2.5, 4.5), rng.uniform(1500, 3200)
    beep, many = rng.uniform(0.05, 0.12), int(rng.integers(2, 5))
    group = (many + rng.uniform(1, 3)) * 2 * beep
    parts = []
    for start in np.arange(0, length, group):
        for n in range(many):
            tone = harmonics(hz, [1, 0, 0.3], beep, rate) * swell(beep, 0.003, 0.003, rate)
            parts.append((float(start) + 2 * n * beep, tone))
    captions = ("an alarm clock beeping", "beeping of an alarm", "an electronic alarm")
    return Take(place(parts, length, rate), captions)


def phone_ring(rng: Rng, rate: int) -> Take:
    length, flutter = rng.uniform(3, 5), rng.uniform(16, 25)
    t = seconds(length, rate)
    pitches = rng.uniform(900, 1400) * np.array([1, 1.26, 2.4, 3.1])
    strokes = [
        (float(s), partials(pitches, [1, 0.8, 0.4, 0.3], [0.15] * 4, 0.4, rate))
        for s in np.arange(0, length, 1 / flutter)
    ]
    cycle = rng.uniform(1.6, 2.6)
    bell = place(strokes, length, rate) * np.clip(60 * (0.6 * cycle - t % cycle), 0.02, 1)
    return Take(bell, ("a telephone ringing", "an old phone rings", "a ringing phone bell"))


def dial_tones(rng: Rng, rate: int) -> Take:
    tone, gap = rng.uniform(0.08, 0.2), rng.uniform(0.05, 0.15)
    many = int(rng.integers(5, 11))
    parts = []
    for n in range(many):
        low, high = rng.choice(_KEYS["low"]), rng.choice(_KEYS["high"])
        both = sine(float(low), tone, rate) + sine(float(high), tone, rate)
        parts.append((n * (tone + gap), both * swell(tone, 0.004, 0.004, rate)))
    captions = ("dialling a number on a telephone", "phone key tones", "touch tone dialing")
    return Take(place(parts, many * (tone + gap), rate), captions)


def busy_tone(rng: Rng, rate: int) -> Take:
    length, half = rng.uniform(2.5, 4), rng.uniform(0.22, 0.5)
    t = seconds(length, rate)
    tone = sine(rng.uniform(400, 480), length, rate) + 0.7 * sine(620, length, rate)
    return Take(tone * (t % (2 * half) < half), ("a busy signal on the phone", "an engaged tone"))


def morse(rng: Rng, rate: int) -> Take:
    dot, hz = rng.uniform(0.04, 0.1), rng.uniform(450, 1100)
    at, parts = 0.05, []
    while at < rng.uniform(2, 3):
        for mark in _MORSE[among(rng, *_MORSE)]:
            long = dot * (3 if mark == "-" else 1)
            parts.append((at, sine(hz, long, rate) * swell(long, 0.004, 0.004, rate)))
            at += long + dot
        at += 2 * dot
    sound = place(parts, at, rate) + 0.01 * rng.standard_normal(int(at * rate))
    return Take(sound, ("Morse code", "Morse code beeps", "a telegraph signal in Morse code"))


def _honk(rng: Rng, rate: int, hz: float, length: float) -> Signal:
    drift = hz * (1 + 0.002 * wander(rng, length, rate, 6))
    weights = [1, 0.9, 0.8, 0.6, 0.5, 0.35, 0.25, 0.15, 0.1]
    return harmonics(drift, weights, length, rate) * swell(length, 0.02, 0.04, rate)


def car_horn(rng: Rng, rate: int) -> Take:
    hz, many = rng.uniform(330, 450), int(rng.integers(1, 4))
    at, parts = 0.05, []
    for _ in range(many):
        long = rng.uniform(0.25, 1.0)
        both = _honk(rng, rate, hz, long) + _honk(rng, rate, hz * 1.25, long)
        parts.append((at, both))
        at += long + rng.uniform(0.1, 0.35)
    sound = room(rng, place(parts, at + 0.3, rate), 0.5, 0.25, rate)
    captions = ("a car horn", "a car honking", "a car honks its horn")
    return Take(sound, captions if many == 1 else (*captions, "a car horn honks several times"))


def ship_horn(rng: Rng, rate: int) -> Take:
    length, hz = rng.uniform(2.5, 4.5), rng.uniform(75, 150)
    sound = _honk(rng, rate, hz, length - 0.8) + 0.6 * _honk(rng, rate, hz * 1.5, length - 0.8)
    sound = band(np.pad(sound, (0, int(0.8 * rate))), 0, 1500, rate)
    captions = ("a ship's horn", "a fog horn", "a deep horn of a big boat")
    return Take(room(rng, sound, 1.5, 0.4, rate), captions)


def reversing(rng: Rng, rate: int) -> Take:
    length, period, hz = rng.uniform(3, 5), rng.uniform(0.8, 1.2), rng.uniform(1000, 1500)
    t = seconds(length, rate)
    beeps = sine(hz, length, rate) * (t % period < period / 2)
    motor = band(rng.standard_normal(len(t)), 40, 200, rate) * 0.3
    return Take(beeps + motor, ("a truck reversing with beeps", "a reversing vehicle beeps"))


KINDS: dict[str, Kind] = {
    "siren": siren,
    "alarm": alarm,
    "phone_ring": phone_ring,
    "dial_tones": dial_tones,
    "busy_tone": busy_tone,
    "morse_code": morse,
    "car_horn": car_horn,
    "ship_horn": ship_horn,
    "reversing_beeps": reversing,
}
