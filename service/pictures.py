"""Sound → loudness along time, and a picture of its spectrum. Plain functions of values.

Both draw a clip at its full length, of a Waveform or, where that is hours, of Glimpses. Where only its
beginning was decoded, the rest stays empty.
"""

import io
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from m2d_clap.model import Waveform
from m2d_clap.model.glimpses import Glimpses
from m2d_clap.service.schemas import Theme

WINDOW = 1024
"""Samples of a spectrum."""
_LOWEST, _DEPTH = 50.0, 80.0  # Hz of the lowest line; dB from the loudest to the background
_LOOKS = 4  # spectra in each column at most, whatever time it stands for
_STOPS: dict[Theme, tuple[tuple[int, int, int], ...]] = {
    "dark": ((16, 18, 27), (44, 36, 96), (121, 44, 130), (206, 72, 96), (250, 153, 72), (253, 236, 176)),
    "light": ((255, 255, 255), (222, 228, 244), (150, 168, 220), (92, 92, 178), (72, 36, 116), (30, 12, 48)),
}  # fmt: skip


def peaks(sound: Waveform | Glimpses, seconds: float, points: int) -> list[float]:
    """The largest |sample|, 0 … 1, of each of `points` equal stretches of `seconds`; of glimpses, as
    many as points, that of each one."""
    if isinstance(sound, Glimpses):
        return [round(float(value), 4) for value in np.abs(sound.stretches).max(axis=1)]
    edges = np.linspace(0.0, seconds * sound.sample_rate, points + 1).astype(np.int64)
    edges = np.minimum(edges, len(sound.samples))
    loud = np.append(np.minimum(np.abs(sound.samples), 1.0), np.float32(0.0))
    # A stretch shorter than a sample takes the one it lies in.
    largest = np.maximum.reduceat(loud, np.minimum(edges[:-1], len(loud) - 1))
    largest[edges[:-1] >= len(sound.samples)] = 0.0
    return [round(float(value), 4) for value in largest]


def spectrogram(
    sound: Waveform | Glimpses, seconds: float, width: int, height: int, theme: Theme = "dark"
) -> bytes:
    """A PNG of `width` × `height` pixels: time to the right, pitch (mel scale) upwards. Glimpses: as
    many as columns, of WINDOW samples each."""
    from PIL import Image

    shades = _shades(sound, seconds, width, height)
    picture = Image.frombytes("P", (width, height), shades.tobytes())
    picture.putpalette(_palette(theme))
    out = io.BytesIO()
    picture.save(out, "PNG", optimize=False, compress_level=6)
    return out.getvalue()


def _shades(
    sound: Waveform | Glimpses, seconds: float, width: int, height: int
) -> NDArray[np.uint8]:
    """(height, width) 0 … 255, the highest pitch in row 0."""
    lines = _lines(sound.sample_rate, height)
    low = np.floor(lines).astype(np.int64)
    part = (lines - low)[:, None]
    decibels = np.full((height, width), -np.inf, np.float32)
    hann = np.hanning(WINDOW + 1)[:-1].astype(np.float32)
    for columns, looks in _looks(sound, seconds, width):
        frames = looks * hann
        power = (np.abs(np.fft.rfft(frames, axis=-1)) ** 2).mean(axis=1).T
        rows = power[low] * (1 - part) + power[low + 1] * part
        decibels[:, columns] = 10.0 * np.log10(rows + 1e-12)
    # A hum in an otherwise silent file shall not be shown as loud as music.
    top = max(float(decibels.max()), -40.0)
    shares = np.clip((decibels - top) / _DEPTH + 1.0, 0.0, 1.0)
    return np.ascontiguousarray((255.0 * shares[::-1]).astype(np.uint8))


def _looks(
    sound: Waveform | Glimpses, seconds: float, width: int
) -> Iterator[tuple[NDArray[np.int64], NDArray[np.float32]]]:
    """Numbers of some columns, and (columns, looks, WINDOW): the sound's samples in each of them."""
    if isinstance(sound, Glimpses):
        yield np.arange(width), sound.stretches[:, None]
        return
    column = seconds * sound.sample_rate / width  # samples
    looks = int(np.clip(np.ceil(column / (WINDOW / 2)), 1, _LOOKS))
    padded = np.pad(sound.samples, WINDOW // 2)
    known = min(width, int(np.ceil(len(sound.samples) / column)))
    block = max(1, 2048 // looks)
    for first in range(0, known, block):
        columns = np.arange(first, min(first + block, known))
        centres = (columns[:, None] + (np.arange(looks) + 0.5) / looks) * column
        starts = np.minimum(centres.astype(np.int64), len(sound.samples) - 1)
        yield columns, padded[starts[..., None] + np.arange(WINDOW)]


def _lines(rate: int, height: int) -> NDArray[np.float64]:
    """(height,) ascending: which bin of the spectrum each row shows, evenly spaced in mels."""
    low, high = (2595.0 * np.log10(1.0 + hz / 700.0) for hz in (_LOWEST, rate / 2))
    hertz = 700.0 * (10.0 ** (np.linspace(low, high, height) / 2595.0) - 1.0)
    return np.clip(hertz * WINDOW / rate, 0.0, WINDOW / 2 - 1e-6)


def _palette(theme: Theme) -> list[int]:
    """256 colours, red, green, blue after one another."""
    stops = np.array(_STOPS[theme], np.float64)
    at = np.linspace(0, len(stops) - 1, 256)
    channels = [np.interp(at, np.arange(len(stops)), stops[:, c]) for c in range(3)]
    return [int(v) for v in np.stack(channels, axis=1).round().astype(int).ravel()]
