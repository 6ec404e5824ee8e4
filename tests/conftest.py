"""Golden models made by the recipe of tests/golden, as published .pth files in their folders."""

import argparse
import json
import zlib
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from m2d_clap.model import Clap
from m2d_clap.model.upstream import Hints, import_published

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


@pytest.fixture(scope="session")
def golden_claps(published: dict[str, Path]) -> dict[str, Clap]:
    """The same, imported."""
    hints = Hints(heads=2, text_heads=2)
    return {name: import_published(file, hints).clap() for name, file in published.items()}


@pytest.fixture(scope="session")
def golden_tensor() -> Callable[[str, str, list[int]], torch.Tensor]:
    """(salt, key, shape) → the weight the recipe gives it."""
    return tensor_of
