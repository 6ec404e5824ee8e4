"""Building blocks of sounds. Every function takes and returns mono float arrays (n,)."""

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray
from scipy import signal

Signal = NDArray[np.float64]
Numbers = Sequence[float] | NDArray[np.floating]
Rng = np.random.Generator


def seconds(length: float, rate: int) -> Signal:
    """Times of the samples of `length` seconds."""
    return np.arange(max(1, int(length * rate))) / rate


def sine(hz: float | Signal, length: float, rate: int, phase: float = 0.0) -> Signal:
    """A sine of a constant or changing frequency; silent where that is above Nyquist."""
    path = np.broadcast_to(np.asarray(hz, np.float64), seconds(length, rate).shape)
    wave = np.sin(phase + 2 * np.pi * np.cumsum(path) / rate)
    return np.where(np.abs(path) < 0.49 * rate, wave, 0.0)


def harmonics(
    hz: float | Signal, weights: Sequence[float], length: float, rate: int, stretch: float = 0.0
) -> Signal:
    """Overtones 1, 2, 3 … with these weights; stretch > 0 sharpens the high ones, as strings do."""
    total = np.zeros(len(seconds(length, rate)))
    for n, weight in enumerate(weights, 1):
        total += weight * sine(np.asarray(hz) * n * (1 + stretch * n * n), length, rate)
    return total


def partials(hz: Numbers, levels: Numbers, decays: Numbers, length: float, rate: int) -> Signal:
    """Struck resonances: sines that each die away with a time constant in seconds."""
    t = seconds(length, rate)
    total = np.zeros(len(t))
    for f, level, decay in zip(hz, levels, decays, strict=True):
        total += level * np.exp(-t / decay) * sine(f, length, rate)
    return total


def white(rng: Rng, length: float, rate: int) -> Signal:
    """Gaussian noise of deviation 1."""
    return rng.standard_normal(len(seconds(length, rate)))


def coloured(rng: Rng, length: float, rate: int, slope: float) -> Signal:
    """Noise whose amplitude falls as frequency ** −slope: 0 white, 0.5 pink, 1 brown; deviation 1."""
    n = len(seconds(length, rate))
    spectrum = np.fft.rfft(rng.standard_normal(n))
    frequency = np.maximum(np.fft.rfftfreq(n, 1 / rate), 20.0)
    shaped = np.fft.irfft(spectrum * frequency**-slope, n)
    return shaped / max(float(np.std(shaped)), 1e-9)


def band(x: Signal, low: float, high: float, rate: int, order: int = 2) -> Signal:
    """What lies between two frequencies in Hz; low 0 or a high beyond Nyquist leave that end open."""
    top = 0.48 * rate
    if low <= 0 and high >= top:
        return x
    if low <= 0:
        sos = signal.butter(order, min(high, top), "lowpass", fs=rate, output="sos")
    elif high >= top:
        sos = signal.butter(order, min(low, top), "highpass", fs=rate, output="sos")
    else:
        sos = signal.butter(order, [low, high], "bandpass", fs=rate, output="sos")
    return np.asarray(signal.sosfilt(sos, x))


def resonate(x: Signal, hz: float, width: float, rate: int) -> Signal:
    """One formant: a resonance at `hz`, `width` Hz wide."""
    radius = np.exp(-np.pi * width / rate)
    angle = 2 * np.pi * min(hz, 0.48 * rate) / rate
    poles = [1.0, -2 * radius * np.cos(angle), radius * radius]
    return np.asarray(signal.lfilter([1 - radius], poles, x))


def decay(length: float, constant: float, rate: int, attack: float = 0.002) -> Signal:
    """Rises within `attack` seconds, then dies away with a time constant in seconds."""
    t = seconds(length, rate)
    return np.minimum(t / attack, 1.0) * np.exp(-np.maximum(t - attack, 0.0) / constant)


def swell(length: float, attack: float, release: float, rate: int) -> Signal:
    """Rises, holds and falls along half cosines; attack and release in seconds."""
    t = seconds(length, rate)
    rise = np.clip(t / max(attack, 1e-4), 0, 1)
    fall = np.clip((length - t) / max(release, 1e-4), 0, 1)
    return np.asarray((0.5 - 0.5 * np.cos(np.pi * rise)) * (0.5 - 0.5 * np.cos(np.pi * fall)))


def wander(rng: Rng, length: float, rate: int, hz: float) -> Signal:
    """A slow random curve, mostly within −1 … 1, that turns about `hz` times a second."""
    knots = rng.standard_normal(max(4, int(length * hz) + 4))
    places = np.linspace(0, len(knots) - 1, len(seconds(length, rate)))
    return np.interp(places, np.arange(len(knots)), knots)


def place(parts: Sequence[tuple[float, Signal]], length: float, rate: int) -> Signal:
    """Adds sounds up, each from its start in seconds; what sticks out at the end is cut."""
    total = np.zeros(len(seconds(length, rate)))
    for start, part in parts:
        first = int(start * rate)
        fitting = part[: max(0, len(total) - first)]
        total[first : first + len(fitting)] += fitting
    return total


def every(rng: Rng, period: float, jitter: float, length: float) -> list[float]:
    """Start times of a more or less steady beat; jitter 0 … 1 is the share of a period."""
    starts = np.arange(0.02, length, period)
    moved = starts + rng.uniform(-jitter / 2, jitter / 2, len(starts)) * period
    return [float(s) for s in np.clip(moved, 0, length)]


def scatter(rng: Rng, per_second: float, length: float) -> list[float]:
    """Start times of independent events, at least one."""
    count = max(1, int(rng.poisson(per_second * length)))
    return [float(s) for s in np.sort(rng.uniform(0, length, count))]


def repeat(make: Callable[[], Signal], starts: Sequence[float], length: float, rate: int) -> Signal:
    """A new sound of `make` at each start."""
    return place([(start, make()) for start in starts], length, rate)


def room(rng: Rng, x: Signal, tail: float, share: float, rate: int) -> Signal:
    """Adds an echoing room: `tail` seconds, `share` 0 … 1 of the sound."""
    echo = rng.standard_normal(max(8, int(tail * rate)))
    echo *= np.exp(-np.linspace(0, 6, len(echo)))
    wet = signal.fftconvolve(x, echo)[: len(x)]
    scale = float(np.std(x)) / max(float(np.std(wet)), 1e-9)
    return np.asarray((1 - share) * x + share * scale * wet)


def normalise(x: Signal, peak: float) -> NDArray[np.float32]:
    """Scaled to this peak, ends faded over 5 ms, float32."""
    fade = min(len(x) // 4, 80)
    shaped = x - float(np.mean(x))
    shaped[:fade] *= np.linspace(0, 1, fade)
    shaped[-fade:] *= np.linspace(1, 0, fade)
    return (peak * shaped / max(float(np.abs(shaped).max()), 1e-9)).astype(np.float32)
