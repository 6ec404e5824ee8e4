"""Random changes of log-mels that leave a caption true. All take raw (not normalised) log-mels."""

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from m2d_clap.model.mel import SILENCE
from m2d_clap.training.mixing import mix_log_mels

_DECIBEL = float(np.log(10) / 10)  # of power, in natural logarithms
_KNOTS = 6  # of a random equaliser's curve over the mel bands
_BELOW_PEAK = (15.0, 60.0)  # dB, of a background


@dataclass(frozen=True)
class Augmentation:
    """How much of each; zeros leave the sounds alone.

    gain_db: loudness, ± dB. filter_db: standard deviation of a smooth random equaliser, as other
    microphones and rooms would give. noisy: share of sounds that get a steady background.
    stretch: time, up to this factor either way. shift: pitch, ± mel bands. mask_mels, mask_frames:
    SpecAugment, widest band and largest share of time. mixed: share of sounds mixed with another.
    """

    gain_db: float = 0.0
    filter_db: float = 0.0
    noisy: float = 0.0
    stretch: float = 1.0
    shift: int = 0
    mask_mels: int = 0
    mask_frames: float = 0.0
    mixed: float = 0.0


NO_AUGMENTATION = Augmentation()


def stretched(sound: Tensor, frames: int) -> Tensor:
    """(mels, n) → (mels, frames) by linear interpolation along time."""
    if sound.shape[1] == frames:
        return sound
    return F.interpolate(sound.unsqueeze(0), size=frames, mode="linear")[0]


def varied(sounds: Tensor, augmentation: Augmentation, rng: np.random.Generator) -> Tensor:
    """Pitch shift, equaliser, background, gain and masks, drawn for each of (batch, mels, frames)."""
    batch, mels, frames = sounds.shape
    out = sounds
    if augmentation.shift:
        moves = torch.from_numpy(rng.integers(-augmentation.shift, augmentation.shift + 1, batch))
        bands = (torch.arange(mels) - moves[:, None]).clamp(0, mels - 1)
        out = out.gather(1, bands.unsqueeze(-1).expand(-1, -1, frames))
    if augmentation.filter_db:
        curves = _curves(batch, mels, rng) * augmentation.filter_db * _DECIBEL
        out = (out + curves.unsqueeze(-1)).clamp_min(SILENCE)
    if augmentation.noisy:
        out = _in_noise(out, augmentation.noisy, rng)
    if augmentation.gain_db:
        gains = rng.uniform(-augmentation.gain_db, augmentation.gain_db, (batch, 1, 1)) * _DECIBEL
        out = (out + torch.from_numpy(gains.astype(np.float32))).clamp_min(SILENCE)
    if augmentation.mask_mels:
        hidden = _stretches(mels, rng.integers(0, augmentation.mask_mels + 1, batch), rng)
        out = torch.where(hidden[:, :, None], out.mean(dim=(1, 2), keepdim=True), out)
    if augmentation.mask_frames:
        widths = (rng.uniform(0, augmentation.mask_frames, batch) * frames).astype(int)
        hidden = _stretches(frames, widths, rng)
        out = torch.where(hidden[:, None, :], out.mean(dim=(1, 2), keepdim=True), out)
    return out


def mixtures(
    sounds: Tensor, share: float, rng: np.random.Generator
) -> tuple[Tensor, Tensor, Tensor]:
    """Mixes a share of the sounds each with another of the batch.

    Returns (mixed sounds, partner (batch,), weight (batch,) of the sound itself, 1 where alone).
    """
    batch = len(sounds)
    partner = torch.from_numpy(rng.permutation(batch))
    drawn = np.where(rng.uniform(size=batch) < share, rng.uniform(0.3, 0.7, batch), 1.0)
    own = torch.from_numpy(drawn.astype(np.float32))
    mixed = [
        sound if weight == 1 else mix_log_mels(sound, sounds[other], float(weight))
        for sound, other, weight in zip(sounds, partner, own, strict=True)
    ]
    return torch.stack(mixed), partner, own


def _curves(batch: int, mels: int, rng: np.random.Generator) -> Tensor:
    """(batch, mels) float32 smooth curves, unit variance at their knots."""
    knots = torch.from_numpy(rng.standard_normal((batch, 1, _KNOTS)).astype(np.float32))
    return F.interpolate(knots, size=mels, mode="linear", align_corners=True)[:, 0]


def _in_noise(sounds: Tensor, share: float, rng: np.random.Generator) -> Tensor:
    """Adds a steady background of random colour to a share of (batch, mels, frames)."""
    batch, mels, _ = sounds.shape
    below = torch.from_numpy(rng.uniform(*_BELOW_PEAK, batch).astype(np.float32)) * _DECIBEL
    level = sounds.amax(dim=(1, 2)) - below
    colour = _curves(batch, mels, rng) * 6 * _DECIBEL
    noise = level[:, None, None] + colour.unsqueeze(-1)
    chosen = torch.from_numpy(rng.uniform(size=batch) < share)
    return torch.where(chosen[:, None, None], torch.logaddexp(sounds, noise), sounds)


def _stretches(size: int, widths: np.ndarray, rng: np.random.Generator) -> Tensor:
    """(batch, size) bool: one stretch of each width, at a random place."""
    starts = (rng.uniform(size=len(widths)) * (size - widths + 1)).astype(int)
    places = np.arange(size)
    return torch.from_numpy((places >= starts[:, None]) & (places < (starts + widths)[:, None]))
