"""`m2d-clap index`, killed with SIGKILL again and again, ends with the index of a quiet run."""

import sqlite3
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from scipy.io import wavfile

from m2d_clap.index import Index, build_index
from m2d_clap.model import Checkpoint, Clap, ClapConfig
from m2d_clap.model.config import EncoderConfig, ProjectorConfig

COMMAND = "import typer; from m2d_clap.index.command import index; typer.run(index)"
"""As the script runs it, without the other commands, whose imports take a second each time."""
COMMITS = (1, 4, 1, 6, 2)
"""How many transactions each run may write; the first three make the catalogue, then batches."""


def test_killed_five_times_and_given_again_it_makes_the_same_index(tmp_path: Path) -> None:
    library, model, out = tmp_path / "sounds", tmp_path / "model", tmp_path / "killed"
    seconds = _write(library)
    torch.manual_seed(0)
    config = ClapConfig(
        encoder=EncoderConfig(frames=64, width=16, depth=1, heads=2),
        projector=ProjectorConfig("mlp", 16, 16),
    )
    checkpoint = Checkpoint.of(Clap(config))
    checkpoint.save(model)
    words = [sys.executable, "-c", COMMAND, str(library), "--out", str(out)]
    words += ["--checkpoint", str(model), "--batch-seconds", "20"]
    embedded = [0.0]
    for commits in COMMITS:
        _kill_after(commits, words, out / "catalogue.sqlite-wal")
        embedded.append(_embedded(out / "catalogue.sqlite"))
    assert embedded == sorted(embedded)
    assert len(set(embedded)) == len(COMMITS), "every run but the first came further"
    assert not (out / "index.json").exists()

    clap = checkpoint.clap()
    report = build_index(library, out, model, checkpoint.fingerprint, clap)
    assert report.seconds == pytest.approx(seconds - embedded[-1])
    build_index(library, tmp_path / "quiet", model, checkpoint.fingerprint, clap)
    killed, quiet = _index(out), _index(tmp_path / "quiet")
    learned = [facts.pop("calibration") for facts, _ in (killed, quiet)]
    assert learned[0] == pytest.approx(learned[1], rel=1e-4)  # from vectors equal up to rounding
    assert killed[0] == quiet[0]
    assert np.allclose(killed[1], quiet[1], atol=1e-6)


def _write(library: Path) -> int:
    """A long sound, which the kills fall into, then short ones; returns their seconds together."""
    library.mkdir()
    random = np.random.default_rng(0)
    sounds = {"long": 700} | {f"short{n}": 1 + n for n in range(10)}
    for name, seconds in sounds.items():
        noise = random.normal(0, 3000, seconds * 8000)
        noise *= np.sin(np.arange(len(noise)) / random.uniform(1e3, 1e5))
        wavfile.write(library / f"{name}.wav", 8000, noise.astype(np.int16))
    return sum(sounds.values())


def _kill_after(commits: int, words: list[str], journal: Path) -> None:
    """Starts the command, watches SQLite's journal, and kills."""
    running = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    try:
        while _commits(journal) < commits:
            assert running.poll() is None
            time.sleep(0.001)
    finally:
        running.kill()
        running.communicate()


def _commits(journal: Path) -> int:
    """Transactions in a write-ahead log: frames that say how large the file is after them."""
    log = journal.read_bytes() if journal.exists() else b""
    return sum(any(log[frame + 4 : frame + 8]) for frame in range(32, len(log), 24 + 4096))


def _embedded(catalogue: Path) -> float:
    """Seconds of sound that survived; takes the journal into the file, as any next run does."""
    with closing(sqlite3.connect(catalogue)) as db:
        if not db.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]:
            return 0.0
        return float(db.execute('SELECT total("end" - start) FROM windows').fetchone()[0])


def _index(folder: Path) -> tuple[dict[str, Any], Any]:
    index = Index.open(folder)
    facts = {
        "calibration": vars(index.base.calibration),
        "clips": list(index.clips),
        "rows": [index.base.owners.tolist(), index.base.times.tolist()],
    }
    return facts, index.rows(range(index.windows))
