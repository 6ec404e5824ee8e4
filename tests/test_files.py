"""A file is there whole or not at all."""

import errno
import os
from pathlib import Path

import pytest

from m2d_clap.model.files import to_disk, whole


def test_a_file_has_its_name_once_all_of_it_is_written(tmp_path: Path) -> None:
    file = tmp_path / "scores.json"
    with whole(file) as aside:
        aside.write_text("half")
        assert not file.exists()
        aside.write_text("all of it")
    assert file.read_text() == "all of it"
    assert list(tmp_path.iterdir()) == [file]


def test_what_ends_the_writing_leaves_the_file_as_it_was(tmp_path: Path) -> None:
    file = tmp_path / "scores.json"
    file.write_text("before")
    with pytest.raises(KeyboardInterrupt), whole(file) as aside:
        aside.write_text("half")
        raise KeyboardInterrupt
    assert file.read_text() == "before"
    assert list(tmp_path.iterdir()) == [file]


@pytest.mark.parametrize(("code", "told"), [(errno.EINVAL, False), (errno.EIO, True)])
def test_a_disk_that_fails_is_told_of_and_one_that_knows_no_fsync_is_not(
    code: int, told: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(_: int) -> None:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(os, "fsync", refuse)
    file = tmp_path / "scores.json"
    if not told:
        with whole(file) as aside:
            aside.write_text("all of it")
        assert file.read_text() == "all of it"
        return
    with pytest.raises(OSError, match=r"rror"), whole(file) as aside:
        aside.write_text("all of it")
    assert not list(tmp_path.iterdir())
    with pytest.raises(OSError, match=r"rror"):
        to_disk(tmp_path)
