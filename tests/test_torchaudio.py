"""Our front end and resampling agree with torchaudio's, where that can be imported."""

import io

import numpy as np
import pytest
import torch
from scipy.io import wavfile

from m2d_clap.model import read_audio
from m2d_clap.model.config import FrontEndConfig
from m2d_clap.model.mel import EPSILON, log_mel

try:
    import torchaudio
except (ImportError, OSError, RuntimeError):  # its wheels want CUDA's libraries
    pytest.skip("torchaudio cannot be imported here", allow_module_level=True)


@pytest.mark.parametrize("rate", [16_000, 32_000])
def test_log_mels_agree(rate: int) -> None:
    config = FrontEndConfig.for_rate(rate)
    noise = torch.randn(2, 3 * config.sample_rate, generator=torch.Generator().manual_seed(0))
    theirs = torchaudio.transforms.MelSpectrogram(
        sample_rate=config.sample_rate,
        n_fft=config.n_fft,
        hop_length=config.hop,
        f_min=config.f_min,
        f_max=config.f_max,
        n_mels=config.mels,
        norm="slaney",
        mel_scale="slaney",
        power=2.0,
    )(noise)
    expected = torch.log(theirs + EPSILON).unsqueeze(1)
    assert (log_mel(noise, config) - expected).abs().max() < 1e-3


def test_resampled_tones_agree() -> None:
    time = np.arange(44_100) / 44_100
    tone = (0.5 * np.sin(2 * np.pi * 1000 * time)).astype(np.float32)
    file = io.BytesIO()
    wavfile.write(file, 44_100, tone)
    ours = read_audio(file.getvalue(), 16_000).samples
    theirs = torchaudio.functional.resample(torch.from_numpy(tone), 44_100, 16_000).numpy()
    inner = slice(500, min(len(ours), len(theirs)) - 500)
    assert np.abs(ours[inner] - theirs[inner]).max() < 5e-3
