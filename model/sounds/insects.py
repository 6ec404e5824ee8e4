"""Crickets, cicadas, bees, mosquitoes."""

import numpy as np
from scipy import signal

from m2d_clap.model.sounds.dsp import Rng, band, harmonics, seconds, sine, swell, wander, white
from m2d_clap.model.sounds.kind import Kind, Take


def crickets(rng: Rng, rate: int) -> Take:
    length = rng.uniform(3, 5)
    t = seconds(length, rate)
    total = 0.004 * white(rng, length, rate)
    for _ in range(int(rng.integers(1, 4))):
        hz, chirps, pulses = rng.uniform(3600, 5200), rng.uniform(1.2, 3), rng.uniform(25, 40)
        phase = rng.uniform(0, 1)
        chirping = ((t * chirps + phase) % 1) < 0.45
        pulsing = np.maximum(0, np.sin(2 * np.pi * pulses * t)) ** 2
        total += rng.uniform(0.3, 1) * sine(hz, length, rate) * chirping * pulsing
    captions = ("crickets chirping", "crickets at night", "chirping crickets on a summer night")
    return Take(total, captions)


def cicadas(rng: Rng, rate: int) -> Take:
    length = rng.uniform(3, 5)
    t = seconds(length, rate)
    buzz = band(white(rng, length, rate), 3800, 7000, rate, 3)
    pulse = 0.6 + 0.4 * signal.square(2 * np.pi * rng.uniform(60, 130) * t)
    swelling = 0.7 + 0.3 * np.sin(2 * np.pi * rng.uniform(0.3, 0.8) * t)
    return Take(
        buzz * pulse * swelling, ("cicadas", "cicadas buzzing in the trees", "insects in summer")
    )


def bee(rng: Rng, rate: int) -> Take:
    length, hz = rng.uniform(2.5, 4.5), rng.uniform(150, 260)
    path = hz * (1 + 0.06 * wander(rng, length, rate, 3))
    tone = harmonics(path, [1, 0.8, 0.6, 0.5, 0.4, 0.3, 0.2, 0.15], length, rate)
    near = np.clip(0.5 + 0.5 * wander(rng, length, rate, 1), 0.05, 2)
    captions = ("a bee buzzing", "a fly buzzing around", "the buzz of an insect", "buzzing bees")
    return Take(tone * near, captions)


def mosquito(rng: Rng, rate: int) -> Take:
    length, hz = rng.uniform(2.5, 4), rng.uniform(480, 750)
    path = hz * (1 + 0.05 * wander(rng, length, rate, 2))
    tone = harmonics(path, [1, 0.5, 0.35, 0.2, 0.1], length, rate)
    sound = tone * swell(length, length / 2, length / 2, rate)
    return Take(sound, ("a mosquito", "a mosquito whining", "a mosquito flies past the ear"))


KINDS: dict[str, Kind] = {
    "crickets": crickets,
    "cicadas": cicadas,
    "bee": bee,
    "mosquito": mosquito,
}
