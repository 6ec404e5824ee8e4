"""Several processes train as one does: the same weights in each, and those of the whole batch."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
import typer

from m2d_clap.model.errors import ClapError
from m2d_clap.training import distributed
from m2d_clap.training.distributed import device_of, once

SCRIPT = Path(__file__).with_name("distributed_run.py")
STAGES = ("1", "1.1", "2", "1-mini", "2.1-mini")


def meaningful(key: str, weight: torch.Tensor) -> torch.Tensor:
    """The weight without the bias of attention keys: it moves every score of a query alike, so
    its gradient is rounding noise, which AdamW blows up to full steps."""
    if key.endswith("qkv.bias"):
        queries, _, values = weight.chunk(3)
        return torch.cat([queries, values])
    return torch.zeros(1) if key.endswith("key.bias") else weight


Ends = dict[tuple[str, int], list[dict[str, Any]]]
"""By stage and parts of a step: what each process had in the end."""


def trained(folder: Path, processes: int, *parts: int) -> Ends:
    launcher = ["-m", "torch.distributed.run", f"--nproc-per-node={processes}", "--standalone"]
    words = [sys.executable, *(launcher if processes > 1 else []), SCRIPT, folder]
    words += [",".join(map(str, parts)), *STAGES]
    ended = subprocess.run(words, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr[-3000:]
    return {
        (name, each): [
            torch.load(folder / f"{name}-{each}-{rank}.pt", weights_only=True)
            for rank in range(processes)
        ]
        for name in STAGES
        for each in parts
    }


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> Ends:
    return trained(tmp_path_factory.mktemp("alone"), 1, 1)


@pytest.fixture(scope="module")
def together(tmp_path_factory: pytest.TempPathFactory) -> Ends:
    return trained(tmp_path_factory.mktemp("together"), 2, 1, 3)


@pytest.mark.parametrize("parts", [1, 3], ids=["whole", "in three parts"])
@pytest.mark.parametrize("name", STAGES)
def test_two_processes_train_as_one_with_the_whole_batch(
    name: str, parts: int, alone: Ends, together: Ends
) -> None:
    (one,), (first, second) = alone[name, 1], together[name, parts]
    moved = 0.0
    for key, weight in one["weights"].items():
        assert torch.equal(first["weights"][key], second["weights"][key]), key
        difference = meaningful(key, first["weights"][key]) - meaningful(key, weight)
        assert difference.abs().max() < 1e-5, key
    for step, (seen, wanted) in enumerate(zip(first["seen"], one["seen"], strict=True)):
        assert seen == pytest.approx(wanted, rel=1e-4, abs=1e-5), step
        moved += abs(wanted["loss"] - one["seen"][0]["loss"])
    assert len(one["seen"]) == 20 and moved > 1e-3


def test_more_processes_than_gpus_are_told_how_many_there_are(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setenv("LOCAL_RANK", "1")
    assert device_of("auto") == "cuda:1" and device_of("cpu") == "cpu"
    monkeypatch.setenv("LOCAL_RANK", "2")
    with pytest.raises(ClapError, match="--nproc-per-node 2"):
        device_of("auto")


def test_a_device_that_is_none_or_not_there_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert device_of("auto") == "cpu"
    with pytest.raises(ClapError, match="no CUDA device"):
        device_of("cuda")
    with pytest.raises(typer.BadParameter, match="auto, cpu, cuda, not 'tpu'"):
        device_of("tpu")


def test_what_the_first_process_finds_ends_all(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []

    def refuse() -> None:
        asked.append(distributed.rank())
        raise ClapError("a leak")

    once(lambda: asked.append(0))
    with pytest.raises(ClapError, match="a leak"):
        once(refuse)
    monkeypatch.setattr(distributed, "rank", lambda: 1)
    monkeypatch.setattr(distributed, "everywhere", lambda holds: False)
    with pytest.raises(ClapError, match="the first process says why"):
        once(refuse)
    assert asked == [0, 0]
