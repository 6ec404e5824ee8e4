"""Waves, streams, drips, bubbles, pouring."""

import numpy as np

from m2d_clap.model.sounds.dsp import (
    Rng,
    Signal,
    band,
    coloured,
    decay,
    every,
    repeat,
    room,
    scatter,
    seconds,
    sine,
    swell,
    wander,
    white,
)
from m2d_clap.model.sounds.kind import Kind, Take


def _bubble(rng: Rng, rate: int, low: float, high: float) -> Signal:
    """A bubble rings at a pitch that rises while it dies away."""
    length = rng.uniform(0.03, 0.12)
    hz = np.exp(rng.uniform(np.log(low), np.log(high)))
    rise = hz * (1 + rng.uniform(0.1, 1.0) * seconds(length, rate) / length)
    return sine(rise, length, rate) * decay(length, length / 4, rate) * rng.uniform(0.2, 1)


def waves(rng: Rng, rate: int) -> Take:
    length = rng.uniform(4, 5)
    noise = band(coloured(rng, length, rate, 0.4), 100, 5000, rate)
    period = rng.uniform(1.8, 4)
    phase = seconds(length, rate) / period + rng.uniform(0, 1)
    surge = 0.12 + (0.5 - 0.5 * np.cos(2 * np.pi * phase)) ** 3
    hiss = band(white(rng, length, rate), 2500, 7000, rate) * np.roll(surge, int(0.25 * rate)) ** 2
    captions = (
        "waves rolling onto a beach",
        "ocean waves crashing on the shore",
        "the sea with breaking waves",
        "sea waves",
    )
    return Take(noise * surge + 0.4 * hiss, captions)


def stream(rng: Rng, rate: int) -> Take:
    length, strong = rng.uniform(3, 5), rng.uniform(0, 1)
    bubbles = repeat(
        lambda: _bubble(rng, rate, 400, 2500), scatter(rng, 60 + 60 * strong, length), length, rate
    )
    bed = band(white(rng, length, rate), 500, 4000, rate) * (0.05 + 0.25 * strong)
    words = (
        ("a rushing river", "a fast flowing stream")
        if strong > 0.5
        else ("a babbling brook", "a small stream trickling")
    )
    return Take(bubbles + bed, (*words, "flowing water"))


def dripping(rng: Rng, rate: int) -> Take:
    length, period = rng.uniform(3, 5), rng.uniform(0.35, 1.2)

    def drop() -> Signal:
        plop = _bubble(rng, rate, 700, 1800)
        return np.concatenate([0.4 * white(rng, 0.004, rate), plop])

    sound = repeat(drop, every(rng, period, 0.5, length - 0.3), length, rate)
    speed = "slowly " if period > 0.8 else "quickly " if period < 0.5 else ""
    captions = (f"water dripping {speed}".strip(), "a dripping tap", "drops of water falling")
    return Take(room(rng, sound, rng.uniform(0.2, 1.0), 0.3, rate), captions)


def bubbles(rng: Rng, rate: int) -> Take:
    length, density = rng.uniform(2.5, 4.5), rng.uniform(8, 35)
    low = rng.uniform(120, 350)
    sound = repeat(
        lambda: _bubble(rng, rate, low, low * 4), scatter(rng, density, length), length, rate
    )
    captions = ("bubbles in water", "bubbling water", "bubbles rising under water", "gurgling")
    return Take(band(sound, 0, 2500, rate), captions)


def pouring(rng: Rng, rate: int) -> Take:
    length = rng.uniform(2, 4)
    t = seconds(length, rate)
    splash = band(white(rng, length, rate), 700, 6000, rate) * (
        1 + 0.4 * wander(rng, length, rate, 9)
    )
    # The column of air above the water shortens, so its pitch climbs.
    filling = rng.uniform(300, 450) * (1 + 2.5 * (t / length) ** 2)
    hum = sine(filling, length, rate) * wander(rng, length, rate, 25)
    grains = repeat(lambda: _bubble(rng, rate, 500, 2000), scatter(rng, 50, length), length, rate)
    sound = (0.5 * splash + 0.7 * hum + grains) * swell(length, 0.1, 0.3, rate)
    captions = ("water being poured into a glass", "pouring water", "filling a glass with a drink")
    return Take(sound, captions)


KINDS: dict[str, Kind] = {
    "waves": waves,
    "stream": stream,
    "dripping_water": dripping,
    "bubbles": bubbles,
    "pouring_water": pouring,
}
