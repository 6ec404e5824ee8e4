"""An index is verified, mended, copied, exchanged, replaced; and what goes wrong loses nothing."""

import gc
import hashlib
import io
import json
import os
import resource
import shutil
import sqlite3
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from scipy.io import wavfile
from typer.testing import CliRunner, Result

from m2d_clap.index import Clip, Index, Report, build_index, live
from m2d_clap.index.anew import build_anew
from m2d_clap.index.backup import back_up, restore
from m2d_clap.index.catalogue import CATALOGUE_FILE, Catalogue
from m2d_clap.index.check import Checked, check_index
from m2d_clap.index.difference import difference
from m2d_clap.index.duplicates import duplicates
from m2d_clap.index.errors import LibraryIndexError
from m2d_clap.index.live import Heard
from m2d_clap.index.options import Options
from m2d_clap.index.progress import Progress
from m2d_clap.index.texts import load, save
from m2d_clap.index.transfer import export, import_
from m2d_clap.index.windows import Embedded
from m2d_clap.model import Checkpoint, Clap, ClapConfig
from m2d_clap.model.config import EncoderConfig, ProjectorConfig
from m2d_clap.service.cli import build as cli


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Two checkpoints with different weights."""
    folder = tmp_path_factory.mktemp("models")
    for seed, name in enumerate(("one", "two")):
        torch.manual_seed(seed)
        config = ClapConfig(
            encoder=EncoderConfig(frames=64, width=16, depth=1, heads=2),
            projector=ProjectorConfig("mlp", 16, 16),
        )
        Checkpoint.of(Clap(config)).save(folder / name)
    return folder / "one", folder / "two"


@pytest.fixture
def library(tmp_path: Path) -> Path:
    folder = tmp_path / "sounds"
    (folder / "low").mkdir(parents=True)
    for seed, name in enumerate(("a", "b", "low/c", "low/d")):
        write(folder / f"{name}.wav", 12 if seed == 1 else 0.5, seed)
    (folder / "a.json").write_text('{"title": "one"}')
    return folder


@pytest.fixture
def out(library: Path, models: tuple[Path, Path]) -> Path:
    build(library, library.parent / "x", models[0])
    return library.parent / "x"


def write(file: Path, seconds: float, seed: int) -> None:
    noise = np.random.default_rng(seed).normal(0, 3000, int(16000 * seconds))
    noise *= np.sin(np.arange(len(noise)) * (0.01 + 0.1 * seed))
    wavfile.write(file, 16000, noise.astype(np.int16))


def build(library: Path, out: Path, model: Path) -> Report:
    checkpoint = Checkpoint.load(model)
    return build_index(library, out, model, checkpoint.fingerprint, checkpoint.clap())


def sql(out: Path, *statements: str) -> None:
    with closing(sqlite3.connect(out / CATALOGUE_FILE)) as db, db:
        for statement in statements:
            db.execute(statement)


def state(out: Path) -> list[object]:
    """Everything an index answers, and knows."""
    index = Index.open(out)
    query = np.random.default_rng(9).normal(size=16).astype(np.float32)
    hits = [(h.clip.id, round(h.score, 5), h.start, h.end) for h in index.search(query, 99)]
    clips = [(c.id, c.seconds, tuple(c.paths), dict(c.metadata)) for c in index.clips]
    return [index.fingerprint, index.library, hits, clips]


def call(*words: object) -> Result:
    return CliRunner().invoke(cli(), [str(word) for word in words])


# --check ----------------------------------------------------------------------------------------


def test_an_index_that_is_well_is_found_well(library: Path, out: Path) -> None:
    found = check_index(library, out)
    assert (found.findings, found.clips, found.windows, found.files) == ((), 4, 5, 4)
    result = call("index", library, "--out", out, "--check", "--json")
    assert result.exit_code == 0
    assert json.loads(result.stdout)["clean"] is True
    assert "all is well" in call("index", library, "--out", out, "--check").stdout


def test_searchable_files_that_differ_are_made_anew_from_the_catalogue(
    library: Path, out: Path
) -> None:
    before = state(out)
    (vectors,) = out.rglob("*.faiss")
    whole = bytearray(vectors.read_bytes())
    whole[-20:] = np.full(5, 0.5, "<f4").tobytes()
    for damage in (bytes(whole), b"short", None):
        (vectors, *_) = sorted(out.rglob("*.faiss"), reverse=True)
        vectors.unlink()
        if damage is not None:
            vectors.write_bytes(damage)
        found = check_index(library, out)
        assert [finding.done for finding in found.findings] == ["made anew from the catalogue"]
        assert state(out) == before
        for old in sorted(out.rglob("*.faiss"))[:-1]:
            old.unlink()
    assert not check_index(library, out).findings


@pytest.mark.parametrize(
    ("damage", "again"),
    [
        (
            "DELETE FROM windows WHERE position = 0 AND clip IN (SELECT clip FROM files LIMIT 2)",
            True,
        ),
        ("DELETE FROM clips WHERE seconds > 10", True),
        ("UPDATE windows SET vector = zeroblob(64) WHERE start > 0", True),
        ("UPDATE windows SET vector = zeroblob(8) WHERE start > 0", True),
        (
            "UPDATE windows SET vector = CAST(x'0000c07f' || substr(vector, 5) AS BLOB) WHERE start > 0",
            True,
        ),
        ("INSERT INTO facts VALUES ('nobody', 'x', '{}')", False),
        ("INSERT INTO sidecars VALUES ('nobody.wav', '{}')", False),
        ("INSERT INTO clips VALUES ('0123456789abcdef', 3.0)", True),
    ],
)
def test_rows_that_dangle_are_taken_away_and_the_next_run_completes_the_index(
    damage: str, again: bool, library: Path, out: Path, models: tuple[Path, Path]
) -> None:
    before = state(out)
    sql(out, damage)
    found = check_index(library, out)
    assert found.findings
    assert bool(found.left) is again
    assert all(finding.advice for finding in found.left)
    assert not check_index(library, out).findings
    build(library, out, models[0])
    assert state(out) == before
    assert not check_index(library, out).findings


def test_a_file_whose_bytes_changed_under_the_same_time_is_found(
    library: Path, out: Path, models: tuple[Path, Path]
) -> None:
    file = library / "low" / "c.wav"
    status = file.stat()
    whole = bytearray(file.read_bytes())
    whole[-100] ^= 1
    file.write_bytes(whole)
    os.utime(file, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert build(library, out, models[0]).unchanged == 4
    result = call("index", library, "--out", out, "--check")
    assert result.exit_code == 1
    assert "low/c.wav" in result.stdout
    assert "LEFT: give the same command without --check" in result.stdout
    assert build(library, out, models[0]).changed == 1
    assert call("index", library, "--out", out, "--check").exit_code == 0


def test_a_damaged_catalogue_a_lost_checkpoint_and_a_lost_library_are_left(
    library: Path, out: Path, models: tuple[Path, Path], tmp_path: Path
) -> None:
    moved = tmp_path / "model"
    shutil.copytree(models[0], moved)
    sql(out, f"UPDATE origin SET json = '\"{moved}\"' WHERE name = 'checkpoint'")
    build(library, out, moved)
    shutil.rmtree(moved)
    library.rename(tmp_path / "away")
    left = _left(check_index(library, out))
    assert "is not there" in left
    assert "is its drive mounted?" in left
    assert len(state(out)[3]) == 4  # type: ignore[arg-type]
    with pytest.raises(LibraryIndexError, match="holds no index"):
        check_index(library, tmp_path / "none")
    whole = bytearray((out / CATALOGUE_FILE).read_bytes())
    whole[4096:8192] = b"\xff" * 4096
    (out / CATALOGUE_FILE).write_bytes(whole)
    try:
        assert "restore a backup" in _left(check_index(library, out))
    except LibraryIndexError as error:
        assert "damaged" in str(error)


def _left(found: Checked) -> str:
    return "\n".join(f"{finding.what}: {finding.advice}" for finding in found.left)


# copies -----------------------------------------------------------------------------------------


def test_files_are_opened_by_many_threads_though_python_s_parser_is_not_made_for_it(
    tmp_path: Path,
) -> None:
    save(tmp_path / "a.npy", np.arange(3))
    failed: list[SystemError] = []

    def opened() -> None:
        try:
            for _ in range(500):
                assert load(tmp_path / "a.npy").tolist() == [0, 1, 2]
        except SystemError as error:
            failed.append(error)

    def switch(*_: Any) -> None:  # Python code in the middle of a collection: others get their turn
        for _ in range(50):
            pass

    threshold, interval = gc.get_threshold(), sys.getswitchinterval()
    gc.callbacks.append(switch)
    try:
        gc.set_threshold(20, 2, 2)
        sys.setswitchinterval(1e-6)
        threads = [threading.Thread(target=opened) for _ in range(3)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    finally:
        gc.set_threshold(*threshold)
        sys.setswitchinterval(interval)
        gc.callbacks.remove(switch)
    assert not failed


def test_a_backup_taken_while_it_is_searched_comes_back_whole(
    library: Path, out: Path, models: tuple[Path, Path], tmp_path: Path
) -> None:
    before = state(out)
    stop = threading.Event()
    failed: list[BaseException] = []

    def search() -> None:
        try:
            while not stop.is_set():
                assert state(out) == before
        except BaseException as error:  # noqa: BLE001 — raised by the other thread
            failed.append(error)

    thread = threading.Thread(target=search)
    thread.start()
    back_up(out, tmp_path / "backup")
    stop.set()
    thread.join()
    assert not failed
    write(library / "new.wav", 1, 5)
    build(library, out, models[0])
    assert len(Index.open(out)) == 5
    with pytest.raises(LibraryIndexError, match="--replace"):
        restore(tmp_path / "backup", out)
    kept = restore(tmp_path / "backup", out, replace=True)
    assert state(out) == before
    assert kept is not None
    assert len(Index.open(kept)) == 5
    report = build(library, out, models[0])
    assert (report.embedded, report.unchanged) == (1, 4)
    restore(tmp_path / "backup", tmp_path / "again")
    assert state(tmp_path / "again") == before, "what is written to an index reaches no backup"


def test_a_damaged_backup_is_refused_and_changes_nothing(out: Path, tmp_path: Path) -> None:
    back_up(out, tmp_path / "backup")
    before = state(out)
    (vectors,) = (tmp_path / "backup").rglob("*.faiss")
    whole = bytearray(vectors.read_bytes())
    whole[-1] ^= 1
    vectors.unlink()
    vectors.write_bytes(whole)
    with pytest.raises(LibraryIndexError, match="is damaged"):
        restore(tmp_path / "backup", out, replace=True)
    assert state(out) == before
    with pytest.raises(LibraryIndexError, match="no backup"):
        restore(library_of(out), tmp_path / "y")
    with pytest.raises(LibraryIndexError, match="there already"):
        back_up(out, tmp_path / "backup")


def test_a_backup_from_a_place_that_cannot_be_written_says_what_it_needs(
    out: Path, tmp_path: Path
) -> None:
    place = tmp_path / "mounted"
    place.mkdir()
    bound = subprocess.run(["mount", "--bind", out, place], check=False, capture_output=True)
    if bound.returncode:
        pytest.skip("nothing can be mounted here")
    try:
        subprocess.run(["mount", "-o", "remount,ro,bind", place], check=True)
        with pytest.raises(LibraryIndexError, match="mount the index writable"):
            back_up(place, tmp_path / "backup")
    finally:
        subprocess.run(["umount", "--lazy", place], check=True)  # its files are mapped


def library_of(out: Path) -> Path:
    return Index.open(out).library


def test_an_export_comes_back_as_the_same_index_and_is_gone_on_with(
    library: Path, out: Path, models: tuple[Path, Path], tmp_path: Path
) -> None:
    assert export(out, tmp_path / "e") == (4, 5)
    vectors = np.load(tmp_path / "e" / "vectors.npy")
    assert (vectors.shape, vectors.dtype) == ((5, 16), np.float32)
    clips = [json.loads(x) for x in (tmp_path / "e" / "clips.jsonl").read_text().splitlines()]
    assert clips[0]["metadata"]["title"] == "one"
    assert clips[1]["windows"] == [[0.0, 10.0], [2.0, 12.0]]
    assert import_(tmp_path / "e", tmp_path / "y") == (4, 5)
    assert state(tmp_path / "y") == state(out)
    assert not check_index(library, tmp_path / "y").findings
    assert build(library, tmp_path / "y", models[0]).unchanged == 4


def test_an_export_to_parquet_is_one_file_that_others_read_and_comes_back_the_same(
    library: Path, out: Path, models: tuple[Path, Path], tmp_path: Path
) -> None:
    parquet = pytest.importorskip("pyarrow.parquet")
    content = hashlib.sha256(b"its bytes").hexdigest()
    sound = Heard(
        content,
        "rex.wav",
        1.0,
        [Embedded(0.0, 1.0, np.eye(1, 16)[0])],
        {"by": "Ann"},
        Index.open(out).fingerprint,
    )
    live.add(out, sound, io.BytesIO(b"its bytes"))
    file = tmp_path / "e.parquet"
    assert export(out, file) == (5, 6)
    table = parquet.read_table(file)
    assert table.column("path").to_pylist().count("b.wav") == 2
    vectors = np.array(table.column("vector").to_pylist(), np.float32)
    assert vectors.shape == (6, 16) and vectors[-1, 0] == 1
    assert json.loads(table.column("metadata").to_pylist()[0])["title"] == "one"
    assert import_(file, tmp_path / "y") == (5, 6)
    assert state(tmp_path / "y") == state(out)
    (stored,) = Index.open(tmp_path / "y").files(Index.open(tmp_path / "y").clips[-1])
    assert stored.read_bytes() == b"its bytes" and not check_index(library, tmp_path / "y").findings
    assert build(library, tmp_path / "y", models[0]).unchanged == 4
    parquet.write_table(table.slice(0, 4), file)
    for damaged in (file, library / "a.wav"):
        named = damaged.rename(tmp_path / "damaged.parquet")
        with pytest.raises(LibraryIndexError, match="no whole export"):
            import_(named, tmp_path / "z")
    assert not [left for left in tmp_path.iterdir() if left.name.startswith("z")]


@pytest.mark.parametrize("damage", ["short", "nan", "lines", "none", "newer"])
def test_a_damaged_export_makes_no_index(damage: str, out: Path, tmp_path: Path) -> None:
    folder = tmp_path / "e"
    export(out, folder)
    vectors = np.load(folder / "vectors.npy")
    match damage:
        case "short":
            np.save(folder / "vectors.npy", vectors[:-1])
        case "nan":
            vectors[0, 0] = np.nan
            np.save(folder / "vectors.npy", vectors)
        case "lines":
            whole = (folder / "clips.jsonl").read_text().splitlines()
            (folder / "clips.jsonl").write_text("\n".join(whole[:-1]))
        case "none":
            (folder / "export.json").unlink()
        case "newer":
            (folder / "export.json").write_text('{"format_version": 99}')
    with pytest.raises(LibraryIndexError, match=r"no whole export|newer release"):
        import_(folder, tmp_path / "y")
    assert not [file for file in tmp_path.iterdir() if file.name.startswith("y")]


# another checkpoint, duplicates, differences ----------------------------------------------------


def test_another_checkpoint_takes_over_only_when_everything_is_embedded(
    library: Path, out: Path, models: tuple[Path, Path]
) -> None:
    before = state(out)
    checkpoint = Checkpoint.load(models[1])
    given = (library, out, models[1], checkpoint.fingerprint, checkpoint.clap())

    def stop(progress: Progress) -> None:
        assert state(out) == before
        if progress.done:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        build_anew(*given, stop, Options(batch_seconds=0.1))
    assert state(out) == before
    report, kept = build_anew(*given)
    assert 0 < report.embedded < 4, "what was embedded before the stop is not embedded again"
    assert Index.open(out).fingerprint == checkpoint.fingerprint
    assert kept is not None
    assert state(kept) == before
    assert not check_index(library, out).findings


@settings(suppress_health_check=[HealthCheck.too_slow], deadline=None, max_examples=40)
@given(st.lists(st.tuples(st.integers(-3, 3), st.integers(-3, 3)), min_size=1, max_size=12))
def test_what_hangs_together_by_its_cosine_is_one_group(points: list[tuple[int, int]]) -> None:
    vectors = np.array([(x, y, 0.5) for x, y in points], np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    clips = tuple(Clip(f"{n:016}", 1.0, (f"{n:03}.wav",)) for n in range(len(points)))
    index = SimpleNamespace(clips=clips, means=lambda: vectors)
    near = vectors @ vectors.T > 0.9
    for _ in points:
        near |= near @ near
    groups = {frozenset(np.flatnonzero(row).tolist()) for row in near if row.sum() > 1}
    found = duplicates(index, 0.9)  # type: ignore[arg-type]
    assert {frozenset(int(clip.id) for clip in group.clips) for group in found} == groups


def test_files_that_hold_the_same_are_listed_by_all_their_paths(
    library: Path, models: tuple[Path, Path], tmp_path: Path
) -> None:
    shutil.copy(library / "a.wav", library / "copy.wav")
    build(library, tmp_path / "y", models[0])
    shown = call("library", "duplicates", tmp_path / "y", "--at-least", "1", "--json")
    groups = [
        {path for clip in group["clips"] for path in clip["paths"]}
        for group in json.loads(shown.stdout)["groups"]
    ]
    assert any({"a.wav", "copy.wav"} <= group for group in groups)
    assert "copy.wav" in call("library", "duplicates", tmp_path / "y").stdout


def test_diff_says_what_a_run_would_take_in(
    library: Path, out: Path, models: tuple[Path, Path]
) -> None:
    assert call("library", "diff", out).exit_code == 0
    (library / "a.wav").rename(library / "moved.wav")
    (library / "a.json").rename(library / "moved.json")
    (library / "b.wav").unlink()
    write(library / "low" / "c.wav", 1, 7)
    write(library / "new.wav", 1, 8)
    result = call("library", "diff", out, "--checkpoint", models[1], "--json")
    assert result.exit_code == 1
    assert json.loads(result.stdout) == {
        "new": ["new.wav"],
        "changed": ["low/c.wav"],
        "moved": [["a.wav", "moved.wav"]],
        "gone": ["b.wav"],
        "described": [],
        "checkpoint": True,
    }
    report = build(library, out, models[0])
    assert (report.new, report.changed, report.moved, report.gone) == (1, 1, 1, 1)
    assert "nothing differs" in call("library", "diff", out).stdout
    (library / "new.json").write_text('{"title": "news"}')
    assert "described new.wav" in call("library", "diff", out).stdout
    assert build(library, out, models[0]).new == 0
    assert call("library", "diff", out).exit_code == 0


# what goes wrong --------------------------------------------------------------------------------


@contextmanager
def room(size: int) -> Iterator[None]:
    """No file can grow beyond this many bytes, as on a full disk."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.mark.parametrize("size", [100, 5000, 20_000])
def test_a_full_disk_is_said_and_loses_nothing(
    size: int, library: Path, out: Path, models: tuple[Path, Path], tmp_path: Path
) -> None:
    before = state(out)
    write(library / "new.wav", 100, 6)
    with room(size):
        with pytest.raises(LibraryIndexError, match=r"cannot be written|make room"):
            build(library, out, models[0])
        with pytest.raises(LibraryIndexError, match=r"cannot be written|make room|copied"):
            back_up(out, tmp_path / "backup")
    assert state(out) == before
    report = build(library, out, models[0])
    assert (report.clips, report.unchanged >= 4) == (5, True)
    assert not check_index(library, out).findings


def test_a_folder_that_cannot_be_written_is_said(library: Path, models: tuple[Path, Path]) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o555)
        with _ordinary_user(), pytest.raises(LibraryIndexError, match="cannot be written"):
            _open(folder)
        folder.chmod(0o755)


def _open(folder: Path) -> None:
    with Catalogue.open(folder / CATALOGUE_FILE) as catalogue:
        catalogue.paths()


@contextmanager
def _ordinary_user() -> Iterator[None]:
    """As root nothing is forbidden."""
    root = os.geteuid() == 0
    if root:
        os.seteuid(65534)
    try:
        yield
    finally:
        if root:
            os.seteuid(0)


def test_a_drive_that_is_not_mounted_loses_nothing(
    library: Path, out: Path, models: tuple[Path, Path], tmp_path: Path
) -> None:
    before = state(out)
    library.rename(tmp_path / "away")
    with pytest.raises(LibraryIndexError, match="is no folder"):
        build(library, out, models[0])
    library.mkdir()  # its empty mount point
    with pytest.raises(LibraryIndexError, match="is its drive mounted"):
        build(library, out, models[0])
    assert state(out) == before
    library.rmdir()
    (tmp_path / "away").rename(library)
    assert build(library, out, models[0]).unchanged == 4


def test_another_folder_does_not_take_the_place_of_a_library_by_mistake(
    library: Path, out: Path, models: tuple[Path, Path], tmp_path: Path
) -> None:
    before = state(out)
    other = tmp_path / "other"
    other.mkdir()
    write(other / "x.wav", 0.5, 9)
    with pytest.raises(LibraryIndexError, match=r"is of .*sounds; 4 of the 4 files"):
        build(other, out, models[0])
    assert state(out) == before and library_of(out) == library
    library.rename(tmp_path / "renamed")
    assert build(tmp_path / "renamed", out, models[0]).unchanged == 4
    words = ("index", other, "--out", out, "--checkpoint", models[0])
    refused = call(*words)
    assert refused.exit_code == 1 and "--forget" in str(refused.exception)
    assert call(*words, "--forget").exit_code == 0
    assert [clip.path for clip in Index.open(out).clips] == ["x.wav"]


def test_a_drive_below_the_library_that_is_not_mounted_loses_nothing(
    library: Path, out: Path, models: tuple[Path, Path], tmp_path: Path
) -> None:
    (library / "low").rename(tmp_path / "drive")
    (library / "low").mkdir()  # its empty mount point
    report = build(library, out, models[0])
    assert (report.clips, report.gone) == (4, 0)
    assert "2 files of it are known, and stay" in dict(report.skipped)["low"]
    assert not difference(out).gone
    with pytest.raises(LibraryIndexError, match=r"2 files of the index before .* low/c\.wav"):
        checkpoint = Checkpoint.load(models[1])
        build_anew(library, out, models[1], checkpoint.fingerprint, checkpoint.clap())
    (library / "low").rmdir()
    (tmp_path / "drive").rename(library / "low")
    assert build(library, out, models[0]).unchanged == 4
    for file in [*(library / "low").iterdir()]:
        file.rename(library / file.name)
    report = build(library, out, models[0])  # emptied by hand: its sounds are elsewhere now
    assert (report.clips, report.moved, report.gone) == (4, 2, 0)
    assert {clip.path for clip in Index.open(out).clips} >= {"c.wav", "d.wav"}


def test_a_recording_that_is_cut_off_is_told_of_and_can_be_found(
    library: Path, out: Path, models: tuple[Path, Path]
) -> None:
    write(library / "long.wav", 30, 9)
    whole = (library / "long.wav").read_bytes()
    (library / "long.wav").write_bytes(whole[: len(whole) // 2])
    report = build(library, out, models[0])
    assert [path for path, _ in report.damaged] == ["long.wav"]
    index = Index.open(out)
    (clip,) = [clip for clip in index.clips if "damaged" in clip.metadata]
    assert clip.path == "long.wav" and "of the 960,000 bytes" in clip.metadata["damaged"]
    told = call("index", library, "--out", out, "--checkpoint", models[0], "--json")
    assert json.loads(told.stdout)["damaged"] == []  # of this run


def test_recycle_bins_hold_no_sounds_of_the_library(
    library: Path, out: Path, models: tuple[Path, Path]
) -> None:
    for name in ("#recycle", "@eaDir", "$RECYCLE.BIN"):
        (library / name).mkdir()
        write(library / name / "x.wav", 0.5, 9)
    report = build(library, out, models[0])
    assert (report.new, report.hidden) == (0, 3)


def test_a_folder_that_cannot_be_looked_into_keeps_its_sounds(
    library: Path, out: Path, models: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    before = state(out)
    real = os.scandir

    def scandir(path: str) -> object:
        if Path(path).name == "low":
            raise OSError(5, "Input/output error", path)
        return real(path)

    with monkeypatch.context() as patch:
        patch.setattr(os, "scandir", scandir)
        report = build(library, out, models[0])
    assert report.skipped == (("low", "it cannot be read: Input/output error"),)
    assert report.gone == 0
    assert state(out) == before


def test_two_writers_do_not_meet(library: Path, out: Path, models: tuple[Path, Path]) -> None:
    before = state(out)
    with Catalogue.open(out / CATALOGUE_FILE) as catalogue:
        catalogue.mend("DELETE FROM facts WHERE clip = 'nobody'")
        with pytest.raises(LibraryIndexError, match="at work"):
            build(library, out, models[0])
        with pytest.raises(LibraryIndexError, match="at work"):
            check_index(library, out)
    assert state(out) == before


def test_a_newer_catalogue_is_left_as_it_is(
    library: Path, out: Path, models: tuple[Path, Path]
) -> None:
    sql(out, "PRAGMA user_version = 99")
    with pytest.raises(LibraryIndexError, match="upgrade m2d-clap"):
        build(library, out, models[0])
    assert len(Index.open(out)) == 4


def test_another_index_inside_the_library_is_no_part_of_it(
    library: Path, out: Path, models: tuple[Path, Path]
) -> None:
    out.rename(library / "old index")
    report = build(library, out, models[0])
    assert (report.clips, report.skipped) == (4, ())
