"""A backup, or a restored index, is whole and on disk, or nothing of it stays."""

import os
import resource
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from m2d_clap.index import Index
from m2d_clap.index.backup import back_up, restore
from m2d_clap.index.catalogue import CATALOGUE_FILE, Catalogue
from m2d_clap.index.errors import LibraryIndexError
from m2d_clap.index.generation import write_generation
from m2d_clap.index.origin import Origin


@pytest.fixture
def out(tmp_path: Path) -> Path:
    folder = tmp_path / "x"
    folder.mkdir()
    origin = Origin("f" * 64, Path("/models/one"), Path("/sounds"))
    with Catalogue.open(folder / CATALOGUE_FILE) as catalogue:
        catalogue.claim(origin, folder)
        write_generation(folder, catalogue, 4, origin)
    return folder


@contextmanager
def room(size: int) -> Iterator[None]:
    """No file can grow beyond this many bytes, as on a full disk."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_what_finds_no_room_asks_for_it_and_leaves_nothing_behind(
    out: Path, tmp_path: Path
) -> None:
    with room(5000), pytest.raises(LibraryIndexError, match="make room"):
        back_up(out, tmp_path / "backup")
    back_up(out, tmp_path / "backup")
    with room(5000), pytest.raises(LibraryIndexError, match="make room"):
        restore(tmp_path / "backup", tmp_path / "restored")
    assert sorted(file.name for file in tmp_path.iterdir()) == ["backup", "x"]
    restore(tmp_path / "backup", tmp_path / "restored")
    assert Index.open(tmp_path / "restored").fingerprint == "f" * 64


def test_every_file_and_folder_is_on_disk_before_it_has_its_name(
    out: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    written: set[int] = set()
    real = os.fsync

    def fsync(opened: int) -> None:
        written.add(os.fstat(opened).st_ino)
        real(opened)

    monkeypatch.setattr(os, "fsync", fsync)
    back_up(out, tmp_path / "backup")
    restore(tmp_path / "backup", tmp_path / "restored")
    for place in (tmp_path / "backup", tmp_path / "restored"):
        assert {file.stat().st_ino for file in (place, *place.rglob("*"))} <= written
