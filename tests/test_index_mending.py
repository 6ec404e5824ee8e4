"""An index that is damaged, foreign, in use or of another model says what to do about it."""

import json
import os
import shlex
import shutil
import sqlite3
import threading
import time
from contextlib import closing
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import faiss
import numpy as np
import pytest

from m2d_clap.index import Index, build_index, compaction
from m2d_clap.index.base import Base
from m2d_clap.index.catalogue import CATALOGUE_FILE, LOCK_FILE, Catalogue
from m2d_clap.index.errors import IndexBusyError, LibraryIndexError
from m2d_clap.index.generation import write_generation
from m2d_clap.index.lock import held
from m2d_clap.index.origin import Origin
from m2d_clap.index.walk import File
from m2d_clap.index.windows import Embedded
from m2d_clap.model import Checkpoint, Clap, ClapConfig
from m2d_clap.model.config import EncoderConfig

ORIGIN = Origin("f" * 64, Path("/models/one"), Path("/sounds"))


def generation(folder: Path) -> None:
    folder.mkdir(exist_ok=True)
    with Catalogue.open(folder / CATALOGUE_FILE) as catalogue:
        catalogue.claim(ORIGIN, folder)
        write_generation(folder, catalogue, 4, ORIGIN)


@pytest.mark.parametrize(
    "content", [b"no database at all" * 300, b"SQLite format 3\0" + b"\1" * 5000]
)
def test_a_damaged_catalogue_is_explained(tmp_path: Path, content: bytes) -> None:
    (tmp_path / CATALOGUE_FILE).write_bytes(content)
    with pytest.raises(LibraryIndexError, match=r"move the folder .* aside .* in its `sounds/`"):
        generation(tmp_path)


def test_damage_found_on_the_way_is_explained_too(tmp_path: Path) -> None:
    generation(tmp_path)
    with closing(sqlite3.connect(tmp_path / CATALOGUE_FILE)) as db, db:
        db.execute("DROP TABLE windows")
    with (
        pytest.raises(LibraryIndexError, match="move the folder"),
        Catalogue.open(tmp_path / CATALOGUE_FILE) as catalogue,
    ):
        catalogue.begun()


def test_another_programs_database_is_left_alone(tmp_path: Path) -> None:
    with closing(sqlite3.connect(tmp_path / CATALOGUE_FILE)) as db, db:
        db.execute("CREATE TABLE photos (name TEXT)")
    before = (tmp_path / CATALOGUE_FILE).read_bytes()
    with pytest.raises(LibraryIndexError, match="choose another --out"):
        generation(tmp_path)
    assert (tmp_path / CATALOGUE_FILE).read_bytes() == before


def test_another_releases_catalogue_is_refused(tmp_path: Path) -> None:
    generation(tmp_path)
    with closing(sqlite3.connect(tmp_path / CATALOGUE_FILE)) as db, db:
        db.execute("PRAGMA user_version = 99")
    with pytest.raises(LibraryIndexError, match="another release"):
        generation(tmp_path)


def test_two_runs_do_not_write_one_index(tmp_path: Path) -> None:
    with (
        Catalogue.open(tmp_path / CATALOGUE_FILE) as catalogue,
        pytest.raises(LibraryIndexError, match="at work"),
    ):
        catalogue.claim(ORIGIN, tmp_path)
        generation(tmp_path)


def test_what_another_program_holds_is_not_read_as_if_nobody_wrote_to_it(tmp_path: Path) -> None:
    generation(tmp_path)
    file = tmp_path / CATALOGUE_FILE
    with closing(sqlite3.connect(file, isolation_level=None)) as other:
        other.execute("PRAGMA journal_mode = DELETE")
        other.execute("BEGIN EXCLUSIVE")
        with pytest.raises(IndexBusyError, match="try again"), Catalogue.reading(file):
            pass
        other.execute("ROLLBACK")
    with Catalogue.reading(file) as catalogue:
        assert catalogue.origin() == ORIGIN


def test_who_waits_for_a_folder_that_is_replaced_locks_the_one_in_its_place(tmp_path: Path) -> None:
    place, aside = tmp_path / "x", tmp_path / "before"
    place.mkdir()
    inside, leave = threading.Event(), threading.Event()

    def wait() -> None:
        with held(place / LOCK_FILE, 60.0):
            inside.set()
            leave.wait(60)

    waiting = threading.Thread(target=wait)
    with held(place / LOCK_FILE, 0.0):
        waiting.start()
        time.sleep(0.1)
        assert not inside.is_set()
        place.rename(aside)
        place.mkdir()
    assert inside.wait(60)
    try:
        with pytest.raises(IndexBusyError), held(place / LOCK_FILE, 0.0):
            pass
        with held(aside / LOCK_FILE, 0.0):
            pass
    finally:
        leave.set()
        waiting.join()


def test_a_compaction_that_cannot_end_well_makes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    generation(tmp_path)
    monkeypatch.setattr(compaction, "_PATIENCE", 0.0)
    with monkeypatch.context() as patch:
        patch.setattr(compaction, "make", lambda *_: pytest.fail("made in vain"))
        with Catalogue.open(tmp_path / CATALOGUE_FILE), pytest.raises(IndexBusyError):
            compaction.compact(tmp_path)
        patch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=10))
        with pytest.raises(LibraryIndexError, match="make room"):
            compaction.compact(tmp_path)
    assert compaction.compact(tmp_path)
    assert Index.open(tmp_path).generation == 2


def test_another_model_is_refused_with_commands_to_paste(tmp_path: Path) -> None:
    encoder = EncoderConfig(frames=64, width=16, depth=1, heads=2)
    model = tmp_path / "my model"
    checkpoint = Checkpoint.of(Clap(ClapConfig(encoder=encoder)))
    checkpoint.save(model)
    made = Origin(checkpoint.fingerprint, model, tmp_path / "my sounds")
    other = Origin("0" * 64, tmp_path / "other", tmp_path / "my sounds")
    out = tmp_path / "the index"
    with pytest.raises(LibraryIndexError, match="another checkpoint") as refused:
        made.refuse_other(other, out)
    commands = [shlex.split(line.split(": ", 1)[1]) for line in str(refused.value).split("\n")[1:]]
    library = str(tmp_path / "my sounds")
    new = f"{out}-00000000"
    assert commands == [
        ["m2d-clap", "index", library, "--out", new, "--checkpoint", str(tmp_path / "other")],
        ["m2d-clap", "index", library, "--out", str(out), "--checkpoint", str(model)],
    ]
    shutil.rmtree(model)
    with pytest.raises(LibraryIndexError) as refused:
        made.refuse_other(other, out)
    assert str(model) not in str(refused.value)
    made.refuse_other(Origin(made.fingerprint, Path("elsewhere"), Path("moved")), out)


def test_an_index_folder_must_be_elsewhere_and_its_name_utf_8(tmp_path: Path) -> None:
    for out in (tmp_path, tmp_path / os.fsdecode(b"caf\xe9")):
        with pytest.raises(LibraryIndexError, match="another --out"):
            build_index(tmp_path, out, Path("model"), "f" * 64, Clap(ClapConfig()))


def test_the_generation_before_stays_and_older_ones_go(tmp_path: Path) -> None:
    for _ in range(4):
        generation(tmp_path)
    assert places(tmp_path) == ["generation-3", "generation-4"]
    (tmp_path / "generation-9").mkdir()  # left by a run that was killed before its switch
    (tmp_path / "making-0-ab").mkdir()
    (tmp_path / "making-1-ab").mkdir()
    with held(tmp_path / "making-1-ab" / LOCK_FILE, 0.0):  # by one that is still at it
        generation(tmp_path)
    assert places(tmp_path) == ["generation-10", "generation-4", "making-1-ab"]
    generation(tmp_path)
    assert "making-1-ab" not in places(tmp_path), "whoever let go has been killed"


def test_vectors_of_two_lengths_are_explained_and_the_generation_before_stays(
    tmp_path: Path,
) -> None:
    generation(tmp_path)
    with Catalogue.open(tmp_path / CATALOGUE_FILE) as catalogue:
        for number, dim in enumerate((4, 2)):
            catalogue.add(
                windows=[(f"{number}" * 16, 0, Embedded(0.0, 1.0, np.ones(dim, np.float32)))],
                clips=[(f"{number}" * 16, 1.0)],
                files=[(File(f"{number}.wav", 1, 1), f"{number}" * 16)],
            )
    with pytest.raises(LibraryIndexError, match="--anew"):
        generation(tmp_path)
    assert places(tmp_path) == ["generation-1"]


def test_an_index_replaced_while_it_is_opened_is_opened_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    generation(tmp_path)
    real = Base.open
    tried = []

    def opened(folder: Path, facts: Any) -> Base:
        tried.append(facts["generation"])
        if len(tried) == 1:
            generation(tmp_path)
            generation(tmp_path)
        return real(folder, facts)

    monkeypatch.setattr(Base, "open", opened)
    assert len(Index.open(tmp_path)) == 0
    assert tried == ["generation-1", "generation-3"]


def test_an_opened_generation_outlives_its_files(tmp_path: Path) -> None:
    index = Index.open(release_0_1(tmp_path / "old"))
    for _ in range(3):
        generation(tmp_path / "old")
    assert not (tmp_path / "old" / "vectors-7.faiss").exists()
    assert index.search(np.array([0, 1, 0, 0], np.float32), 1)[0].clip.id == "b"


def test_an_index_of_release_0_1_opens_and_the_next_run_makes_it_a_new_one(tmp_path: Path) -> None:
    folder = release_0_1(tmp_path / "x")
    index = Index.open(folder)
    assert (len(index), index.windows, index.generation) == (2, 3, 7)
    (hit, other) = index.search(np.array([0, 1, 0, 0], np.float32), 2)
    assert (hit.clip.paths, hit.start, hit.end) == (("b.wav", "c.wav"), 10.0, 12.5)
    assert other.clip.metadata == {"title": "One"}
    generation(folder)
    assert Index.open(folder).generation == 8
    facts = json.loads((folder / "index.json").read_text())
    (folder / "index.json").write_text(json.dumps(facts | {"format_version": 3}))
    with pytest.raises(LibraryIndexError, match="upgrade"):
        Index.open(folder)


def release_0_1(folder: Path) -> Path:
    """An index as that release wrote it: one JSON beside flat vectors, a catalogue of format 1."""
    generation(folder)
    with closing(sqlite3.connect(folder / CATALOGUE_FILE)) as db, db:
        for table in ("uploads", "deleted", "changes", "facts", "sidecars"):
            db.execute(f"DROP TABLE {table}")
        db.execute("DROP INDEX files_by_clip")
        db.execute("PRAGMA user_version = 1")
    shutil.rmtree(folder / "generation-1")
    flat = faiss.IndexFlatIP(4)
    flat.add(np.eye(4, dtype=np.float32)[:3])
    faiss.write_index(flat, str(folder / "vectors-7.faiss"))
    clips = [
        {"id": "a", "seconds": 2.0, "paths": ["a.wav"], "metadata": {"title": "One"}},
        {"id": "b", "seconds": 12.5, "paths": ["b.wav", "c.wav"]},
    ]
    facts = {name: str(value) for name, value in vars(ORIGIN).items()}
    rows = [[0, 0.0, 2.0], [1, 10.0, 12.5], [1, 0.0, 10.0]]
    whole = {"format_version": 1, **facts, "vectors": "vectors-7.faiss", "clips": clips}
    (folder / "index.json").write_text(json.dumps(whole | {"rows": rows}))
    return folder


def places(folder: Path) -> list[str]:
    return sorted(f.name for f in folder.iterdir() if f.is_dir())


def test_an_index_that_is_missing_or_damaged_is_explained(tmp_path: Path) -> None:
    with pytest.raises(LibraryIndexError, match="make one with"):
        Index.open(tmp_path / "none")
    (tmp_path / "file").touch()
    with pytest.raises(LibraryIndexError, match="make one with"):
        Index.open(tmp_path / "file")
    generation(tmp_path / "x")
    place = tmp_path / "x" / "generation-1"
    for name in ("vectors.faiss", "owners.npy", "facts-ends.npy"):
        whole = (place / name).read_bytes()
        (place / name).write_text("short")
        with pytest.raises(LibraryIndexError, match="damaged"):
            Index.open(tmp_path / "x")
        (place / name).unlink()
        with pytest.raises(LibraryIndexError, match="damaged"):
            Index.open(tmp_path / "x")
        (place / name).write_bytes(whole)
    shutil.rmtree(place)
    with pytest.raises(LibraryIndexError, match="damaged"):
        Index.open(tmp_path / "x")
    for text in ("{", "[]", '{"format_version": 1}', "\xff"):
        (tmp_path / "x" / "index.json").write_text(text, encoding="latin-1")
        with pytest.raises(LibraryIndexError, match="damaged"):
            Index.open(tmp_path / "x")
