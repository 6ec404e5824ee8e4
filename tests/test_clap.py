"""Sounds and sentences become vectors of one space, the same alone and in company."""

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from m2d_clap.model import Clap, ClapConfig, Waveform, similarity
from m2d_clap.model.config import EncoderConfig, ProjectorConfig, TextConfig
from m2d_clap.model.errors import BadSamplesError, TextEncoderError
from m2d_clap.model.text_encoder import find_text_encoder


@pytest.fixture(scope="module")
def clap() -> Clap:
    torch.manual_seed(0)
    config = ClapConfig(
        encoder=EncoderConfig(frames=200, width=32, depth=2, heads=2),
        projector=ProjectorConfig("semantic", dim=384, blocks=2),
        text=TextConfig("minilm", max_tokens=256),
    )
    return Clap(config).eval()


def noise(samples: int, seed: int) -> Waveform:
    rng = np.random.default_rng(seed)
    return Waveform(rng.normal(0, 0.1, samples).astype(np.float32), 16000)


@settings(max_examples=10, deadline=None)
@given(st.lists(st.integers(1, 100_000), min_size=15, max_size=15))
def test_a_sound_embeds_the_same_alone_and_in_a_batch(clap: Clap, lengths: list[int]) -> None:
    sounds = [noise(n, seed) for seed, n in enumerate([50_000, *lengths])]
    together = clap.embed_audio(sounds)
    for place in (0, 1, 15):
        alone = clap.embed_audio([sounds[place]])[0]
        assert (alone - together[place]).abs().max() < 1e-5


def test_bfloat16_stays_close_to_float32(clap: Clap) -> None:
    sounds = [noise(40_000, seed) for seed in range(4)]
    exact = clap.embed_audio(sounds)
    clap.precision = "bfloat16"
    try:
        fast = clap.embed_audio(sounds)
    finally:
        clap.precision = "float32"
    assert torch.cosine_similarity(exact, fast).min() > 0.999
    assert not torch.equal(exact, fast)  # it was computed in bfloat16 indeed


def test_the_bundled_minilm_knows_what_sentences_mean_without_a_network(
    clap: Clap, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    texts = clap.embed_text(["a dog barking", "a barking dog", "rain falling on a roof"])
    cosines = similarity(texts, texts)
    assert texts.shape == (3, 384)
    assert cosines[0, 1] > 0.9 > cosines[0, 2]


def test_a_text_asked_again_comes_from_the_cache(
    clap: Clap, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = clap.embed_text(["thunder", "a cat"])

    def refuse() -> None:
        raise AssertionError("encoded again")

    monkeypatch.setattr(clap, "text_encoder", refuse)
    assert torch.equal(clap.embed_text(["a cat", "thunder", "a cat"]), first[[1, 0, 1]])


def test_a_text_encoder_that_is_nowhere_is_reported_with_all_places_tried(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(TextEncoderError) as caught:
        find_text_encoder("gte-base", None)
    message = str(caught.value)
    places = ["a path given", "an installed bundle", "the local hub cache", "the hub"]
    positions = [message.index(place + ":") for place in places]
    assert positions == sorted(positions)
    with pytest.raises(TextEncoderError, match=r"config\.json"):
        find_text_encoder("gte-base", tmp_path)


def test_a_waveform_of_another_rate_is_refused(clap: Clap) -> None:
    with pytest.raises(BadSamplesError, match="16000"):
        clap.embed_audio([Waveform(np.zeros(8000, np.float32), 8000)])


def test_an_audio_only_checkpoint_says_so_when_asked_for_text() -> None:
    config = ClapConfig(encoder=EncoderConfig(frames=16, width=8, depth=1, heads=1))
    with pytest.raises(TextEncoderError, match="audio only"):
        Clap(config).embed_text(["rain"])
