"""Other engines than plain torch give what plain torch gives."""

import sys
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from m2d_clap.model import Clap, Precision, Waveform
from m2d_clap.model.config import ClapConfig, EncoderConfig, Engine, ProjectorConfig
from m2d_clap.model.engines import EngineError, engine

CONFIG = ClapConfig(
    encoder=EncoderConfig(frames=96, width=48, depth=2, heads=3),
    projector=ProjectorConfig("mlp", dim=24, hidden=24),
)


def clap_on(name: Engine, precision: Precision = "float32", threads: int = 1) -> Clap:
    torch.manual_seed(0)
    clap = Clap(CONFIG).eval()
    clap.precision = precision
    clap.audio.backbone.engine = engine(clap, name, threads)
    return clap


@pytest.fixture(scope="module")
def plain() -> Clap:
    return clap_on("torch")


@pytest.fixture(scope="module")
def fast() -> Clap:
    return clap_on("openvino")


def sound(seconds: float, seed: int) -> Waveform:
    samples = np.random.default_rng(seed).normal(0, 0.1, int(seconds * 16000) + 201)
    return Waveform(samples.astype(np.float32), 16000)


@settings(max_examples=15, deadline=None)
@given(seconds=st.lists(st.floats(0.05, 2.5), min_size=1, max_size=4), seed=st.integers(0, 99))
def test_on_openvino_sounds_of_any_lengths_have_the_embeddings_that_torch_gives(
    plain: Clap, fast: Clap, seconds: list[float], seed: int
) -> None:
    sounds = [sound(s, seed + number) for number, s in enumerate(seconds)]
    torch.testing.assert_close(
        fast.embed_audio(sounds), plain.embed_audio(sounds), rtol=0, atol=1e-4
    )


@pytest.mark.filterwarnings("ignore::DeprecationWarning:torch")
def test_compiled_blocks_give_the_embeddings_that_torch_gives(
    plain: Clap, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The back end that needs no C++ compiler; what goes through it is the same.
    monkeypatch.setattr(torch, "compile", partial(torch.compile, backend="aot_eager"))
    sounds = [sound(1.7, 1)]
    compiled = clap_on("compile").embed_audio(sounds)
    torch.testing.assert_close(compiled, plain.embed_audio(sounds), rtol=0, atol=1e-4)


def test_on_openvino_in_bfloat16_the_embedding_points_the_same_way(plain: Clap) -> None:
    low = clap_on("openvino", "bfloat16").embed_audio([sound(2, 1)])
    assert torch.cosine_similarity(low, plain.embed_audio([sound(2, 1)])).item() >= 0.999


def test_on_openvino_threads_of_one_core_each_work_beside_each_other(plain: Clap) -> None:
    clap = clap_on("openvino", threads=2)
    sounds = [sound(0.3 * (1 + number), number) for number in range(6)]
    with ThreadPoolExecutor(2, initializer=torch.set_num_threads, initargs=(1,)) as lanes:
        found = list(lanes.map(lambda each: clap.embed_audio([each]), sounds))
    together = clap.embed_audio(sounds)  # on both cores
    for embeddings in (torch.cat(found), together):
        torch.testing.assert_close(embeddings, plain.embed_audio(sounds), rtol=0, atol=1e-4)


def test_training_goes_on_in_torch(fast: Clap) -> None:
    tokens = torch.randn(1, 5, 48, requires_grad=True)
    fast.audio.backbone.transform(tokens).sum().backward()
    assert tokens.grad is not None


def test_without_the_extra_it_says_what_to_install(
    plain: Clap, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "openvino", None)
    with pytest.raises(EngineError, match=r"pip install 'm2d-clap\[openvino\]'"):
        engine(plain, "openvino")
