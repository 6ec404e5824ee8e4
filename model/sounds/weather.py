"""Rain, wind, thunder, hail."""

import numpy as np

from m2d_clap.model.sounds.dsp import (
    Rng,
    band,
    coloured,
    decay,
    repeat,
    room,
    scatter,
    swell,
    wander,
    white,
)
from m2d_clap.model.sounds.kind import Kind, Take


def rain(rng: Rng, rate: int) -> Take:
    length, heavy = rng.uniform(3, 5), rng.uniform(0, 1)
    hiss = band(white(rng, length, rate), 800 - 500 * heavy, 7000, rate) * (0.1 + heavy)

    def drop() -> np.ndarray:
        low = rng.uniform(1500, 4000)
        click = white(rng, 0.02, rate) * decay(0.02, 0.003, rate, 0.0005)
        return band(click, low, low * 1.8, rate) * rng.uniform(1, 6)

    drops = repeat(drop, scatter(rng, 40 + 100 * heavy, length), length, rate)
    hiss *= 1 + 0.15 * wander(rng, length, rate, 1.5)
    if heavy > 0.6:
        words = ("heavy rain pouring down", "heavy rain falling", "a downpour of rain")
    elif heavy < 0.3:
        words = ("light rain pattering", "a light drizzle of rain", "soft rain falling")
    else:
        words = ("rain falling", "steady rain", "it is raining")
    return Take(hiss + drops, (*words, "the sound of rain"))


def wind(rng: Rng, rate: int) -> Take:
    length, howl = rng.uniform(3.5, 5), rng.uniform(0, 1)
    gust = np.clip(0.6 + 0.4 * wander(rng, length, rate, 0.8), 0.05, 2)
    noise = band(coloured(rng, length, rate, 0.8), 60, 900, rate) * gust
    whistling = np.zeros_like(noise)
    if howl > 0.4:
        centre = rng.uniform(350, 800)
        narrow = band(white(rng, length, rate), centre * 0.95, centre * 1.06, rate)
        whistling = 2.5 * howl * narrow * gust**2
        words = ("howling wind", "the wind is howling", "a strong wind whistles")
    else:
        words = ("wind blowing", "gusts of wind", "a breeze is blowing")
    return Take(noise + whistling, (*words, "windy weather"))


def thunder(rng: Rng, rate: int) -> Take:
    length, near = rng.uniform(3.5, 5), rng.uniform(0, 1)
    rumble = band(coloured(rng, length, rate, 1.0), 25, 90 + 250 * near, rate)
    rolls = sum(
        np.roll(decay(length, rng.uniform(0.4, 1.2), rate, 0.05), int(s * rate))
        * rng.uniform(0.4, 1)
        for s in scatter(rng, 1.0, length * 0.6)
    )
    crack = band(white(rng, 0.4, rate), 200, 5000, rate) * decay(0.4, 0.06, rate)
    sound = rumble * rolls
    if near > 0.5:
        sound[: len(crack)] += 1.5 * near * crack
        words = ("a loud clap of thunder", "thunder cracks close by", "lightning strikes nearby")
    else:
        words = ("distant thunder rumbling", "thunder rolling far away", "a rumble of thunder")
    return Take(sound * swell(length, 0.01, 1.0, rate), (*words, "thunder"))


def hail(rng: Rng, rate: int) -> Take:
    length, density = rng.uniform(2.5, 4.5), rng.uniform(30, 140)

    def stone() -> np.ndarray:
        ring = rng.uniform(900, 3500)
        hit = white(rng, 0.04, rate) * decay(0.04, 0.006, rate, 0.0005)
        return band(hit, ring, ring * 1.3, rate) * rng.uniform(0.3, 1.5)

    sound = repeat(stone, scatter(rng, density, length), length, rate)
    captions = ("hail hitting a roof", "hailstones rattling down", "a hail storm")
    return Take(room(rng, sound, 0.15, 0.3, rate), captions)


KINDS: dict[str, Kind] = {"rain": rain, "wind": wind, "thunder": thunder, "hail": hail}
