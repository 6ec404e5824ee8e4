"""Sounds embedded on a Ray cluster, started here: the same index as without it."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from scipy.io import wavfile

from m2d_clap.index import Index, build_index
from m2d_clap.index.errors import LibraryIndexError
from m2d_clap.index.pipeline import Work
from m2d_clap.index.ray import RayCluster, _groups, _once
from m2d_clap.index.reading import Heard, Whole
from m2d_clap.index.walk import File
from m2d_clap.index.windows import Window
from m2d_clap.model import Checkpoint, Clap, ClapConfig
from m2d_clap.model.config import EncoderConfig, ProjectorConfig

SCRIPT = Path(sys.executable).with_name("m2d-clap")


@pytest.fixture
def model(tmp_path: Path) -> Path:
    torch.manual_seed(0)
    config = ClapConfig(
        encoder=EncoderConfig(frames=64, width=16, depth=1, heads=2),
        projector=ProjectorConfig("mlp", 16, 16),
    )
    Checkpoint.of(Clap(config)).save(tmp_path / "model")
    return tmp_path / "model"


def sound(file: Path, seed: int, seconds: float = 1.0) -> None:
    noise = np.random.default_rng(seed).normal(0, 3000, int(16000 * seconds))
    noise *= np.sin(np.arange(len(noise)) * (0.01 + 0.1 * seed))
    wavfile.write(file, 16000, noise.astype(np.int16))


def by_ray(library: Path, out: Path, model: Path) -> dict[str, Any]:
    words = [SCRIPT, "index", library, "--out", out, "--checkpoint", model, "--ray", "local"]
    done = subprocess.run(
        [*words, "--json"], check=False, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return dict(json.loads(done.stdout))


def test_ray_makes_the_same_index_and_embeds_only_what_is_new(tmp_path: Path, model: Path) -> None:
    pytest.importorskip("ray")
    library = tmp_path / "sounds"
    library.mkdir()
    for seed in range(12):
        sound(library / f"{seed:02}.wav", seed, 12.0 if seed == 3 else 1.0)
    (library / "copy.wav").write_bytes((library / "00.wav").read_bytes())
    (library / "note.txt").write_text("no sound")
    first = by_ray(library, tmp_path / "x", model)
    assert (first["clips"], first["windows"], first["embedded"]) == (12, 13, 12)
    assert (first["identical"], [s["path"] for s in first["skipped"]]) == (1, ["note.txt"])
    checkpoint = Checkpoint.load(model)
    build_index(library, tmp_path / "y", model, checkpoint.fingerprint, checkpoint.clap())
    there, here = Index.open(tmp_path / "x"), Index.open(tmp_path / "y")
    assert [*there.clips] == [*here.clips]
    assert np.abs(there.rows(range(13)) - here.rows(range(13))).max() < 1e-5
    again = by_ray(library, tmp_path / "x", model)
    assert (again["embedded"], again["unchanged"]) == (0, 13)
    sound(library / "new.wav", 99)
    assert by_ray(library, tmp_path / "x", model)["embedded"] == 1


def heard(name: str, clip: str, position: int) -> Heard:
    return Heard(File(name, 1, 1), clip, position, Window(0.0, 1.0, np.zeros(0, np.float32)), 1)


def test_what_two_workers_embed_at_once_is_kept_once() -> None:
    one, two, three = (np.full(2, n, np.float32) for n in range(3))
    a, b = File("a", 1, 1), File("b", 1, 1)
    results = [
        ([heard("a", "x", 0), Whole(a, "x", 1.0)], [one]),
        ([heard("b", "x", 0), Whole(b, "x", 1.0), heard("c", "y", 0)], [two, three]),
        ([heard("d", "known", 0)], [one]),
    ]
    (first, vectors), (second, more) = _once(iter(results), {"known"})
    assert (first, vectors) == results[0]
    assert second[0] == Whole(b, "x", None) and [vector[0] for vector in more] == [2.0]
    assert [piece.clip for piece in second] == ["x", "y"]


def test_files_are_grouped_so_that_little_is_lost_with_one_group() -> None:
    files = [File(f"{n}", 1, 1) for n in range(130)] + [File("long", 1 << 30, 1), File("e", 1, 1)]
    groups = [*_groups(files)]
    assert [file for group in groups for file in group] == files
    assert [len(group) for group in groups] == [64, 64, 3, 1]


def test_a_cluster_that_is_not_there_is_told_at_once_and_nothing_to_embed_needs_none(
    tmp_path: Path,
) -> None:
    cluster = RayCluster("nowhere", tmp_path)
    assert [*cluster(Work(tmp_path, [], set(), {}))] == []
    pytest.importorskip("ray")
    with pytest.raises(LibraryIndexError, match="nowhere"):
        next(cluster(Work(tmp_path, [File("a.wav", 1, 1)], set(), {})))
