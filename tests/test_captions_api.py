"""Captions over HTTP, from the command line and in an index: said, refused, found again."""

import io
import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
import torch
from scipy.io import wavfile
from typer.testing import CliRunner

from m2d_clap.index import Index
from m2d_clap.index.filters import parse
from m2d_clap.model import Checkpoint, Waveform
from m2d_clap.model.captions import Decoding
from m2d_clap.model.errors import NoCaptionerError
from m2d_clap.service.cli import build
from m2d_clap.service.client import Client
from m2d_clap.service.engine import Engine
from m2d_clap.service.jobs import CaptionJob
from m2d_clap.service.settings import Settings
from m2d_clap.service.speaking import encode_captions


def sound(seconds: float, hz: float = 440.0) -> bytes:
    samples = 0.3 * np.sin(2 * np.pi * hz * np.arange(int(16000 * seconds)) / 16000)
    file = io.BytesIO()
    wavfile.write(file, 16000, samples.astype(np.float32))
    return file.getvalue()


def post(server: str, data: dict[str, str], body: bytes | None = None) -> httpx.Response:
    files = {"file": ("a.wav", sound(1.0) if body is None else body)}
    return httpx.post(f"{server}/v1/captions", data=data, files=files, timeout=60, trust_env=False)


def said(text: str) -> Any:
    return CliRunner().invoke(build(), text.split())


def test_an_upload_is_captioned_with_alternatives_and_a_timeline(served: str) -> None:
    with Client(served) as client:
        found = client.captions(sound(1.0), n=3, decoding="nucleus", temperature=5.0, seed=4)
        again = client.captions(sound(1.0), n=3, decoding="nucleus", temperature=5.0, seed=4)
        assert found == again and found.timeline is None
        texts = [found.caption, *(other.caption for other in found.alternatives)]
        assert 2 <= len(texts) <= 3 and len(set(texts)) == len(texts)
        assert 0 <= found.confidence <= 1
        long = client.captions(sound(31.0), timeline=True)
        assert client.model().captioner
    assert long.timeline is not None
    assert long.timeline[0].start == 0 and long.timeline[-1].end == pytest.approx(31.0)
    assert long.caption in [moment.caption for moment in long.timeline]


def test_one_caption_is_greedy_and_several_are_found_by_beams_when_nothing_is_said(
    served: str,
) -> None:
    assert post(served, {}).json() == post(served, {"decoding": "greedy"}).json()
    assert post(served, {"n": "3"}).json() == post(served, {"n": "3", "decoding": "beam"}).json()


def test_more_beams_than_asked_for_are_taken_for_more_captions(served: str) -> None:
    found = post(served, {"n": "5", "width": "2"}).json()
    assert len(found["alternatives"]) == 4
    assert post(served, {"n": "5", "decoding": "greedy"}).json()["alternatives"] == []


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("n", "0"),
        ("n", "17"),
        ("width", "x"),
        ("decoding", "magic"),
        ("top_p", "0"),
        ("top_p", "nan"),
        ("temperature", "inf"),
        ("length_penalty", "9"),
        ("no_repeat", "-1"),
        ("seed", "-1"),
        ("timeline", "perhaps"),
    ],
)
def test_a_wrong_option_is_refused_by_its_name(served: str, field: str, value: str) -> None:
    answer = post(served, {field: value})
    assert answer.status_code == 422
    assert [error["field"] for error in answer.json()["errors"]] == [field]


def test_what_is_no_sound_is_refused(served: str) -> None:
    answer = post(served, {}, b"not a sound")
    assert (answer.status_code, answer.json()["type"]) == (415, "/problems/not-audio")


@pytest.fixture(scope="module")
def mute(served_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same checkpoint without its captioner."""
    folder = tmp_path_factory.mktemp("mute") / "tiny"
    replace(Checkpoint.load(served_folder / "tiny"), captioner=None).save(folder)
    return folder


def test_a_checkpoint_without_a_captioner_says_how_to_get_one(
    served_folder: Path, mute: Path, tmp_path: Path
) -> None:
    engine = Engine(Settings(index=served_folder / "index", checkpoint=mute))
    with pytest.raises(NoCaptionerError, match="caption-mini"):
        engine.require_captioner()
    file = tmp_path / "a.wav"
    file.write_bytes(sound(0.5))
    answer = said(f"caption {file} --checkpoint {mute}")
    assert answer.exit_code == 1 and isinstance(answer.exception, NoCaptionerError)


def test_jobs_of_several_kinds_are_answered_in_their_order(served_folder: Path) -> None:
    loaded = Checkpoint.load(served_folder / "tiny")
    captioner, clap = loaded.build_captioner(), loaded.clap()
    sounds = [
        Waveform(np.sin(np.arange(16000, dtype=np.float32) * step), 16000)
        for step in (0.1, 0.3, 0.7)
    ]
    ways = [Decoding("beam", n=2), Decoding("greedy"), Decoding("beam", n=2)]
    jobs = [CaptionJob(wave, how) for wave, how in zip(sounds, ways, strict=True)]
    with torch.inference_mode():
        found = encode_captions(captioner, clap, jobs)
        for job, together in zip(jobs, found, strict=True):
            alone = encode_captions(captioner, clap, [job])[0]
            assert alone.best.text == together.best.text
            assert len(alone.alternatives) == len(together.alternatives)
    with pytest.raises(NoCaptionerError):
        encode_captions(None, clap, jobs)


def test_the_command_prints_one_object_a_file(served_folder: Path, tmp_path: Path) -> None:
    files = [tmp_path / "a.wav", tmp_path / "b.wav"]
    for number, file in enumerate(files):
        file.write_bytes(sound(0.5 + number))
    tiny = served_folder / "tiny"
    one = json.loads(said(f"caption {files[0]} --checkpoint {tiny} --json").stdout)
    assert one.keys() == {"caption", "confidence", "alternatives"}
    two = said(f"caption {files[0]} {files[1]} --checkpoint {tiny} --json --timeline -n 1")
    lines = [json.loads(line) for line in two.stdout.splitlines()]
    assert [line["file"] for line in lines] == [str(file) for file in files]
    assert lines[0]["caption"] == one["caption"] and lines[0]["alternatives"] == []
    assert lines[1]["timeline"][-1]["end"] == 1.5


def test_captions_are_made_at_indexing_kept_and_found_as_text(
    served_folder: Path, tmp_path: Path
) -> None:
    library, tiny, out = tmp_path / "library", served_folder / "tiny", tmp_path / "index"
    library.mkdir()
    for name, hz in (("a", 300.0), ("b", 2000.0)):
        (library / f"{name}.wav").write_bytes(sound(1.0, hz))
    plain = json.loads(said(f"index {library} --out {out} --checkpoint {tiny} --json").stdout)
    assert plain["captioned"] == 0 and Index.open(out).clips[0].metadata.get("caption") is None

    told = said(f"index {library} --out {out} --checkpoint {tiny} --captions --json")
    assert json.loads(told.stdout)["captioned"] == 2
    index, loaded = Index.open(out), Checkpoint.load(tiny)
    for clip in index.clips:
        wave = wavfile.read(index.file(clip))[1]
        listened = loaded.build_captioner().listen(loaded.clap(), [Waveform(wave, 16000)])
        assert clip.metadata["caption"] == listened[0].best.text
    text = index.clips[0].metadata["caption"]
    inside = text[1:-1].replace('"', "?").replace("[", "?")
    found = index.admitted(parse(f'metadata.caption ~ "*{inside}*"'))
    assert found[0]
    assert not index.admitted(parse('metadata.caption = "no such caption"')).any()

    shutil.copy(library / "a.wav", library / "copy.wav")
    (library / "b.wav").unlink()
    (library / "c.wav").write_bytes(sound(2.0))
    again = said(f"index {library} --out {out} --checkpoint {tiny} --captions --json")
    assert json.loads(again.stdout)["captioned"] == 1
    checked = said(f"index {library} --out {out} --check --json")
    assert json.loads(checked.stdout)["findings"] == []
    kept = json.loads(said(f"index {library} --out {out} --checkpoint {tiny} --json").stdout)
    assert kept["captioned"] == 0
    assert all("caption" in clip.metadata for clip in Index.open(out).clips)

    (library / "c.wav.json").write_text('{"caption": "told by hand"}')
    made = said(f"index {library} --out {out} --checkpoint {tiny} --captions --anew --json")
    assert json.loads(made.stdout)["captioned"] == 2
    captions = {clip.path: clip.metadata["caption"] for clip in Index.open(out).clips}
    assert captions == {"a.wav": text, "c.wav": "told by hand"}


def test_no_captioner_no_captions_and_everything_else_as_ever(
    mute: Path, served_folder: Path, tmp_path: Path
) -> None:
    assert not list(mute.glob("captioner*"))
    assert Checkpoint.load(mute).fingerprint == Checkpoint.load(served_folder / "tiny").fingerprint
    library, out = tmp_path / "library", tmp_path / "index"
    library.mkdir()
    (library / "a.wav").write_bytes(sound(1.0))
    asked = f"index {library} --out {out} --checkpoint {mute} --json"
    assert isinstance(said(f"{asked} --captions").exception, NoCaptionerError)
    assert not out.exists()
    assert json.loads(said(asked).stdout)["clips"] == 1
    assert "caption" not in Index.open(out).clips[0].metadata
