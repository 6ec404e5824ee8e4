"""Checkpoints of one model have a mean; others are told apart."""

import dataclasses
import json
from pathlib import Path

import pytest
import torch
from typer.testing import CliRunner

from m2d_clap.model import Checkpoint, Clap, ClapConfig
from m2d_clap.model.config import EncoderConfig, ProjectorConfig
from m2d_clap.model.errors import CheckpointError
from m2d_clap.service.cli import build
from m2d_clap.training.average import mean_of

CONFIG = ClapConfig(
    licence="Apache-2.0",
    encoder=EncoderConfig(frames=64, width=16, depth=1, heads=2),
    projector=ProjectorConfig("mlp", 16, 16),
)


def model(seed: int, dtype: torch.dtype = torch.float32, **changes: object) -> Checkpoint:
    torch.manual_seed(seed)
    return Checkpoint.of(Clap(dataclasses.replace(CONFIG, **changes)), dtype)  # type: ignore[arg-type]


def test_every_weight_is_the_mean_by_the_shares_given() -> None:
    one, other = model(0, torch.float16), model(1, licence="CC BY-NC 4.0")
    mean = mean_of([one, other], [1, 3])
    for name, weight in mean.weights.items():
        wanted = one.weights[name].double() / 4 + other.weights[name].double() * 3 / 4
        assert weight.dtype == torch.float16
        assert torch.equal(weight, wanted.to(torch.float16))
    assert mean.config.licence == "Apache-2.0 and CC BY-NC 4.0"
    assert mean_of([one, other], [1, 0]).weights.keys() == one.weights.keys()
    assert mean.clap().config == mean.config


def test_different_models_have_no_mean() -> None:
    wider = dataclasses.replace(CONFIG.projector, dim=8)
    with pytest.raises(CheckpointError, match="differ in projector"):
        mean_of([model(0), model(1), model(2, projector=wider)], [1, 1, 1])


def test_the_command_writes_a_checkpoint_and_says_how_it_is_used(tmp_path: Path) -> None:
    def average(*words: str) -> object:
        return CliRunner().invoke(build(), ["average", *words, "--out", str(tmp_path / "mean")])

    folders = [str(tmp_path / str(seed)) for seed in (0, 1)]
    for seed, folder in enumerate(folders):
        model(seed).save(Path(folder))
    for wrong in (folders[:1], [*folders, "--share", "1"], [*folders, *("--share", "0") * 2]):
        assert average(*wrong).exit_code == 2  # type: ignore[attr-defined]
    result = average(*folders, "--json")
    told = json.loads(result.stdout)  # type: ignore[attr-defined]
    saved = Checkpoint.load(tmp_path / "mean")
    assert told == {"checkpoint": str(tmp_path / "mean"), "fingerprint": saved.fingerprint}
    equal = mean_of([model(0), model(1)], [1, 1])
    assert saved.fingerprint == equal.fingerprint
