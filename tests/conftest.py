"""Golden models made by the recipe of tests/golden, as published .pth files in their folders; and one
server, with a tiny model and a small library, that several files of tests ask."""

import argparse
import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
import zlib
from collections import OrderedDict
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import hypothesis
import numpy as np
import pytest
import torch
from scipy.io import wavfile

from m2d_clap.index import build_index
from m2d_clap.model import Checkpoint, Clap, ClapConfig
from m2d_clap.model.caption_file import CaptionerPart
from m2d_clap.model.captioner import CaptionerConfig
from m2d_clap.model.captioning import Captioner
from m2d_clap.model.config import EncoderConfig, ProjectorConfig, TextConfig
from m2d_clap.model.text_encoder import find_tokenizer
from m2d_clap.model.upstream import Hints, import_published
from m2d_clap.training.captioning.vocabulary import caption_vocabulary

# A busy machine may take its time over any example: tests of speed are in benchmarks/.
hypothesis.settings.register_profile(
    "m2d", deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow]
)
hypothesis.settings.load_profile("m2d")

LONGEST = ("stages", "operations", "distributed", "api", "first_index", "schemathesis", "worker")
"""Files of tests that take longest: begun first, so that none of them is what all wait for."""

GOLDEN = Path(__file__).parent / "golden"
FOLDERS = {
    "a": "m2d_clap_vit_base-80x1001p16x16p16kpBpTI-2025",
    "b": "m2d_clap_vit_base-80x608p16x16-240128",
    "c": "m2d_clap_vit_base-80x1001p16x16-240128_AS-FT_enconly",
}
NORM_STATS = {"a": [-7.261779308319092, 4.3511505126953125], "c": [-7.05, 4.15]}


def tensor_of(salt: str, key: str, shape: list[int]) -> torch.Tensor:
    """The random weight of a key: the recipe of the golden arrays, in float64, then float32."""
    x = np.random.RandomState(zlib.crc32(f"{salt}:{key}".encode())).standard_normal(shape)
    last = key.split(".")[-1]
    if last == "num_batches_tracked":
        return torch.tensor(100)
    if last == "logit_scale":
        x = np.asarray(np.log(1 / 0.07))
    elif last == "running_var":
        x = 0.05 + 0.02 * np.abs(x)
    elif last == "running_mean":
        x = 0.2 * x
    elif last in ("cls_token", "mask_token", "sem_token"):
        x = 0.5 * x
    elif last in ("pos_embed", "decoder_pos_embed"):
        x = 0.3 * x
    elif len(shape) == 1:
        x = 1 + 0.1 * x if last == "weight" else 0.05 * x
    else:
        x = x / np.sqrt(np.prod(shape[1:])) * (1.5 if key.endswith("qkv.weight") else 1.0)
    return torch.from_numpy(np.asarray(x, dtype=np.float32))


def golden_weights(name: str) -> dict[str, torch.Tensor]:
    """Every tensor of golden model `a`, `b` or `c` under its published key."""
    shapes = json.loads((GOLDEN / f"keys_tiny_{name}.json").read_text())
    weights = OrderedDict((k, tensor_of(name.upper(), k, s)) for k, s in shapes.items())
    for key in weights:
        if key.endswith("norm_stats"):
            weights[key] = torch.tensor(NORM_STATS[name])
    return weights


@pytest.fixture(scope="session")
def published(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The three golden models as files of the published layout."""
    files = {}
    for name, folder in FOLDERS.items():
        file = tmp_path_factory.mktemp("published") / folder / "checkpoint.pth"
        file.parent.mkdir()
        whole: dict[str, Any] = {"model": golden_weights(name)}
        if name == "b":
            whole |= {"epoch": 300, "args": argparse.Namespace(input_size=[80, 608])}
        torch.save(whole, file)
        files[name] = file
    return files


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    first = [f"test_{name}" for name in LONGEST]
    items.sort(key=lambda item: item.path.stem not in first)


@pytest.fixture(scope="session")
def golden_claps(published: dict[str, Path]) -> dict[str, Clap]:
    """The same, imported."""
    hints = Hints(heads=2, text_heads=2)
    return {name: import_published(file, hints).clap() for name, file in published.items()}


@pytest.fixture(scope="session")
def golden_tensor() -> Callable[[str, str, list[int]], torch.Tensor]:
    """(salt, key, shape) → the weight the recipe gives it."""
    return tensor_of


# Sentences need not mean anything here; MiniLM would take seconds of every start.
TEXT = TextConfig(
    "minilm", included=True, max_tokens=256, projection="linear", projection_in=32,
    architecture={
        "hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32
    },
)  # fmt: skip


@pytest.fixture(scope="session")
def served_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A library of tones in folders, one of them long and one there twice, and a tiny checkpoint,
    with a head and a captioner, and index."""
    folder = tmp_path_factory.mktemp("served")
    library = folder / "library"
    for number, hz in enumerate((200, 300, 500, 800, 1200, 2000, 3000, 5000)):
        place = library / ("low" if hz < 1000 else "high") / ("deep" if hz < 400 else "")
        place.mkdir(parents=True, exist_ok=True)
        seconds = 25.0 if hz == 500 else 0.5 + number / 4
        moments = np.arange(int(16000 * seconds)) / 16000
        loud = np.linspace(0.1, 0.6, len(moments))
        samples = (loud * np.sin(2 * np.pi * hz * moments)).astype(np.float32)
        wavfile.write(place / f"tone {hz}.wav", 16000, samples)
    shutil.copy(library / "high" / "tone 3000.wav", library / "copy of 3000.WAV")
    torch.manual_seed(0)
    clap = Clap(
        ClapConfig(
            name="tiny",
            encoder=EncoderConfig(frames=64, width=32, depth=1, heads=2),
            projector=ProjectorConfig("mlp", 384, 32),
            text=TEXT,
            labels=("/m/05tny_", "Rain", "my own class"),
            head_input=32,
        )
    ).eval()
    plain = Checkpoint.of(clap)
    definition = find_tokenizer(TextConfig("minilm")).definition
    vocabulary = caption_vocabulary(["a low tone", "a high tone"], definition)
    words = len(json.loads(vocabulary)["model"]["vocab"])
    sizes = CaptionerConfig(32, 384, words, width=16, depth=1, heads=2, max_tokens=8)
    captioner = CaptionerPart.of(Captioner(sizes, vocabulary), plain.hearing)
    checkpoint = replace(plain, captioner=captioner)
    checkpoint.save(folder / "tiny")
    build_index(library, folder / "index", folder / "tiny", checkpoint.fingerprint, clap)
    return folder


@contextlib.contextmanager
def serving(index: Path, **settings: str) -> Iterator[str]:
    """The address of a server of an index, ready; ended as an operator ends it."""
    script = Path(sys.executable).with_name("m2d-clap")
    chosen = {f"M2D_CLAP_{name.upper()}": value for name, value in settings.items()}
    with subprocess.Popen(
        [script, "serve", index, "--port", "0"],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "M2D_CLAP_THREADS": "1", **chosen},
    ) as process:
        try:
            assert process.stdout is not None
            line = process.stdout.readline()
            address = next(word for word in line.split() if word.startswith("http"))
            end = time.monotonic() + 120
            while httpx.get(f"{address}/readyz", trust_env=False).status_code != 200:
                assert time.monotonic() < end and process.poll() is None
                time.sleep(0.05)
            yield address
            process.send_signal(signal.SIGTERM)
            process.wait(30)
        finally:
            process.kill()


@pytest.fixture(scope="session")
def serve() -> Callable[..., contextlib.AbstractContextManager[str]]:
    """`with serve(index) as address`, for the files of tests below."""
    return serving


@pytest.fixture(scope="session")
def served(served_folder: Path) -> Iterator[str]:
    """The address of a server of it, ready."""
    with serving(served_folder / "index", precision="float32") as address:
        yield address
