"""Whatever is wrong with a manifest, every command says which row, before it computes anything."""

from pathlib import Path

import numpy as np
import pytest
from scipy.io import wavfile
from typer.testing import CliRunner

from m2d_clap.model.errors import ClapError
from m2d_clap.service.cli import build

GOOD = [
    "file,caption,label,split",
    "a.wav,a dog barks,dog,train",
    "b.wav,rain falls,rain,train",
    "c.wav,a dog howls,dog,valid",
    "d.wav,a storm,rain,test",
]
FAULTS = {
    "a missing file": (2, "gone.wav,rain falls,rain,train", r"line 3: .*gone\.wav"),
    "an empty caption": (2, "b.wav,,,train", "line 3: neither caption nor label"),
    "a wrong split name": (4, "d.wav,a storm,rain,tset", "line 5: the split 'tset' .* 'test'"),
    "a clip in two splits": (
        4,
        "a.wav,a storm,rain,test",
        r"line 2, .*\(train\) and line 5, .*a\.wav",
    ),
}
COMMANDS = {
    "train": ["train", "MANIFEST", "--out", "OUT"],
    "prepare": ["prepare", "MANIFEST", "OUT"],
    "evaluate linear": ["evaluate", "MANIFEST", "--protocol", "linear"],
    "evaluate fine-tune": ["evaluate", "MANIFEST", "--protocol", "fine-tune", "--out", "OUT"],
    "evaluate": ["evaluate", "MANIFEST", "--split", "train"],
}
# Where nothing is learned, a clip may stand in several splits.
CASES = [(c, f) for c in COMMANDS for f in FAULTS if (c, f) != ("evaluate", "a clip in two splits")]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("sounds")
    for number, name in enumerate("abcd"):
        noise = np.random.default_rng(number).normal(0, 1000, 4000)
        wavfile.write(folder / f"{name}.wav", 16000, noise.astype(np.int16))
    return folder


@pytest.mark.parametrize(("command", "fault"), CASES)
def test_the_row_is_named(command: str, fault: str, folder: Path, tmp_path: Path) -> None:
    place, line, message = FAULTS[fault]
    manifest = folder / f"{tmp_path.name}.csv"
    manifest.write_text("\n".join([*GOOD[:place], line, *GOOD[place + 1 :]]))
    names = {"MANIFEST": str(manifest), "OUT": str(tmp_path / "out")}
    words = [names.get(word, word) for word in COMMANDS[command]]
    if command != "prepare":
        words += ["--cache", str(tmp_path / "cache")]
    with pytest.raises(ClapError, match=message):
        CliRunner().invoke(build(), words, catch_exceptions=False)
    assert not (tmp_path / "out").exists() and not (tmp_path / "cache").exists()
