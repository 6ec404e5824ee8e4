"""What an index knows and its library does not show is not forgotten, nor passed over, by mistake."""

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from scipy.io import wavfile

from m2d_clap.index import Index, Report, build_index
from m2d_clap.index.check import Checked, check_index
from m2d_clap.index.errors import LibraryIndexError
from m2d_clap.index.ignored import IGNORE_FILE
from m2d_clap.index.missing import refuse_missing, refuse_unmounted
from m2d_clap.index.options import Options
from m2d_clap.index.walk import Walk, walk

RATE = 1000


class Ear:
    """Stands in for Clap: four statistics of a sound."""

    class config:
        class front_end:
            sample_rate = RATE

        clap_dim = 4

    def log_mel(self, sound: Any) -> Any:
        return sound.samples

    def grids(self, sounds: Any) -> Any:
        return sounds

    def project(self, sounds: Any) -> Any:
        rows = [[s.mean(), s.std(), s[0], s[-1]] for s in sounds]
        return torch.tensor(rows, dtype=torch.float32) + 0.01


def build(library: Path, out: Path, forget: bool = False) -> Report:
    ear: Any = Ear()
    return build_index(library, out, Path("model"), "f" * 64, ear, options=Options(forget=forget))


def write(folder: Path, count: int) -> None:
    folder.mkdir(parents=True)
    for number in range(count):
        noise = np.random.default_rng(number).normal(0, 3000, RATE // 5).astype(np.int16)
        wavfile.write(folder / f"{number}.wav", RATE, noise)


@pytest.fixture
def library(tmp_path: Path) -> Path:
    """75 files in each of two folders."""
    folder = tmp_path.resolve() / "sounds"
    for place in ("a", "b"):
        (folder / place).mkdir(parents=True)
        for number in range(75):
            (folder / place / f"{number}.wav").write_text("x")
    return folder


def looked(library: Path) -> Walk:
    return walk(library, library.parent / "x")


def paths(library: Path) -> set[str]:
    return {file.path for file in looked(library).files}


def refuse(library: Path, known: set[str]) -> None:
    refuse_missing(looked(library), library, library, known, "x")


def test_most_of_a_library_that_is_gone_is_refused_and_one_that_was_renamed_is_not(
    library: Path,
) -> None:
    known = paths(library)
    for place in ("a", "b"):
        (library / place).rename(library / f"{place} renamed")
        refuse(library, known)
    shutil.rmtree(library)
    library.mkdir()
    (library / "stray.wav").write_text("x")
    with pytest.raises(LibraryIndexError, match=r"150 of the 150 .* mounted\? .* --forget"):
        refuse(library, known)
    with pytest.raises(LibraryIndexError, match="150 files of the index before"):
        refuse_unmounted(looked(library), library, known)
    refuse(library, {path for path in known if path.startswith("a/")})  # so few can be deleted


def test_what_the_owner_wants_left_out_is_no_loss_and_is_not_kept(library: Path) -> None:
    known = paths(library)
    for file in (library / "a").iterdir():
        file.unlink()
    of_a = {path for path in known if path.startswith("a/")}
    assert looked(library).unmounted(known) == of_a
    (library / IGNORE_FILE).write_text("/a/*.wav\n")
    assert not looked(library).unmounted(known)
    (library / IGNORE_FILE).write_text("/a/\n/b/\n")
    refuse(library, known)
    (library / IGNORE_FILE).unlink()
    shutil.rmtree(library / "b")
    with pytest.raises(LibraryIndexError, match="is empty"):
        refuse(library, known)


def test_a_folder_with_nothing_but_what_systems_leave_behind_is_empty(library: Path) -> None:
    known = paths(library)
    for file in (library / "a").iterdir():
        file.unlink()
    (library / "a" / ".DS_Store").write_text("x")
    (library / "a" / "$RECYCLE.BIN").mkdir()
    (library / "a" / "$RECYCLE.BIN" / "0.wav").write_text("x")
    found = looked(library)
    assert found.empty == ("a",)
    assert found.unmounted(known) == {path for path in known if path.startswith("a/")}
    assert found.hidden == 2


def test_what_lay_in_a_folder_that_is_a_link_now_stays_known(library: Path) -> None:
    known = paths(library)
    (library / "a").rename(library.parent / "elsewhere")
    (library / "a").symlink_to(library.parent / "elsewhere")
    found = looked(library)
    assert found.out_of_sight(known) == {path for path in known if path.startswith("a/")}
    with pytest.raises(LibraryIndexError, match="links"):
        refuse_unmounted(found, library, known)


def test_a_drive_that_is_gone_with_its_mount_point_forgets_nothing(tmp_path: Path) -> None:
    library, out = tmp_path / "sounds", tmp_path / "x"
    write(library / "drive", 110)
    (library / "drive" / "0.wav").rename(library / "here.wav")
    assert build(library, out).clips == 110
    (library / "drive").rename(tmp_path / "drive")
    with pytest.raises(LibraryIndexError, match=r"109 of the 110 files .* is its drive mounted"):
        build(library, out)
    assert len(Index.open(out)) == 110
    assert left(check_index(library, out)) == ["109 of 110 files are not there"]
    report = build(library, out, forget=True)
    assert (report.clips, report.gone) == (1, 109)


def test_a_check_says_that_files_are_not_there_and_that_the_folder_is_another(
    tmp_path: Path,
) -> None:
    library, out, other = (tmp_path.resolve() / name for name in ("sounds", "x", "other"))
    write(library, 3)
    build(library, out)
    (library / "0.wav").unlink()
    found = check_index(library, out)
    assert (found.changed, left(found)) == (1, [])
    (library / "1.wav").unlink()
    found = check_index(library, out)
    assert (found.changed, left(found)) == (0, ["2 of 3 files are not there"])
    other.mkdir()
    assert left(check_index(other, out)) == [
        f"the index is of {library}, not of {other}",
        "3 of 3 files are not there",
    ]


def left(found: Checked) -> list[str]:
    """What is left to do, but for the checkpoint: there is none here."""
    return [f.what for f in found.left if not f.what.startswith("the checkpoint")]
