"""Several processes train as one does: the same weights in each, and those of the whole batch."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

SCRIPT = Path(__file__).with_name("distributed_run.py")


def meaningful(key: str, weight: torch.Tensor) -> torch.Tensor:
    """The weight without the bias of attention keys: it moves every score of a query alike, so
    its gradient is rounding noise, which AdamW blows up to full steps."""
    if key.endswith("qkv.bias"):
        queries, _, values = weight.chunk(3)
        return torch.cat([queries, values])
    return torch.zeros(1) if key.endswith("key.bias") else weight


def trained(name: str, folder: Path, processes: int) -> list[dict[str, Any]]:
    launcher = ["-m", "torch.distributed.run", f"--nproc-per-node={processes}", "--standalone"]
    words = [sys.executable, *(launcher if processes > 1 else []), SCRIPT, name, folder]
    ended = subprocess.run(words, capture_output=True, text=True, timeout=200, check=False)
    assert ended.returncode == 0, ended.stderr[-3000:]
    files = [folder / f"{name}-{rank}-of-{processes}.pt" for rank in range(processes)]
    return [torch.load(file, weights_only=True) for file in files]


@pytest.mark.parametrize("name", ["1", "1-mini", "2"])
def test_two_processes_train_as_one_with_the_whole_batch(name: str, tmp_path: Path) -> None:
    first, second = trained(name, tmp_path, 2)
    (alone,) = trained(name, tmp_path, 1)
    for key, weight in alone["weights"].items():
        assert torch.equal(first["weights"][key], second["weights"][key]), key
        difference = meaningful(key, first["weights"][key]) - meaningful(key, weight)
        assert difference.abs().max() < 1e-5, key
