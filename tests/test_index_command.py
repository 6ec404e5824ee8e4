"""The commands `index` and `search`, as a person and as a machine meet them."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.io import wavfile
from typer.testing import CliRunner, Result

from m2d_clap.index import Index, build
from m2d_clap.index.errors import LibraryIndexError
from m2d_clap.model import Checkpoint, Clap, ClapConfig
from m2d_clap.model.config import EncoderConfig, ProjectorConfig, TextConfig
from m2d_clap.service.cli import build as cli


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Two checkpoints with different weights."""
    config = ClapConfig(
        encoder=EncoderConfig(frames=64, width=16, depth=1, heads=2),
        projector=ProjectorConfig("mlp", 384, 16),
        text=TextConfig("minilm", max_tokens=64),
    )
    folder = tmp_path_factory.mktemp("models")
    for seed, name in enumerate(("one", "two")):
        torch.manual_seed(seed)
        Checkpoint.of(Clap(config)).save(folder / name)
    return folder / "one", folder / "two"


@pytest.fixture
def library(tmp_path: Path) -> Path:
    folder = tmp_path / "my sounds"
    folder.mkdir()
    for seed in range(3):
        noise = np.random.default_rng(seed).normal(0, 3000, 8000).astype(np.int16)
        wavfile.write(folder / f"{seed}.wav", 16000, noise)
    for number in range(25):
        (folder / f"note{number:02}.txt").write_text("hello")
    (folder / ".hidden").touch()
    return folder


def call(*words: object) -> Result:
    return CliRunner().invoke(cli(), [str(word) for word in words])


def test_a_person_is_told_what_was_left_out_and_how_to_search(
    library: Path, tmp_path: Path, models: tuple[Path, Path]
) -> None:
    out = tmp_path / "the index"
    result = call("index", library, "--out", out, "--checkpoint", models[0])
    assert result.exit_code == 0
    assert "3 clips" in result.stdout
    assert "3 files new, 0 changed, 0 moved, 0 gone" in result.stdout
    assert "25 left out, 1 hidden" in result.stdout
    assert "slowest part: " in result.stderr
    assert f"m2d-clap search '{out}'" in result.stdout
    assert "note19.txt" in result.stderr
    assert "note20.txt" not in result.stderr
    assert "and 5 more" in result.stderr
    shown = call("search", out, "rain", "-k", 2)
    assert sum(".wav" in line for line in shown.stdout.splitlines()) == 2


def test_a_machine_gets_everything_as_json(
    library: Path, tmp_path: Path, models: tuple[Path, Path]
) -> None:
    out = tmp_path / "x"
    report = json.loads(
        call("index", library, "--out", out, "--checkpoint", models[0], "--json").stdout
    )
    assert (report["clips"], report["embedded"], report["hidden"]) == (3, 3, 1)
    assert report["seconds"] == pytest.approx(1.5)
    assert set(report["busy"]) == {"read", "decode", "log-mel", "encode", "write"}
    assert report["slowest"] == max(report["busy"], key=report["busy"].get)
    assert 0 < report["busy"][report["slowest"]] <= 1
    assert len(report["skipped"]) == 25
    assert set(report["skipped"][0]) == {"path", "reason"}
    hits = json.loads(call("search", out, "rain", "-k", 2, "--json").stdout)["hits"]
    assert len(hits) == 2
    assert set(hits[0]) == {"id", "path", "score", "start", "end", "moments"}


def test_the_kinds_that_fit_are_measured_on_what_is_there(
    library: Path, tmp_path: Path, models: tuple[Path, Path]
) -> None:
    words = ["index", library, "--out", tmp_path / "x", "--checkpoint", models[0]]
    assert call(*words, "--kind", "pq").exit_code == 0
    report = json.loads(call(*words, "--report", "--memory", "1200", "--json").stdout)
    found = {each["kind"]: each for each in report["kinds"]}
    assert set(found) == {"ivf-sq8", "pq"}
    assert found["pq"]["served"] and found["pq"]["bytes"] == 56
    assert "served now" in call(*words, "--report").stdout
    for wrong in (["--kind", "best"], ["--memory", "much"]):
        assert call(*words, *wrong).exit_code == 2


def test_another_checkpoint_is_refused_by_both_commands(
    library: Path, tmp_path: Path, models: tuple[Path, Path]
) -> None:
    out = tmp_path / "x"
    call("index", library, "--out", out, "--checkpoint", models[0])
    for words in (["index", library, "--out", out], ["search", out, "rain"]):
        refused = call(*words, "--checkpoint", models[1])
        assert isinstance(refused.exception, LibraryIndexError)
        assert f"--checkpoint {models[0]}" in str(refused.exception)


def test_a_folder_without_sound_says_so(tmp_path: Path, models: tuple[Path, Path]) -> None:
    (tmp_path / "empty").mkdir()
    result = call("index", tmp_path / "empty", "--out", tmp_path / "x", "--checkpoint", models[0])
    assert (result.exit_code, len(Index.open(tmp_path / "x"))) == (0, 0)
    assert "no sound was found" in result.stderr
    assert "holds no sound" in call("search", tmp_path / "x", "rain").stderr


def test_ctrl_c_ends_with_one_line(
    library: Path, tmp_path: Path, models: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(build, "write", interrupted)
    result = call("index", library, "--out", tmp_path / "x", "--checkpoint", models[0])
    assert result.exit_code == 130
    assert result.stderr.strip().splitlines()[-1] == "stopped; the same command goes on from here"
    assert "Traceback" not in result.output
