"""What files, tags and sidecars tell of a sound is found by filters and comes with the hits."""

import hashlib
import json
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from m2d_clap.index import Index, Report, build_index
from m2d_clap.index.catalogue import CATALOGUE_FILE
from m2d_clap.index.facts import key
from m2d_clap.index.filters import parse
from m2d_clap.index.sidecars import read_sidecars
from m2d_clap.index.walk import walk
from m2d_clap.model import Clap, ClapConfig, read_audio
from m2d_clap.model.config import EncoderConfig, ProjectorConfig

FORMAT_1 = """
CREATE TABLE origin (name TEXT PRIMARY KEY, json TEXT NOT NULL);
CREATE TABLE clips (id TEXT PRIMARY KEY, seconds REAL NOT NULL);
CREATE TABLE files (
    path TEXT PRIMARY KEY, size INTEGER NOT NULL, mtime_ns INTEGER NOT NULL, clip TEXT NOT NULL);
CREATE TABLE broken (
    path TEXT PRIMARY KEY, size INTEGER NOT NULL, mtime_ns INTEGER NOT NULL, reason TEXT NOT NULL);
CREATE TABLE windows (
    clip TEXT NOT NULL, position INTEGER NOT NULL,
    start REAL NOT NULL, "end" REAL NOT NULL, vector BLOB NOT NULL,
    PRIMARY KEY (clip, position));
PRAGMA application_id = 1295139660;
PRAGMA user_version = 1;
"""
"""As the release before this one made them."""


@pytest.fixture(scope="module")
def clap() -> Clap:
    torch.manual_seed(0)
    config = ClapConfig(
        encoder=EncoderConfig(frames=64, width=16, depth=1, heads=2),
        projector=ProjectorConfig("mlp", 16, 16),
    )
    return Clap(config).eval()


def build(library: Path, clap: Clap) -> Report:
    return build_index(library, library.parent / "x", Path("checkpoint"), "f" * 64, clap)


def sound(file: Path, seed: int = 0, rate: int = 16000, **tags: str) -> None:
    """Half a second of stereo noise, coded as the file's name says."""
    file.parent.mkdir(parents=True, exist_ok=True)
    noise = np.random.default_rng(seed).normal(0, 3000, (1, rate)).astype(np.int16)
    codec = {".wav": "pcm_s16le", ".flac": "flac", ".ogg": "libopus", ".mp3": "libmp3lame"}
    with av.open(file, "w") as out:
        out.metadata.update(tags)
        stream = out.add_stream(codec[file.suffix], rate=rate, layout="stereo")
        frame = av.AudioFrame.from_ndarray(noise, "s16", "stereo")
        frame.sample_rate = rate
        resampler = av.AudioResampler(stream.codec_context.format, "stereo", rate)
        for ready in [*resampler.resample(frame), *resampler.resample(None)]:
            out.mux(stream.encode(ready))
        out.mux(stream.encode(None))


def known(library: Path) -> dict[str, dict[str, Any]]:
    return {clip.path: dict(clip.metadata) for clip in Index.open(library.parent / "x").clips}


def found(library: Path, where: str) -> set[str]:
    index = Index.open(library.parent / "x")
    return {hit.clip.path for hit in index.search(np.ones(16, np.float32), 99, parse(where))}


@pytest.mark.parametrize(
    ("name", "codec"), [("a.flac", "flac"), ("a.ogg", "opus"), ("a.mp3", "mp3")]
)
def test_tags_and_coding_come_with_the_hits(
    name: str, codec: str, tmp_path: Path, clap: Clap
) -> None:
    library = tmp_path / "sounds"
    sound(library / name, rate=48000, title="Rain in Bergen", artist="Ann Ö", genre="field")
    sound(library / "other.wav", 1)
    build(library, clap)
    facts = known(library)[name]
    assert facts["title"] == "Rain in Bergen"
    assert facts["artist"] == "Ann Ö"
    assert (facts["codec"], facts["sample_rate"], facts["channels"]) == (codec, 48000, 2)
    assert facts["sha256"] == hashlib.sha256((library / name).read_bytes()).hexdigest()
    assert found(library, 'metadata.artist ~ "ann*" and metadata.sample_rate > 20000') == {name}
    assert found(library, 'metadata.codec = "pcm_s16le"') == {"other.wav"}


def test_tags_in_an_old_encoding_are_read_and_no_reason_to_refuse_a_sound(
    tmp_path: Path, clap: Clap
) -> None:
    library = tmp_path / "sounds"
    sound(library / "a.wav", title="Caf~ noise")
    whole = (library / "a.wav").read_bytes()
    assert b"Caf~" in whole
    (library / "a.wav").write_bytes(whole.replace(b"Caf~", b"Caf\xe9"))
    assert build(library, clap).clips == 1
    assert known(library)["a.wav"]["title"] == "Café noise"


def test_sidecars_speak_before_tags_and_the_file_beside_a_sound_before_the_table(
    tmp_path: Path, clap: Clap
) -> None:
    library = tmp_path / "sounds"
    sound(library / "a.flac", 0, title="from the tag", artist="from the tag")
    sound(library / "b" / "c.wav", 1)
    sound(library / "d.wav", 2)
    (library / "a.json").write_text(
        json.dumps(
            {
                "title": "from beside",
                "place": {"country": "NO", "lat": 60.4},
                "keywords": ["rain", "sea"],
                "wet": True,
                "none": None,
                "codec": "forged",
            }
        )
    )
    (library / "b" / "c.wav.json").write_text('{"Recorded By": "Bo"}')
    (library / "metadata.csv").write_text(
        "file,title,year,take\na.flac,from the table,1999,1.5\nb/c.wav,,2001,007\ngone.wav,x,1,1\n"
    )
    report = build(library, clap)
    assert [path for path, _ in report.skipped] == ["metadata.csv"]
    assert "line 4 names gone.wav" in report.skipped[0][1]
    facts = known(library)["a.flac"]
    assert (facts["title"], facts["artist"]) == ("from beside", "from the tag")
    assert (facts["year"], facts["take"], facts["codec"]) == (1999, 1.5, "flac")
    assert (facts["keywords"], facts["wet"]) == ("rain; sea", "true")
    assert "none" not in facts
    assert known(library)["b/c.wav"]["take"] == "007"
    assert "title" not in known(library)["b/c.wav"]
    assert found(library, 'metadata.place.lat > 60 and metadata.place.country = "NO"') == {"a.flac"}
    assert found(library, 'metadata.recorded_by = "Bo" or metadata.year = 1999') == {
        "a.flac",
        "b/c.wav",
    }


def test_a_changed_sidecar_is_taken_in_without_embedding_anything(
    tmp_path: Path, clap: Clap
) -> None:
    library = tmp_path / "sounds"
    sound(library / "a.wav")
    (library / "a.json").write_text('{"title": "one"}')
    build(library, clap)
    (library / "a.json").write_text('{"title": "two"}')
    report = build(library, clap)
    assert (report.embedded, report.unchanged) == (0, 1)
    assert known(library)["a.wav"]["title"] == "two"
    (library / "a.json").unlink()
    build(library, clap)
    assert "title" not in known(library)["a.wav"]


def test_a_sound_in_two_files_knows_what_is_said_of_either(tmp_path: Path, clap: Clap) -> None:
    library = tmp_path / "sounds"
    sound(library / "a.wav")
    (library / "b.wav").write_bytes((library / "a.wav").read_bytes())
    (library / "a.json").write_text('{"title": "a", "left": 1}')
    (library / "b.json").write_text('{"title": "b", "right": 2}')
    report = build(library, clap)
    assert (report.clips, report.new, report.identical) == (1, 2, 1)
    facts = known(library)["a.wav"]
    assert (facts["title"], facts["left"], facts["right"]) == ("a", 1, 2)


def test_a_json_that_says_nothing_of_a_sound_is_left_out_like_any_file(
    tmp_path: Path, clap: Clap
) -> None:
    library = tmp_path / "sounds"
    sound(library / "a.wav")
    (library / "settings.json").write_text("{}")
    (library / "a.json").write_text("[1, 2]")
    skipped = dict(build(library, clap).skipped)
    assert set(skipped) == {"a.json", "settings.json"}
    assert "it must hold an object" in skipped["a.json"]


def test_a_catalogue_of_format_1_is_taken_over_without_embedding_anything(
    tmp_path: Path, clap: Clap
) -> None:
    library, out = tmp_path / "sounds", tmp_path / "x"
    sound(library / "a.flac", 0, title="old")
    sound(library / "b.wav", 1)
    out.mkdir()
    vectors = {}
    with closing(sqlite3.connect(out / CATALOGUE_FILE)) as db, db:
        db.executescript(FORMAT_1)
        facts = {"fingerprint": "f" * 64, "checkpoint": "/c", "library": str(library)}
        rows = [(name, json.dumps(value)) for name, value in facts.items()]
        db.executemany("INSERT INTO origin VALUES (?, ?)", rows)
        for file in walk(library, out).files:
            clip = hashlib.sha256((library / file.path).read_bytes()).hexdigest()[:16]
            samples = read_audio(library / file.path, 16000)
            vector = torch.nn.functional.normalize(clap.embed_audio([samples]))[0].numpy()
            vectors[clip] = vector
            row = (file.path, file.size, file.mtime_ns, clip)
            db.execute("INSERT INTO files VALUES (?, ?, ?, ?)", row)
            db.execute("INSERT INTO clips VALUES (?, ?)", (clip, samples.seconds))
            row = (clip, 0, 0.0, samples.seconds, vector.tobytes())
            db.execute("INSERT INTO windows VALUES (?, ?, ?, ?, ?)", row)
    report = build(library, clap)
    assert (report.embedded, report.new, report.gone, report.described) == (0, 0, 0, 2)
    assert known(library)["a.flac"]["title"] == "old"
    assert found(library, 'metadata.codec = "pcm_s16le"') == {"b.wav"}
    index = Index.open(out)
    for clip in index.clips:
        assert np.array_equal(index.rows([index.clips.index(clip)])[0], vectors[clip.id])
    assert build(library, clap).described == 0


@settings(suppress_health_check=[HealthCheck.too_slow], deadline=None)
@given(st.text(max_size=40))
def test_every_name_becomes_one_that_filters_can_spell(name: str) -> None:
    if spelt := key(name):
        assert parse(f"metadata.{spelt} = 1").field == f"metadata.{spelt}"  # type: ignore[union-attr]


@settings(
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow], deadline=None
)
@given(
    beside=st.one_of(st.binary(max_size=60), st.text(alphabet='{}[]":,1e9.a ', max_size=60)),
    table=st.one_of(st.binary(max_size=60), st.text(alphabet='file,"\n1a.wv', max_size=60)),
)
def test_no_sidecar_stops_a_run(beside: bytes | str, table: bytes | str, tmp_path: Path) -> None:
    (tmp_path / "a.wav").write_text("x")
    for name, content in (("a.json", beside), ("metadata.csv", b"file," + _bytes(table))):
        (tmp_path / name).write_bytes(_bytes(content))
    read = read_sidecars(tmp_path, walk(tmp_path, tmp_path / "x").files)
    assert set(read.facts) <= {"a.wav"}
    json.dumps(dict(read.facts), allow_nan=False)


def _bytes(text: bytes | str) -> bytes:
    return text if isinstance(text, bytes) else text.encode()
