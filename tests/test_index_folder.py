"""Whatever lies in a folder, walking it never fails."""

import os
from pathlib import Path

import pytest

from m2d_clap.index.errors import LibraryIndexError
from m2d_clap.index.ignored import IGNORE_FILE
from m2d_clap.index.walk import printable, walk


def left(library: Path, out: Path) -> dict[str, str]:
    return dict(walk(library, out).left)


@pytest.fixture
def library(tmp_path: Path) -> Path:
    folder = tmp_path / "sounds"
    (folder / "b").mkdir(parents=True)
    for name in ("b/1.wav", "b/0.wav", "a.wav"):
        (folder / name).write_text("x")
    return folder


def test_files_come_by_path_and_the_index_itself_is_left_out(library: Path) -> None:
    out = library / "b" / "index"
    out.mkdir()
    (out / "index.json").write_text("{}")
    found = walk(library, out)
    assert [file.path for file in found.files] == ["a.wav", "b/0.wav", "b/1.wav"]
    assert (found.left, found.hidden) == ((), 0)


def test_hidden_files_and_folders_are_counted(library: Path, tmp_path: Path) -> None:
    (library / ".git").mkdir()
    (library / ".git" / "inside.wav").write_text("x")
    (library / "b" / ".1.wav").write_text("x")
    found = walk(library, tmp_path / "x")
    assert (len(found.files), found.hidden) == (3, 2)


def test_what_the_owner_wants_left_out_is_counted_and_not_looked_at(
    library: Path, tmp_path: Path
) -> None:
    (library / "b" / "Bounces" / "deep").mkdir(parents=True)
    (library / "b" / "Bounces" / "deep" / "2.wav").write_text("x")
    (library / "a.peak").write_text("x")
    ignore = library / IGNORE_FILE
    ignore.write_text(
        "\ufeff# what other programs leave behind\nBounces/\n*.peak\n/b/?.wav\n!1.wav\n"
    )
    found = walk(library, tmp_path / "x")
    assert [file.path for file in found.files] == ["a.wav", "b/1.wav"]
    assert found.hidden == 4  # the folder, a.peak, b/0.wav and the file of patterns itself
    ignore.write_bytes(b"caf\xe9/\n")
    with pytest.raises(LibraryIndexError, match="cannot be read"):
        walk(library, tmp_path / "x")
    for odd in ("!", "[z-a]"):
        ignore.write_text(odd)
        with pytest.raises(LibraryIndexError, match="no pattern as Git knows them"):
            walk(library, tmp_path / "x")


def test_links_to_files_are_followed_and_links_to_folders_cannot_loop(
    library: Path, tmp_path: Path
) -> None:
    (library / "link.wav").symlink_to(library / "a.wav")
    (library / "loop").symlink_to(library)
    (library / "nowhere.wav").symlink_to(library / "none.wav")
    (library / "itself.wav").symlink_to(library / "itself.wav")
    found = walk(library, tmp_path / "x")
    assert "link.wav" in [file.path for file in found.files]
    assert [path for path, _ in found.left] == ["itself.wav", "loop", "nowhere.wav"]
    assert "not followed" in left(library, tmp_path / "x")["loop"]


def test_empty_files_and_what_is_no_file_are_left_with_the_reason(
    library: Path, tmp_path: Path
) -> None:
    (library / "empty.wav").touch()
    os.mkfifo(library / "pipe.wav")
    assert left(library, tmp_path / "x") == {
        "empty.wav": "it is empty",
        "pipe.wav": "it is no regular file",
    }


def test_a_name_that_is_not_utf_8_is_left_and_can_be_printed(library: Path, tmp_path: Path) -> None:
    odd = os.fsdecode(b"caf\xe9.wav")
    try:
        (library / odd).write_text("x")
    except OSError:
        pytest.skip("this file system takes UTF-8 names only")
    (path, reason), *_ = walk(library, tmp_path / "x").left
    assert path == printable(odd) == "caf\\xe9.wav"
    assert path.encode()
    assert "UTF-8" in reason


def test_a_folder_that_vanishes_or_cannot_be_entered_is_left(
    library: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = os.scandir

    def scandir(path: str) -> object:
        if Path(path).name == "b":
            raise PermissionError(13, "Permission denied", path)
        return real(path)

    monkeypatch.setattr(os, "scandir", scandir)
    found = walk(library, tmp_path / "x")
    assert [file.path for file in found.files] == ["a.wav"]
    assert found.left == (("b", "it cannot be read: Permission denied"),)
