"""Long and broken sounds, and runs that are stopped: what is on disk is never done again."""

import os
import shutil
import sqlite3
import tracemalloc
from collections.abc import Callable, Sequence
from contextlib import closing
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from scipy.io import wavfile

from m2d_clap.index import Index, Progress, Report, build_index
from m2d_clap.index import reading as reading_module
from m2d_clap.index.captions import Captioning
from m2d_clap.index.options import Options
from m2d_clap.model import Waveform

RATE = 1000


class Ear:
    """Stands in for Clap: four statistics of a sound. Remembers the seconds it heard at once."""

    config = SimpleNamespace(front_end=SimpleNamespace(sample_rate=RATE), clap_dim=4)

    def __init__(self) -> None:
        self.heard: list[float] = []

    def log_mel(self, sound: Waveform) -> torch.Tensor:
        return torch.from_numpy(sound.samples)

    def grids(self, sounds: Sequence[torch.Tensor]) -> Sequence[torch.Tensor]:
        self.heard.append(sum(len(sound) for sound in sounds) / RATE)
        return sounds

    def project(self, sounds: Sequence[torch.Tensor]) -> torch.Tensor:
        rows = [[s.mean(), s.std(unbiased=False), s[0], s[-1]] for s in sounds]
        return torch.tensor(rows, dtype=torch.float32) + 0.01


def write(file: Path, seconds: float, seed: int = 0) -> None:
    noise = np.random.default_rng(seed).normal(0, 3000, int(seconds * RATE))
    noise += 2000 * np.sin(np.arange(len(noise)) / (700 + 90 * seed))
    file.parent.mkdir(parents=True, exist_ok=True)
    wavfile.write(file, RATE, noise.astype(np.int16))


def build(
    library: Path,
    out: Path,
    ear: Any,
    progress: Callable[[Progress], None] = lambda _: None,
    captioning: Captioning | None = None,
) -> Report:
    options = Options(batch_seconds=40, captioning=captioning)
    return build_index(library, out, Path("model"), "f" * 64, ear, progress, options)


def stop_at(seconds: float) -> dict[str, Any]:
    def stop(progress: Progress) -> None:
        if progress.seconds >= seconds:
            raise KeyboardInterrupt

    return {"progress": stop}


def rows(out: Path) -> list[tuple[Any, ...]]:
    with closing(sqlite3.connect(out / "catalogue.sqlite")) as db:
        return list(db.execute("SELECT * FROM windows ORDER BY clip, position"))


def test_a_long_sound_is_embedded_batch_by_batch(tmp_path: Path) -> None:
    write(tmp_path / "sounds" / "long.wav", 605)
    ear = Ear()
    seen: list[Progress] = []
    report = build(tmp_path / "sounds", tmp_path / "x", ear, progress=seen.append)
    assert (report.clips, report.windows) == (1, 61)
    assert max(ear.heard) <= 50
    shares = [progress.share for progress in seen]
    assert shares == sorted(shares)
    assert shares[0] == 0
    assert 0.3 < shares[len(shares) // 2] < 0.9
    assert shares[-1] == 1


def test_memory_does_not_grow_with_the_length_of_a_sound(tmp_path: Path) -> None:
    write(tmp_path / "sounds" / "long.wav", 1200)
    tracemalloc.start()
    build(tmp_path / "sounds", tmp_path / "x", Ear())
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 1200 * RATE * 4 / 2


def test_a_long_sound_goes_on_where_it_was_stopped(tmp_path: Path) -> None:
    library = tmp_path / "sounds"
    write(library / "a.wav", 5, 1)
    write(library / "long.wav", 605, 2)
    build(library, tmp_path / "whole", Ear())
    for seconds in (40, 80, 120):
        with pytest.raises(KeyboardInterrupt):
            build(library, tmp_path / "x", Ear(), **stop_at(seconds))
    ear = Ear()
    report = build(library, tmp_path / "x", ear)
    assert report.embedded == 1
    assert sum(ear.heard) <= 610 - 240
    assert rows(tmp_path / "x") == rows(tmp_path / "whole")


def test_a_half_embedded_sound_is_not_in_the_index_and_leaves_with_its_file(
    tmp_path: Path,
) -> None:
    library, out = tmp_path / "sounds", tmp_path / "x"
    write(library / "a.wav", 5, 1)
    build(library, out, Ear())
    write(library / "long.wav", 605, 2)
    with pytest.raises(KeyboardInterrupt):
        build(library, out, Ear(), **stop_at(80))
    assert len(rows(out)) > 1
    assert [clip.path for clip in Index.open(out).clips] == ["a.wav"]
    (library / "long.wav").unlink()
    assert build(library, out, Ear()).clips == 1
    assert len(rows(out)) == 1


def test_equal_files_are_embedded_once(tmp_path: Path) -> None:
    for name in ("a", "b", "c"):
        write(tmp_path / "sounds" / f"{name}.wav", 3, 1)
    ear = Ear()
    report = build(tmp_path / "sounds", tmp_path / "x", ear)
    assert (report.clips, report.embedded, sum(ear.heard)) == (1, 1, 3)
    (clip,) = Index.open(tmp_path / "x").clips
    assert clip.paths == ("a.wav", "b.wav", "c.wav")
    assert build(tmp_path / "sounds", tmp_path / "x", ear).unchanged == 3


def test_what_is_known_of_a_damaged_sound_stays_with_its_content(tmp_path: Path) -> None:
    library, out = tmp_path / "sounds", tmp_path / "x"
    write(library / "a.wav", 30)
    whole = (library / "a.wav").read_bytes()
    (library / "a.wav").write_bytes(whole[: len(whole) // 2])

    def damage() -> str:
        assert not build(library, out, Ear()).skipped
        (clip,) = Index.open(out).clips
        return str(clip.metadata["damaged"])

    told = damage()
    os.utime(library / "a.wav", (1, 1))
    assert damage() == told, "touched"
    (library / "a.wav").rename(library / "b.wav")
    assert damage() == told, "moved"
    shutil.copy(library / "b.wav", library / "copy.wav")
    assert damage() == told, "copied"


def test_sounds_are_found_while_their_captions_are_made(tmp_path: Path) -> None:
    library, out = tmp_path / "sounds", tmp_path / "x"
    for seed, name in enumerate("ab"):
        write(library / f"{name}.wav", 3, seed)
    found: list[int] = []

    def listen(*_: Any) -> Any:
        found.append(len(Index.open(out)))
        return [SimpleNamespace(best=SimpleNamespace(text="a hum"))]

    captioner: Any = SimpleNamespace(listen=listen)
    report = build(library, out, Ear(), captioning=Captioning(captioner, "c" * 64))
    assert (found, report.captioned) == ([2, 2], 2)
    assert {clip.metadata["caption"] for clip in Index.open(out).clips} == {"a hum"}


def test_broken_files_are_reported_each_time_but_read_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    library, out = tmp_path / "sounds", tmp_path / "x"
    write(library / "good.wav", 3)
    samples = np.zeros(60 * RATE, np.float32)
    samples[-1] = np.nan
    wavfile.write(library / "nan.wav", RATE, samples)
    wavfile.write(library / "nan-twin.wav", RATE, samples)
    (library / "notes.txt").write_text("hello")
    (library / "mended.wav").write_text("hello you")

    decoded: list[object] = []
    real = reading_module.decode

    def decode(source: Any, rate: int, **more: Any) -> Any:
        decoded.append(source)
        return real(source, rate, **more)

    monkeypatch.setattr(reading_module, "decode", decode)
    reports = [build(library, out, Ear()) for _ in range(2)]
    assert reports[0].skipped == reports[1].skipped
    names = [path for path, _ in reports[0].skipped]
    assert names == ["mended.wav", "nan-twin.wav", "nan.wav", "notes.txt"]
    assert "NaN" in dict(reports[0].skipped)["nan-twin.wav"]
    assert len(decoded) == 4
    assert reports[1].unchanged == 1
    assert len(rows(out)) == 1

    write(library / "mended.wav", 3, 5)
    (library / "notes.txt").unlink()
    (library / "good.wav").write_text("no longer")
    report = build(library, out, Ear())
    assert [path for path, _ in report.skipped] == ["good.wav", "nan-twin.wav", "nan.wav"]
    assert [clip.path for clip in Index.open(out).clips] == ["mended.wav"]


def test_a_file_that_cannot_be_read_is_tried_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path / "sounds" / "a.wav", 3)
    real = Path.open

    def forbidden(path: Path, *args: Any, **more: Any) -> Any:
        if path.name == "a.wav":
            raise PermissionError(13, "Permission denied")
        return real(path, *args, **more)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "open", forbidden)
        report = build(tmp_path / "sounds", tmp_path / "x", Ear())
    assert report.skipped == (("a.wav", "it cannot be read: Permission denied"),)
    assert build(tmp_path / "sounds", tmp_path / "x", Ear()).clips == 1


def test_a_folder_without_sound_gives_an_index_without_hits(tmp_path: Path) -> None:
    (tmp_path / "sounds").mkdir()
    assert build(tmp_path / "sounds", tmp_path / "x", Ear()).clips == 0
    assert Index.open(tmp_path / "x").search(np.ones(4, np.float32)) == []
