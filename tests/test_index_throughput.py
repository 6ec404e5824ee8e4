"""The benchmark of indexing runs and says what it measured."""

import json
import runpy
import sys
from pathlib import Path

import pytest

from m2d_clap.model import Checkpoint, Clap, ClapConfig
from m2d_clap.model.config import EncoderConfig, ProjectorConfig

FILE = Path(__file__).parent / "benchmarks" / "index_throughput.py"


@pytest.mark.parametrize("form", [(), ("--json",)])
def test_it_prints_times_real_time(
    form: tuple[str, ...],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    config = ClapConfig(
        encoder=EncoderConfig(frames=64, width=16, depth=1, heads=2),
        projector=ProjectorConfig("mlp", 16, 16),
    )
    Checkpoint.of(Clap(config)).save(tmp_path / "model")
    words = [str(FILE), "--checkpoint", str(tmp_path / "model"), "--seconds", "20", *form]
    monkeypatch.setattr(sys, "argv", words)
    runpy.run_path(str(FILE), run_name="__main__")
    printed = capsys.readouterr().out
    if form:
        figures = json.loads(printed)
        assert figures["sound_seconds"] == 20
        assert set(figures["shares"]) == {"decode", "log-mel", "encode"}
    else:
        assert "× real time: 20.0 s of sound" in printed
        assert len(printed.splitlines()) == 1
