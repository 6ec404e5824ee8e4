"""Made-up sounds are varied, captioned, repeatable, and sound roughly like what they are called."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import signal

from m2d_clap.model import read_audio
from m2d_clap.model.sounds import SoundKindError, kinds, make, write_library
from m2d_clap.training.manifest import read_manifest


def spectrum(kind: str, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Frequencies in Hz and their mean power."""
    sound = make(kind, seed)
    hz, power = signal.welch(sound.samples, sound.sample_rate, nperseg=1024)
    return hz, power


def flatness(kind: str) -> float:
    """1 for white noise, near 0 for a tone."""
    _, power = spectrum(kind)
    used = power[2:-40]
    return float(np.exp(np.log(used + 1e-15).mean()) / used.mean())


def test_there_are_at_least_forty_kinds() -> None:
    assert len(kinds()) >= 40
    assert {"rain", "siren", "kick_drum", "birds", "helicopter", "typing", "morse_code"} < set(
        kinds()
    )


@pytest.mark.parametrize("kind", kinds())
def test_every_kind_makes_an_audible_captioned_sound(kind: str) -> None:
    sound = make(kind, 0)
    assert sound.samples.dtype == np.float32 and sound.samples.ndim == 1
    assert np.isfinite(sound.samples).all()
    assert 0.2 < np.abs(sound.samples).max() <= 1
    assert 0.4 < len(sound.samples) / sound.sample_rate < 8
    assert np.sqrt(np.mean(sound.samples**2)) > 0.003
    assert len(sound.caption.split()) >= 1 and sound.caption == sound.caption.strip()


@settings(max_examples=12, deadline=None)
@given(st.sampled_from(kinds()), st.integers(0, 2**31), st.sampled_from([8000, 16000, 32000]))
def test_a_seed_always_makes_the_same_sound_and_another_seed_another(
    kind: str, seed: int, rate: int
) -> None:
    sound, again, other = make(kind, seed, rate), make(kind, seed, rate), make(kind, seed + 1, rate)
    assert sound.caption == again.caption and np.array_equal(sound.samples, again.samples)
    assert not np.array_equal(sound.samples, other.samples)
    assert np.isfinite(sound.samples).all() and sound.sample_rate == rate


def test_captions_vary() -> None:
    assert len({make("dog_bark", seed).caption for seed in range(12)}) >= 3


def test_an_unknown_kind_lists_those_there_are() -> None:
    with pytest.raises(SoundKindError, match="rain"):
        make("silence of the moon", 0)


def test_noise_is_flat_and_bells_are_not() -> None:
    assert flatness("white_noise") > 0.8
    assert flatness("church_bell") < 0.1
    assert flatness("flute") < 0.1


def test_a_heartbeat_is_low_and_crickets_are_high() -> None:
    hz, power = spectrum("heartbeat")
    assert power[hz < 200].sum() > 0.9 * power.sum()
    hz, power = spectrum("crickets")
    assert power[hz > 2000].sum() > 0.9 * power.sum()


def test_the_pitch_of_a_siren_moves() -> None:
    sound = make("siren", 0)
    hz, _, power = signal.spectrogram(sound.samples, sound.sample_rate, nperseg=1024)
    loudest = hz[power[:120].argmax(axis=0)]
    assert loudest.max() > 1.2 * loudest.min()


def test_a_library_is_files_and_the_manifest_training_reads(tmp_path: Path) -> None:
    manifest = write_library(tmp_path / "library", per_kind=1, seed=3, sample_rate=8000)
    rows = read_manifest(manifest)
    assert [row.label for row in rows] == list(kinds())
    rain = next(row for row in rows if row.label == "rain")
    made = make("rain", 3, 8000)
    assert rain.captions == (made.caption,)
    assert np.abs(read_audio(rain.file, 8000).samples - made.samples).max() < 1e-3
