"""The benchmark of training counts what torch counts, and says what it measured."""

import json
import runpy
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from m2d_clap.training.stages import STAGES

BENCHMARK = runpy.run_path(str(Path(__file__).parent / "benchmarks" / "train_step.py"))
TINY = runpy.run_path(str(Path(__file__).with_name("distributed_run.py")))


def attention(q: Tensor, k: Tensor, v: Tensor, *_: object, **__: object) -> Tensor:
    """In two products, which torch's counter sees; the CPU's fused attention it does not."""
    return (q @ k.transpose(-2, -1)).softmax(dim=-1) @ v


@pytest.mark.parametrize("name", ["1", "1.1", "2", "1-mini", "2.1-mini"])
def test_the_formula_counts_what_torch_counts(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.nn.functional, "scaled_dot_product_attention", attention)
    trainer = TINY["trainer"](TINY["STAGES"][name])
    examples = trainer.take()
    with FlopCounterMode(display=False) as counter:
        trainer.gradients(examples)
    trainer.close()
    expected = BENCHMARK["step_flops"](trainer.stage, examples)
    assert expected == pytest.approx(counter.get_total_flops(), rel=0.01)


@pytest.mark.parametrize("words", [[], ["--json", "--accumulate", "2", "--checkpoint-activations"]])
def test_it_prints_step_time_and_utilisation(
    words: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(STAGES, "1", TINY["STAGES"]["1"])
    common = ["--stage", "1", "--batch", "6", "--steps", "2", "--device", "cpu"]
    BENCHMARK["main"]([*common, "--precision", "float32", *words])
    printed = capsys.readouterr().out
    if not words:
        assert "clips a second" in printed and len(printed.splitlines()) == 3
        return
    figures: dict[str, Any] = json.loads(printed)
    assert figures["clips_a_second"] == pytest.approx(6 / figures["step_seconds"])
    assert 0 < figures["utilisation"] < 1
    assert set(figures["seconds_of"]) == {"data", "forward", "backward", "optimiser"}
    assert figures["accumulate"] == 2 and not figures["compiled"]


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_it_measures_a_gpu(capsys: pytest.CaptureFixture[str]) -> None:
    BENCHMARK["main"](["--stage", "1", "--batch", "64", "--steps", "3", "--json"])
    figures = json.loads(capsys.readouterr().out)
    assert figures["compiled"] and figures["gigabytes"] > 0 and 0 < figures["utilisation"] < 1
