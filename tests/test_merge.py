"""Manifests become one, and nothing of what must stay unheard is in it."""

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from m2d_clap.model.errors import ClapError
from m2d_clap.service.cli import build
from m2d_clap.training import leaks
from m2d_clap.training.leaks import find_leaks
from m2d_clap.training.manifest import Row, read_manifest
from m2d_clap.training.merge import unheard


def lay_out(folder: Path, *lines: str, name: str = "m.csv") -> str:
    """A manifest, and a file with content of its own for every row whose file is not there."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_text("\n".join(lines) + "\n")
    for line in lines[1:]:
        file = folder / line.split(",")[0]
        if not file.exists():
            file.write_text(str(file))
    return str(folder / name)


def merged(*words: str) -> Any:
    result = CliRunner().invoke(build(), ["merge", *words, "--json"], catch_exceptions=False)
    assert result.exit_code == 0, result.stderr
    return json.loads(result.stdout)


def test_rows_of_several_folders_keep_files_captions_and_columns(tmp_path: Path) -> None:
    one = lay_out(tmp_path / "a", "file,captions,split,licence", "x.wav,rain|a storm,train,CC0")
    two = lay_out(tmp_path / "b", "file,label,split,weight", "y.wav,dog,valid,2")
    out = tmp_path / "c" / "all.csv"
    assert merged(one, two, "--out", str(out))["rows"] == 2
    rain, dog = read_manifest(out)
    assert rain.file.samefile(tmp_path / "a" / "x.wav")
    assert (rain.captions, rain.columns["licence"]) == (("rain", "a storm"), "CC0")
    assert (dog.label, dog.split, dog.weight) == ("dog", "valid", 2.0)


def test_only_the_splits_asked_for_are_taken(tmp_path: Path) -> None:
    one = lay_out(tmp_path, "file,label,split", "a.wav,x,train", "b.wav,x,valid", "c.wav,x,test")
    out = tmp_path / "out.csv"
    merged(one, "--out", str(out), "--split", "train", "--split", "valid")
    assert [row.split for row in read_manifest(out)] == ["train", "valid"]
    wrong = CliRunner().invoke(build(), ["merge", one, "--out", str(out), "--split", "tset"])
    assert wrong.exit_code == 2


def test_recordings_files_and_contents_that_others_hold_are_left_out(tmp_path: Path) -> None:
    others = lay_out(tmp_path / "b", "file,label,split,recording", "t.wav,x,fold1,fs:7")
    again = (tmp_path / "b" / "t.wav").read_text()
    (tmp_path / "a").mkdir()
    for name in ("same.wav", "and-again.wav"):
        (tmp_path / "a" / name).write_text(again)
    one = lay_out(
        tmp_path / "a",
        "file,label,recording",
        "good.wav,x,fs:1",
        "cut.wav,x,fs:7",
        "cut-two.wav,x,fs:7",
        "same.wav,x,",
        "and-again.wav,x,",
        "../b/t.wav,x,",
    )
    told = merged(one, "--without", others, "--out", str(tmp_path / "out.csv"))
    assert told == {"manifest": str(tmp_path / "out.csv"), "rows": 1, "left_out": 5}
    (row,) = read_manifest(tmp_path / "out.csv")
    assert row.file.name == "good.wav"


def test_every_file_is_looked_at_once_however_many_copies_there_are(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = []
    for number in range(6):
        (tmp_path / f"{number}.wav").write_text("copy" if number else "another")
        rows.append(Row(tmp_path / f"{number}.wav", ("x",), "", "train", {}))
    (tmp_path / "test.wav").write_text("copy")
    others = [Row(tmp_path / "test.wav", ("x",), "", "fold3", {})]
    seen: list[str] = []
    look = leaks._on_disk

    def noted(file: Path) -> leaks._OnDisk:
        seen.append(file.name)
        return look(file)

    monkeypatch.setattr(leaks, "_on_disk", noted)
    assert unheard(rows, others) == rows[:1]
    assert len(seen) == len(set(seen)) == 7
    assert unheard(rows, []) == rows


def test_nothing_left_is_an_error_and_writes_nothing(tmp_path: Path) -> None:
    one = lay_out(tmp_path, "file,label", "a.wav,x")
    with pytest.raises(ClapError, match="nothing is left of 1 rows"):
        merged(one, "--without", one, "--out", str(tmp_path / "out.csv"))
    assert not (tmp_path / "out.csv").exists()


@settings(max_examples=40, deadline=None)
@given(
    st.lists(st.integers(0, 5), max_size=10), st.lists(st.integers(0, 5), min_size=1, max_size=5)
)
def test_what_is_kept_never_leaks_and_what_is_left_out_always_did(
    mine: list[int], theirs: list[int]
) -> None:
    rows = [
        Row(Path(f"{n}"), ("x",), "", "train", {}, recording=f"r{r}") for n, r in enumerate(mine)
    ]
    others = [
        Row(Path(f"t{n}"), ("x",), "", "test", {}, recording=f"r{r}") for n, r in enumerate(theirs)
    ]
    kept = unheard(rows, others)
    assert not find_leaks([*kept, *others])
    assert kept == [row for row, r in zip(rows, mine, strict=True) if r not in theirs]
