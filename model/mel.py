"""Waveform → log-mel spectrogram, as the published models define it (m2d: nnAudio, Slaney mels)."""

import functools

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from m2d_clap.model.config import FrontEndConfig

EPSILON = 1.1920929e-07  # float32's machine epsilon, inside the logarithm
SILENCE = float(np.log(EPSILON))  # the raw log-mel of zero samples


def log_mel(waveform: Tensor, config: FrontEndConfig) -> Tensor:
    """Raw log-mel, before normalisation.

    waveform: (batch, samples) float32 at `config.sample_rate`; shorter than `min_samples` is
        padded with zeros behind.
    Returns (batch, 1, mels, 1 + samples // hop) float32, natural log of mel power + epsilon.
    """
    if waveform.shape[-1] < config.min_samples:
        waveform = F.pad(waveform, (0, config.min_samples - waveform.shape[-1]))
    window, bank = tables(config, waveform.device)
    spectrum = torch.stft(
        waveform,
        n_fft=config.n_fft,
        hop_length=config.hop,
        window=window,
        center=True,
        pad_mode="reflect",
        return_complex=True,
    )
    power = spectrum.real.square() + spectrum.imag.square()
    return torch.log(torch.matmul(bank, power) + EPSILON).unsqueeze(1)


def normalise(raw: Tensor, config: FrontEndConfig) -> Tensor:
    """(x − mean) / std with the checkpoint's statistics; any shape."""
    return (raw - config.mean) / config.std


def mel_bank(config: FrontEndConfig) -> NDArray[np.float64]:
    """Triangular filters on Slaney's scale with unit area, (mels, n_fft // 2 + 1).

    Slaney, Auditory Toolbox (1998): linear to 1 kHz, logarithmic above.
    """
    edges = _hz(
        np.linspace(_mel(config.f_min), _mel(config.f_max), config.mels + 2)
    )  # (mels + 2,) Hz
    bins = np.linspace(0.0, config.sample_rate / 2, config.n_fft // 2 + 1)
    rising = (bins - edges[:-2, None]) / (edges[1:-1] - edges[:-2])[:, None]
    falling = (edges[2:, None] - bins) / (edges[2:] - edges[1:-1])[:, None]
    triangles = np.maximum(0.0, np.minimum(rising, falling))
    area: NDArray[np.float64] = triangles * (2.0 / (edges[2:] - edges[:-2]))[:, None]
    return area


_HZ_PER_MEL = 200.0 / 3.0
_BREAK_HZ = 1000.0
_BREAK_MEL = _BREAK_HZ / _HZ_PER_MEL
_LOG_STEP = np.log(6.4) / 27.0


def _mel(hz: float) -> float:
    if hz < _BREAK_HZ:
        return hz / _HZ_PER_MEL
    return float(_BREAK_MEL + np.log(hz / _BREAK_HZ) / _LOG_STEP)


def _hz(mel: NDArray[np.float64]) -> NDArray[np.float64]:
    logarithmic = _BREAK_HZ * np.exp(_LOG_STEP * (mel - _BREAK_MEL))
    return np.where(mel < _BREAK_MEL, _HZ_PER_MEL * mel, logarithmic)


@functools.lru_cache(maxsize=8)
def tables(config: FrontEndConfig, device: torch.device) -> tuple[Tensor, Tensor]:
    """The STFT's window (n_fft,) and the mel filters (mels, n_fft // 2 + 1), float32."""
    window = torch.hann_window(config.n_fft, periodic=True, device=device)
    bank = torch.from_numpy(mel_bank(config).astype(np.float32)).to(device)
    return window, bank
