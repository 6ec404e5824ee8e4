"""A folder becomes an index that finds every second, whatever happened on the way."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from scipy.io import wavfile

from m2d_clap.index import Index, Progress, Report, build_index
from m2d_clap.index.catalogue import CATALOGUE_FILE, Catalogue
from m2d_clap.index.errors import LibraryIndexError
from m2d_clap.index.kinds import Wish
from m2d_clap.index.options import Options
from m2d_clap.index.windows import windows
from m2d_clap.model import Clap, ClapConfig, read_audio
from m2d_clap.model.config import EncoderConfig, ProjectorConfig


@pytest.fixture(scope="module")
def clap() -> Clap:
    torch.manual_seed(0)
    config = ClapConfig(
        encoder=EncoderConfig(frames=64, width=16, depth=1, heads=2),
        projector=ProjectorConfig("mlp", 16, 16),
    )
    return Clap(config).eval()


def write(file: Path, seconds: float, seed: int) -> None:
    noise = np.random.default_rng(seed).normal(0, 3000, int(seconds * 16000))
    ramp = np.sin(np.arange(len(noise)) * (0.01 + 0.1 * seed))
    file.parent.mkdir(parents=True, exist_ok=True)
    wavfile.write(file, 16000, (noise * ramp).astype(np.int16))


@pytest.fixture
def library(tmp_path: Path) -> Path:
    folder = tmp_path / "sounds"
    for seed in range(12):
        write(folder / f"{seed % 3}" / f"{seed}.wav", 0.3 + seed / 4, seed)
    write(folder / "long.wav", 27.5, 99)
    return folder


def build(
    library: Path,
    out: Path,
    clap: Clap,
    progress: Callable[[Progress], None] = lambda _: None,
    **options: Any,
) -> Report:
    given = library, out, Path("checkpoint"), "f" * 64, clap, progress
    return build_index(*given, Options(**options))


def test_a_sound_finds_itself_and_scores_are_exact_cosines(
    library: Path, tmp_path: Path, clap: Clap
) -> None:
    build(library, tmp_path / "x", clap)
    index = Index.open(tmp_path / "x")
    assert len(index) == 13
    query = clap.embed_audio([read_audio(library / "1" / "4.wav", 16000)])[0].numpy()
    hits = index.search(query, k=20)
    assert hits[0].clip.path == "1/4.wav"
    assert hits[0].score == pytest.approx(1, abs=1e-5)
    assert len({hit.clip.id for hit in hits}) == 13
    assert [h.score for h in hits] == sorted((h.score for h in hits), reverse=True)
    for hit in hits:
        sound = read_audio(index.file(hit.clip), 16000)
        cut = windows([sound.samples], 16000)
        best = max(
            float(torch.cosine_similarity(torch.from_numpy(query), embedding, dim=0))
            for embedding in clap.embed_audio([type(sound)(w.samples, 16000) for w in cut])
        )
        assert hit.score == pytest.approx(best, abs=1e-5)


def test_the_windows_of_a_sound_in_one_piece_share_its_memory() -> None:
    whole = np.arange(25_000, dtype=np.float32)
    cut = list(windows([whole], 1000))
    assert [window.start for window in cut] == [0, 10, 15]
    assert all(np.shares_memory(window.samples, whole) for window in cut[:2])


def test_every_second_of_a_long_sound_lies_in_a_window_and_none_is_short() -> None:
    for seconds in (0.1, 9.9, 10.0, 10.1, 27.5, 40.0):
        whole = np.arange(int(seconds * 1000), dtype=np.float32)
        cut = list(windows(np.array_split(whole, 7), 1000))
        assert np.array_equal(np.unique(np.concatenate([w.samples for w in cut])), whole)
        assert all(w.samples[0] == pytest.approx(w.start * 1000, abs=1) for w in cut)
        assert all(len(w.samples) == min(len(whole), 10_000) for w in cut)


def test_only_what_is_new_or_changed_is_embedded_again(
    library: Path, tmp_path: Path, clap: Clap
) -> None:
    out = tmp_path / "x"
    assert build(library, out, clap).embedded == 13
    assert build(library, out, clap).embedded == 0
    (library / "0" / "0.wav").rename(library / "moved.wav")
    shutil.copy(library / "moved.wav", library / "twin.wav")
    (library / "2" / "2.wav").unlink()
    write(library / "1" / "1.wav", 1.0, 77)
    report = build(library, out, clap)
    assert (report.embedded, report.clips, report.unchanged) == (1, 12, 10)
    assert (report.new, report.changed, report.moved, report.gone) == (1, 1, 1, 1)
    assert report.identical == 1
    query = clap.embed_audio([read_audio(library / "twin.wav", 16000)])[0].numpy()
    assert Index.open(out).search(query, k=1)[0].clip.paths == ("moved.wav", "twin.wav")


def test_a_new_generation_is_made_only_where_something_changed(
    library: Path, tmp_path: Path, clap: Clap
) -> None:
    out = tmp_path / "x"

    def generation(**options: Any) -> int:
        report = build(library, out, clap, **options)
        index = Index.open(out)
        assert (report.clips, report.windows) == (len(index), index.windows)
        return index.generation

    assert [generation(), generation()] == [1, 1]
    (library / "1" / "1.json").write_text('{"title": "said beside"}')
    assert [generation(), generation()] == [2, 2]
    (library / "0" / "0.wav").rename(library / "moved.wav")
    assert [generation(), generation()] == [3, 3]
    assert [generation(wish=Wish("hnsw")), generation(wish=Wish("hnsw")), generation()] == [4] * 3
    assert generation(wish=Wish("flat")) == 5
    (out / "generation-5" / "times.npy").unlink()
    assert [generation(), generation()] == [6, 6]
    clip = next(iter(Index.open(out).clips)).id
    with Catalogue.open(out / CATALOGUE_FILE) as catalogue:
        assert catalogue.changes.delete(clip)
    assert [generation(), generation()] == [7, 7]
    write(library / "new.wav", 1.0, 50)

    def stop(progress: Progress) -> None:
        if progress.seconds:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):  # embedded and on disk, and in no generation
        build(library, out, clap, progress=stop)
    assert Index.open(out).generation == 7
    assert build(library, out, clap).embedded == 0
    assert Index.open(out).generation == 8
    assert "new.wav" in [clip.path for clip in Index.open(out).clips]


def test_files_that_are_no_sound_are_reported_and_do_not_stop_it(
    library: Path, tmp_path: Path, clap: Clap
) -> None:
    (library / "notes.txt").write_text("hello")
    (library / "empty.wav").touch()
    (library / ".hidden.wav").write_text("x")
    report = build(library, tmp_path / "x", clap)
    assert [path for path, _ in report.skipped] == ["empty.wav", "notes.txt"]
    assert report.clips == 13


def test_stopped_on_the_way_and_started_again_gives_the_same_index(
    library: Path, tmp_path: Path, clap: Clap
) -> None:
    build(library, tmp_path / "whole", clap, batch_seconds=4.0)

    def stop(progress: Progress) -> None:
        if progress.done >= 6:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        build(library, tmp_path / "stopped", clap, progress=stop, batch_seconds=4.0)
    with pytest.raises(LibraryIndexError, match="no finished index"):
        Index.open(tmp_path / "stopped")
    report = build(library, tmp_path / "stopped", clap)
    assert 6 <= report.unchanged < 13
    query = np.random.default_rng(0).normal(size=16).astype(np.float32)
    found = [Index.open(tmp_path / name).search(query, 13) for name in ("whole", "stopped")]
    assert [h.clip for h in found[0]] == [h.clip for h in found[1]]
    assert np.allclose([h.score for h in found[0]], [h.score for h in found[1]], atol=1e-5)


def test_another_checkpoint_is_refused(library: Path, tmp_path: Path, clap: Clap) -> None:
    build(library, tmp_path / "x", clap)
    with pytest.raises(LibraryIndexError, match="another checkpoint"):
        build_index(library, tmp_path / "x", Path("other"), "0" * 64, clap)
