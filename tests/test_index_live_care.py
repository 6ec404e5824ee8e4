"""What was uploaded and deleted is checked, copied, exchanged and described as the library's sounds are."""

import hashlib
import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from scipy.io import wavfile
from typer.testing import CliRunner

from m2d_clap.index import Index, build_index, live
from m2d_clap.index.anew import build_anew
from m2d_clap.index.backup import back_up, restore
from m2d_clap.index.catalogue import CATALOGUE_FILE, Catalogue
from m2d_clap.index.check import check_index
from m2d_clap.index.compaction import compact
from m2d_clap.index.difference import difference
from m2d_clap.index.duplicates import duplicates
from m2d_clap.index.errors import IndexBusyError, LibraryIndexError
from m2d_clap.index.transfer import export, import_
from m2d_clap.index.windows import Embedded
from m2d_clap.model import Checkpoint, Clap, ClapConfig
from m2d_clap.model.config import EncoderConfig, ProjectorConfig
from m2d_clap.service.cli import build as cli

SOUND = b"the bytes of an upload"
CONTENT = hashlib.sha256(SOUND).hexdigest()


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder = tmp_path_factory.mktemp("models")
    for seed in (0, 1):
        torch.manual_seed(seed)
        config = ClapConfig(
            encoder=EncoderConfig(frames=64, width=16, depth=1, heads=2),
            projector=ProjectorConfig("mlp", 16, 16),
        )
        Checkpoint.of(Clap(config)).save(folder / str(seed))
    return [folder / "0", folder / "1"]


def given(library: Path, out: Path, model: Path) -> tuple[Any, ...]:
    checkpoint = Checkpoint.load(model)
    return library, out, model, checkpoint.fingerprint, checkpoint.clap()


@pytest.fixture(params=["beside the generation", "compacted"])
def out(request: pytest.FixtureRequest, tmp_path: Path, models: list[Path]) -> Path:
    """Three sounds with facts and one sidecar; one of them deleted, and an upload."""
    (tmp_path / "sounds").mkdir()
    for seed in range(3):
        noise = np.random.default_rng(seed).normal(0, 3000, 8000).astype(np.int16)
        wavfile.write(tmp_path / "sounds" / f"{seed}.wav", 16000, noise)
    (tmp_path / "sounds" / "0.json").write_text('{"title": "zero"}')
    folder = tmp_path / "x"
    build_index(*given(tmp_path / "sounds", folder, models[0]))
    index = Index.open(folder)
    (own,) = [clip for clip in index.clips if clip.path == "2.wav"]
    live.delete(folder, own.id)
    windows = [Embedded(0.0, 1.0, np.eye(16, dtype=np.float32)[3])]
    heard = live.Heard(
        CONTENT, "rex.wav", 1.0, windows, {"title": "Rex", "year": 2024}, index.fingerprint
    )
    assert live.add(folder, heard, io.BytesIO(SOUND))
    if request.param == "compacted":
        assert compact(folder)
    return folder


def state(folder: Path) -> list[object]:
    index = Index.open(folder)
    query = np.random.default_rng(9).normal(size=16).astype(np.float32)
    hits = [(hit.clip, round(hit.score, 5), hit.start, hit.end) for hit in index.search(query, 9)]
    sounds = [index.files(clip)[-1].read_bytes() for clip in index.clips if clip.stored]
    return [list(index.clips), hits, sounds]


def test_uploads_and_the_librarys_sounds_are_described_and_found_well(
    out: Path, models: list[Path]
) -> None:
    library = Index.open(out).library
    clips = {clip.path: clip for clip in Index.open(out).clips}
    assert clips.keys() == {"0.wav", "1.wav", f"uploads/{CONTENT[:16]}/rex.wav"}
    assert clips["0.wav"].metadata["title"] == "zero"
    assert (clips["1.wav"].metadata["codec"], clips["1.wav"].metadata["channels"]) == (
        "pcm_s16le",
        1,
    )
    assert clips[f"uploads/{CONTENT[:16]}/rex.wav"].metadata == {"title": "Rex", "year": 2024}
    before = state(out)
    assert not check_index(library, out).findings
    assert not difference(out)
    assert not duplicates(Index.open(out), 0.99999)
    report = build_index(*given(library, out, models[0]))
    assert (report.clips, report.unchanged, report.embedded, report.gone) == (3, 3, 0, 0)
    assert (report.described, state(out)) == (0, before), "what was deleted is not read again"
    assert not check_index(library, out).findings


def test_files_that_are_left_out_because_their_sounds_were_deleted_are_counted(
    out: Path, models: list[Path], tmp_path: Path
) -> None:
    words = ["index", str(tmp_path / "sounds"), "--checkpoint", str(models[0]), "--out"]
    told = CliRunner().invoke(cli(), [*words, str(out)])
    assert "0 hidden, 1 left out as deleted\n" in told.stdout
    told = CliRunner().invoke(cli(), [*words, str(out), "--json"])
    assert json.loads(told.stdout)["deleted"] == 1
    told = CliRunner().invoke(cli(), [*words, str(tmp_path / "other")])
    assert "0 hidden\n" in told.stdout


def test_what_was_deleted_is_listed_and_taken_back_by_command(out: Path) -> None:
    def library(*words: str) -> Any:
        return CliRunner().invoke(cli(), ["library", *words])

    ((clip, paths),) = live.deleted(out).items()
    assert f"{clip}  {paths[0]}\n" in library("deleted", str(out)).stdout
    told = json.loads(library("deleted", str(out), "--json").stdout)
    assert told == {"deleted": [{"id": clip, "paths": paths}]}
    assert library("undelete", str(out)).exit_code == 2
    assert library("undelete", str(out), clip, "--all").exit_code == 2
    assert library("undelete", str(out), clip, "--json").exit_code == 0
    assert live.deleted(out) == {}


def test_a_damaged_upload_is_said_and_never_forgotten(out: Path) -> None:
    index = Index.open(out)
    (upload,) = [clip for clip in index.clips if clip.stored]
    index.files(upload)[-1].write_bytes(b"others")
    (found,) = check_index(index.library, out).left
    assert upload.id in found.what
    assert "restore a backup" in str(found.advice)
    assert len(Index.open(out)) == 3


def test_copies_and_exports_hold_what_was_uploaded_and_leave_out_what_was_deleted(
    out: Path, models: list[Path], tmp_path: Path
) -> None:
    before, library = state(out), Index.open(out).library
    left = out / "making-0-00"
    left.mkdir()
    (left / "vectors.faiss").write_bytes(b"of a process that was killed")
    back_up(out, tmp_path / "backup")
    assert not list((tmp_path / "backup").glob("making-*"))
    restore(tmp_path / "backup", tmp_path / "restored")
    assert export(out, tmp_path / "exported") == (3, 3)
    assert import_(tmp_path / "exported", tmp_path / "imported") == (3, 3)
    for name in ("restored", "imported"):
        assert state(tmp_path / name) == before
        report = build_index(*given(library, tmp_path / name, models[0]))
        assert (report.clips, report.embedded) == (3, 0)
        assert state(tmp_path / name) == before
        assert not check_index(library, tmp_path / name).findings


def test_a_restore_waits_for_who_is_writing(
    out: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("m2d_clap.index.backup._PATIENCE", 0.0)
    back_up(out, tmp_path / "backup")
    with (
        Catalogue.open(out / CATALOGUE_FILE),
        pytest.raises(IndexBusyError, match="let it end"),
    ):
        restore(tmp_path / "backup", out, replace=True)
    assert restore(tmp_path / "backup", out, replace=True) is not None


def test_an_export_that_names_another_place_for_an_upload_makes_no_index(
    out: Path, tmp_path: Path
) -> None:
    export(out, tmp_path / "exported")
    file = tmp_path / "exported" / "clips.jsonl"
    clips = [json.loads(line) for line in file.read_text().splitlines()]
    for clip in clips:
        if "upload" in clip:
            clip["upload"]["stored"] = "sounds/../../escaped.wav"
    file.write_text("\n".join(map(json.dumps, clips)))
    with pytest.raises(LibraryIndexError, match="no place of the upload"):
        import_(tmp_path / "exported", tmp_path / "imported")
    assert not (tmp_path / "imported").exists()


def test_another_checkpoint_leaves_out_what_was_deleted_and_refuses_to_lose_uploads(
    out: Path, models: list[Path]
) -> None:
    library = Index.open(out).library
    with pytest.raises(LibraryIndexError, match="1 sounds that were uploaded"):
        build_anew(*given(library, out, models[1]))
    live.delete(out, CONTENT[:16])
    report, kept = build_anew(*given(library, out, models[1]))
    assert (report.clips, report.embedded, kept is not None) == (2, 2, True)
    assert [clip.path for clip in Index.open(out).clips] == ["0.wav", "1.wav"]
    assert not check_index(library, out).findings
