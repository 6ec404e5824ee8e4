"""A sound gets the labels whose sentences are nearest, from the command line and in a demo."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.io import wavfile
from typer.testing import CliRunner

from m2d_clap.model import Checkpoint, Clap, ClapConfig, read_audio, similarity
from m2d_clap.model.config import EncoderConfig, ProjectorConfig, TextConfig
from m2d_clap.model.errors import AudioError, ClapError
from m2d_clap.model.sounds import make
from m2d_clap.service.cli import build as cli
from m2d_clap.service.tagging import Label, rank, vocabulary


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(0)
    clap = Clap(
        ClapConfig(
            encoder=EncoderConfig(frames=64, width=16, depth=1, heads=2),
            projector=ProjectorConfig("mlp", 384, 16),
            text=TextConfig("minilm", max_tokens=256),
        )
    )
    folder = tmp_path_factory.mktemp("tagging") / "tiny"
    Checkpoint.of(clap).save(folder)
    return folder


@pytest.fixture
def sound(tmp_path: Path) -> Path:
    file = tmp_path / "rain.wav"
    wavfile.write(file, 16000, make("rain", 0).samples)
    return file


def test_the_vocabulary_is_audioset_and_more_without_doubles() -> None:
    labels = vocabulary()
    assert sum(label.mid is not None for label in labels) == 527
    assert len(labels) > 600
    assert len({label.name.lower() for label in labels}) == len(labels)


def test_labels_become_sentences() -> None:
    assert Label("dog_bark").prompt == "dog bark can be heard"


def test_the_nearest_labels_come_first_and_ties_keep_their_order() -> None:
    sentences = np.array([[0, 1], [1, 0], [1, 0]], np.float32)
    tags = rank(np.array([1, 0], np.float32), sentences, [Label("a"), Label("b"), Label("c")], 2)
    assert [(tag.label.name, tag.score) for tag in tags] == [("b", 1.0), ("c", 1.0)]


def test_the_command_scores_by_cosine_and_takes_labels_with_commas(
    sound: Path, tiny: Path, tmp_path: Path
) -> None:
    more = tmp_path / "labels.txt"
    more.write_text("wind\n\n  birds  \n")
    words = ["tag", str(sound), "--label", "heavy rain, outside", "--labels-file", str(more)]
    result = CliRunner().invoke(cli(), [*words, "--checkpoint", str(tiny), "--json"])
    tags = {tag["name"]: tag["score"] for tag in json.loads(result.stdout)["tags"]}
    assert set(tags) == {"heavy rain, outside", "wind", "birds"}
    clap = Checkpoint.load(tiny).clap()
    audio = clap.embed_audio([read_audio(sound, 16000)])
    expected = similarity(audio, clap.embed_text(["wind can be heard"]))
    assert tags["wind"] == pytest.approx(expected.item(), abs=1e-4)


def test_without_labels_the_built_in_ones_are_used(sound: Path, tiny: Path) -> None:
    words = ["tag", str(sound), "-k", "5", "--checkpoint", str(tiny), "--json"]
    tags = json.loads(CliRunner().invoke(cli(), words).stdout)["tags"]
    assert len(tags) == 5 and {t["name"] for t in tags} <= {x.name for x in vocabulary()}


def test_a_broken_file_and_missing_labels_are_clear_errors(tiny: Path, tmp_path: Path) -> None:
    broken = tmp_path / "broken.wav"
    broken.write_bytes(b"no sound")
    words = ["tag", str(broken), "--checkpoint", str(tiny)]
    assert isinstance(CliRunner().invoke(cli(), words).exception, AudioError)
    result = CliRunner().invoke(cli(), [*words, "--labels-file", str(tmp_path / "none.txt")])
    assert isinstance(result.exception, ClapError)
    assert "cannot read the labels" in str(result.exception)


def test_a_demo_of_ones_own_folder_prints_searches_and_tags_and_ends(
    sound: Path, tmp_path: Path
) -> None:
    script = Path(sys.executable).with_name("m2d-clap")
    library = tmp_path / "my sounds"
    library.mkdir()
    sound.rename(library / "rain.wav")
    words = ["demo", "--library", library, "--folder", tmp_path / "demo", "--port", "0", "--once"]
    ended = subprocess.run(
        [script, *words],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        env={**os.environ, "M2D_CLAP_THREADS": "1"},
    )
    assert ended.returncode == 0, ended.stderr
    assert ended.stdout.count("/v1/search/text") == 3
    assert "rain.wav" in ended.stdout and "/v1/tags" in ended.stdout
