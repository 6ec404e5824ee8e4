"""Killed with SIGKILL at any moment of indexing, adding, deleting, compacting and switching, an index
opens, holds every clip that was acknowledged and none that was deleted, and `--check` finds it well.

A few moments here, 200 in `make test-kill`. A moment costs one fork of a process that has imported
everything, not a start of Python.
"""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from scipy.io import wavfile

from m2d_clap.index import Index
from m2d_clap.index.check import check_index

SCRIPT = Path(__file__).with_name("killed_index.py")
STEPS, LONGEST = 12, 0.08
"""The kill comes within so many seconds after so many steps, at most."""


@pytest.mark.parametrize("moments", [6, pytest.param(200, marks=pytest.mark.kill)])
def test_nothing_acknowledged_is_lost_and_nothing_deleted_comes_back(
    tmp_path: Path, moments: int
) -> None:
    (tmp_path / "sounds").mkdir()
    for seed in range(4):
        noise = np.random.default_rng(seed).normal(0, 3000, 1500).astype(np.int16)
        wavfile.write(tmp_path / "sounds" / f"{seed}.wav", 1000, noise)
    random = np.random.default_rng(5)
    there: set[str] = set()
    gone: set[str] = set()
    seen: dict[str, int] = {}
    command = [sys.executable, SCRIPT, tmp_path]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        for moment in range(moments):
            steps = int(random.integers(0 if moment else 2, STEPS))
            said = killed(process, moment, steps, float(random.uniform(0, LONGEST)))
            for word, *rest in (line.split() for line in said):
                seen[word] = seen.get(word, 0) + 1
                if word == "add":
                    there.add(rest[0])
                elif word == "deleting":  # it may be killed between the change and its word
                    there.discard(rest[0])
                elif word == "delete":
                    gone.add(rest[0])
            if not (tmp_path / "x" / "index.json").exists():
                assert "index" not in seen
                continue
            index = Index.open(tmp_path / "x")
            found = {clip.id for clip in index.clips}
            assert there <= found, f"moment {moment}: lost {there - found}"
            assert not gone & found, f"moment {moment}: back again {gone & found}"
            assert sum(clip.stored is None for clip in index.clips) == 4
            for clip in index.clips:
                assert clip.stored is None or index.files(clip)[0].is_file()
                query = index.vector(clip)
                assert index.search(query, 1)[0].score == pytest.approx(1, abs=1e-3)
            assert index.windows == len(index.clips)
            checked = check_index(tmp_path / "sounds", tmp_path / "x")
            wrong = [f.what for f in checked.findings if not f.what.startswith("the checkpoint")]
            assert not wrong, f"moment {moment}: {wrong}"  # there is no checkpoint here
    assert seen["index"] and there
    if moments > 50:
        assert seen.keys() >= {"add", "delete", "compact", "index"} and gone


def killed(process: "subprocess.Popen[str]", seed: int, steps: int, seconds: float) -> list[str]:
    """What a run said before it was killed."""
    assert process.stdin is not None and process.stdout is not None
    process.stdin.write(f"{seed}\n")
    process.stdin.flush()
    child = int(process.stdout.readline().split()[1])
    said = [process.stdout.readline() for _ in range(steps)]
    time.sleep(seconds)
    os.kill(child, signal.SIGKILL)
    return said + list(iter(process.stdout.readline, "ended\n"))
