"""Noise, test tones and the sounds of games."""

import numpy as np
from scipy import signal

from m2d_clap.model.sounds.dsp import (
    Rng,
    band,
    coloured,
    decay,
    place,
    room,
    seconds,
    sine,
    swell,
    wander,
)
from m2d_clap.model.sounds.kind import Kind, Take


def _noise(slope: float, name: str, image: str) -> Kind:
    def make(rng: Rng, rate: int) -> Take:
        sound = coloured(rng, rng.uniform(2, 4.5), rate, slope)
        return Take(sound, (f"{name} noise", f"steady {name} noise", image))

    return make


def static(rng: Rng, rate: int) -> Take:
    length = rng.uniform(2.5, 4.5)
    hiss = band(coloured(rng, length, rate, 0.2), 300, 6000, rate)
    pops = (rng.random(len(hiss)) < 0.0006) * rng.standard_normal(len(hiss)) * 8
    sound = hiss * np.clip(0.7 + 0.4 * wander(rng, length, rate, 6), 0.1, 2) + pops
    return Take(sound, ("radio static", "static on a radio", "a detuned radio hisses"))


def sweep(rng: Rng, rate: int) -> Take:
    length, low, high = rng.uniform(1.5, 4), rng.uniform(60, 200), rng.uniform(3000, 7000)
    up = rng.random() < 0.5
    t = seconds(length, rate) / length
    path = low * (high / low) ** (t if up else 1 - t)
    way = "rising" if up else "falling"
    captions = (f"a {way} sine sweep", f"a tone {way} in pitch", "a frequency sweep")
    return Take(sine(path, length, rate) * swell(length, 0.02, 0.05, rate), captions)


def beep(rng: Rng, rate: int) -> Take:
    length, hz = rng.uniform(0.6, 2), rng.uniform(300, 2500)
    pitch = "high" if hz > 1500 else "low" if hz < 600 else "pure"
    captions = ("a beep", f"a {pitch} tone", "a sine tone", "a test tone")
    return Take(sine(hz, length, rate) * swell(length, 0.01, 0.01, rate), captions)


def mains_hum(rng: Rng, rate: int) -> Take:
    length, hz = rng.uniform(2.5, 4.5), float(rng.choice([50, 60]))
    total = sum(sine(hz * n, length, rate) * rng.uniform(0.1, 1) / n**0.5 for n in range(1, 12))
    return Take(np.asarray(total), ("an electrical hum", "mains hum", "a humming transformer"))


def laser(rng: Rng, rate: int) -> Take:
    parts, at = [], 0.03
    high, low = rng.uniform(2000, 5500), rng.uniform(120, 500)
    for _ in range(int(rng.integers(1, 5))):
        long = rng.uniform(0.12, 0.35)
        t = seconds(long, rate) / long
        path = high * (low / high) ** t
        shot = signal.square(2 * np.pi * np.cumsum(path) / rate) * decay(long, long / 2, rate)
        parts.append((at, band(shot, 0, 7000, rate)))
        at += long + rng.uniform(0.05, 0.3)
    sound = room(rng, place(parts, at + 0.4, rate), 0.5, 0.15, rate)
    captions = ("a laser gun", "laser shots", "a science fiction laser", "pew pew of a ray gun")
    return Take(sound, captions)


def coin(rng: Rng, rate: int) -> Take:
    hz = rng.uniform(800, 1100)
    first = signal.square(2 * np.pi * hz * seconds(0.07, rate))
    second = signal.square(2 * np.pi * hz * 4 / 3 * seconds(0.5, rate)) * decay(0.5, 0.15, rate)
    sound = band(place([(0.05, first), (0.12, second)], 0.8, rate), 0, 6000, rate)
    captions = ("a coin in a video game", "an arcade game pickup", "a retro game bonus sound")
    return Take(sound, captions)


def jump(rng: Rng, rate: int) -> Take:
    long = rng.uniform(0.2, 0.4)
    t = seconds(long, rate) / long
    hop = signal.square(2 * np.pi * np.cumsum(rng.uniform(200, 350) * (1 + 2 * t)) / rate, 0.25)
    sound = np.pad(band(hop * swell(long, 0.01, 0.1, rate), 0, 5000, rate), int(0.15 * rate))
    return Take(sound, ("a jump in a video game", "an 8-bit jump sound", "a retro game jump"))


def game_over(rng: Rng, rate: int) -> Take:
    step, hz = rng.uniform(0.14, 0.28), rng.uniform(400, 650)
    parts = []
    for n, down in enumerate((0, 2, 4, 7)):
        tone = signal.square(2 * np.pi * hz * 2 ** (-down / 12) * seconds(step * 0.9, rate))
        parts.append((0.05 + n * step, tone * swell(step * 0.9, 0.01, 0.05, rate)))
    sound = band(place(parts, 5 * step, rate), 0, 5000, rate)
    return Take(sound, ("game over music", "a falling video game melody", "losing in a retro game"))


def robot(rng: Rng, rate: int) -> Take:
    parts, at = [], 0.05
    for _ in range(int(rng.integers(4, 14))):
        long, hz = rng.uniform(0.04, 0.2), rng.uniform(400, 3000)
        slide = np.linspace(1, rng.uniform(0.5, 2), int(long * rate))
        parts.append((at, sine(hz * slide, long, rate) * swell(long, 0.005, 0.01, rate)))
        at += long + rng.uniform(0, 0.06)
    return Take(
        place(parts, at + 0.2, rate), ("a robot chattering", "computer bleeps", "robot beeps")
    )


def spring(rng: Rng, rate: int) -> Take:
    long = rng.uniform(0.8, 1.5)
    t = seconds(long, rate)
    wobble = 1 + 0.5 * np.exp(-2 * t) * np.sin(2 * np.pi * rng.uniform(7, 13) * t)
    boing = sine(rng.uniform(150, 350) * wobble, long, rate)
    boing += 0.4 * sine(rng.uniform(500, 900) * wobble, long, rate)
    return Take(
        boing * decay(long, 0.35, rate), ("a boing", "a cartoon spring", "a spring bouncing")
    )


def whoosh(rng: Rng, rate: int) -> Take:
    long = rng.uniform(0.5, 1.5)
    noise = coloured(rng, long, rate, 0.2)
    bright, dark = band(noise, 1200, 6000, rate), band(noise, 150, 1200, rate)
    move = swell(long, long * 0.55, long * 0.4, rate)
    sound = bright * move**3 + dark * move
    return Take(np.pad(sound, int(0.1 * rate)), ("a whoosh", "something swishes past", "a swoosh"))


KINDS: dict[str, Kind] = {
    "white_noise": _noise(0.0, "white", "a hiss of white noise"),
    "pink_noise": _noise(0.5, "pink", "soft pink noise"),
    "brown_noise": _noise(1.0, "brown", "deep rumbling brown noise"),
    "radio_static": static,
    "sweep": sweep,
    "beep": beep,
    "mains_hum": mains_hum,
    "laser": laser,
    "game_coin": coin,
    "game_jump": jump,
    "game_over": game_over,
    "robot_bleeps": robot,
    "spring_boing": spring,
    "whoosh": whoosh,
}
