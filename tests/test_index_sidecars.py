"""What stands beside sounds is read as people and programs write it, and nothing known is lost."""

import json
import unicodedata
from pathlib import Path

import pytest

from m2d_clap.index import sidecars
from m2d_clap.index.catalogue import CATALOGUE_FILE, Catalogue
from m2d_clap.index.sidecars import Sidecars, read_sidecars
from m2d_clap.index.walk import walk


@pytest.fixture
def library(tmp_path: Path) -> Path:
    folder = tmp_path / "sounds"
    folder.mkdir()
    for name in ("a.wav", "b.wav"):
        (folder / name).write_text("x")
    return folder


def read(library: Path) -> Sidecars:
    return read_sidecars(library, walk(library, library / "x").files)


def test_a_number_that_no_computer_holds_is_a_fault_of_its_file_alone(library: Path) -> None:
    (library / "a.json").write_text('{"n": ' + 400 * "9" + "}")
    (library / "b.json").write_text('{"n": 1}')
    found = read(library)
    assert found.facts == {"b.wav": {"n": 1}}
    assert found.faults == (("a.json", "it is no metadata: a number in it is too large"),)


def test_metadata_of_any_depth_is_read_or_a_fault_of_its_file(library: Path) -> None:
    for depth in (10, *range(800, 1000, 9), 5000):
        (library / "a.json").write_text(depth * '{"a": ' + "1" + depth * "}")
        found = read(library)
        assert bool(found.facts) != bool(found.faults)
    assert found.faults == (("a.json", "it is no metadata: it is nested too deep"),)


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "cp1252"])
def test_a_table_is_read_as_any_spreadsheet_writes_it(
    delimiter: str, encoding: str, library: Path
) -> None:
    (library / "küche.wav").write_text("x")
    rows = [("File", "Title", "Year"), ("a.wav", "plain", "1998"), ("küche.wav", "Töpfe", "1999")]
    text = "\r\n".join(delimiter.join(row) for row in rows)
    (library / "metadata.csv").write_bytes(text.encode(encoding))
    found = read(library)
    assert found.faults == ()
    assert found.facts["küche.wav"] == {"title": "Töpfe", "year": 1999}


def test_a_table_names_a_sound_whose_name_macos_wrote(library: Path) -> None:
    name = unicodedata.normalize("NFD", "küche.wav")
    (library / name).write_text("x")
    (library / "metadata.csv").write_text("file,title\nküche.wav,Töpfe\n")
    found = read(library)
    assert found.faults == ()
    assert found.facts == {name: {"title": "Töpfe"}}


def test_what_a_table_said_stays_known_while_it_cannot_be_read_to_its_end(library: Path) -> None:
    table = library / "metadata.csv"
    table.write_text("file,title\na.wav,old\nb.wav,two\n")
    with Catalogue.open(library.parent / CATALOGUE_FILE) as catalogue:
        catalogue.tell(read(library).facts)
        many = "gone.wav,x\n" * 3000
        table.write_bytes(f"file,title\na.wav,Küche\n{many}b.wav,K".encode() + b"\xc3")
        found = read(library)
        assert "cannot be read behind line" in dict(found.faults)["metadata.csv"]
        assert catalogue.untold(found.facts, found.unread) == {"a.wav"}
        catalogue.tell(found.facts, found.unread)
        said = {"a.wav": {"title": "Küche"}, "b.wav": {"title": "two"}}
        assert not catalogue.untold(said)


def test_what_a_table_said_stays_known_while_it_cannot_be_opened(
    library: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(_: Path) -> str:
        raise OSError(5, "Input/output error")

    (library / "metadata.csv").write_text("file,title\na.wav,one\n")
    (library / "b.json").write_text(json.dumps({"title": "two"}))
    monkeypatch.setattr(sidecars, "_encoding", fails)
    found = read(library)
    assert found.facts == {"b.wav": {"title": "two"}}
    assert found.unread == {"a.wav"}
    assert found.files == {"metadata.csv", "b.json"}
    assert "Input/output error" in dict(found.faults)["metadata.csv"]
