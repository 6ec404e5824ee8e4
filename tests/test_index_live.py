"""Clips that come and go while an index is open: durable, found at once, kept by every later run."""

import io
import re
import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.io import wavfile

from m2d_clap.index import Index, live
from m2d_clap.index.build import build_index
from m2d_clap.index.catalogue import CATALOGUE_FILE, Catalogue
from m2d_clap.index.compaction import compact
from m2d_clap.index.errors import IndexBusyError, LibraryIndexError
from m2d_clap.index.live import Heard, Limits
from m2d_clap.index.transfer import export, import_
from m2d_clap.index.walk import File
from m2d_clap.index.windows import Embedded

RATE = 1000


class Ear:
    """Stands in for Clap: where the most of a sound's energy lies, as a direction."""

    class config:
        class front_end:
            sample_rate = RATE

        clap_dim = 4

    def log_mel(self, sound: Any) -> Any:
        return sound.samples

    def grids(self, sounds: Any) -> Any:
        return sounds

    def project(self, sounds: Any) -> Any:
        import torch

        rows = [[s.mean(), s.std(), s[0], s[-1]] for s in sounds]
        return torch.tensor(rows, dtype=torch.float32) + 0.01


def build(folder: Path) -> Any:
    return build_index(folder / "sounds", folder / "x", Path("model"), "f" * 64, Ear())  # type: ignore[arg-type]


@pytest.fixture
def made(tmp_path: Path) -> Path:
    (tmp_path / "sounds").mkdir()
    for seed in range(3):
        noise = np.random.default_rng(seed).normal(0, 3000, 2 * RATE).astype(np.int16)
        wavfile.write(tmp_path / "sounds" / f"{seed}.wav", RATE, noise)
    build(tmp_path)
    return tmp_path


def heard(number: int, name: str = "dog.wav", **known: Any) -> tuple[Heard, io.BytesIO]:
    content = f"{number:064x}"[::-1]
    vector = np.zeros(4, np.float32)
    vector[number % 4] = 1
    sound = Heard(content, name, 1.5, [Embedded(0.0, 1.5, vector)], known, "f" * 64)
    return sound, io.BytesIO(b"bytes %d" % number)


def test_what_is_added_is_found_by_those_who_look_again_and_kept_by_every_later_run(
    made: Path,
) -> None:
    before = Index.open(made / "x")
    sound, file = heard(1, "C:\\my sounds\\Rex?.WAV", title="Rex")
    assert live.add(made / "x", sound, file) and not live.add(made / "x", sound, file)
    assert len(before) == 3 and len(before.refreshed()) == 4
    generation = before.generation
    for step in (lambda: None, lambda: build(made), lambda: compact(made / "x")):
        step()
        index = Index.open(made / "x")
        assert len(index) == 4 and index.generation >= generation
        hit = index.search(np.array([0, 1, 0, 0], np.float32), 1)[0]
        assert (hit.clip.id, hit.clip.metadata) == (sound.id, {"title": "Rex"})
        assert hit.score == pytest.approx(1) and hit.end == 1.5
        assert hit.clip.path == f"uploads/{sound.id}/Rex?.WAV"
        (stored,) = index.files(hit.clip)
        assert stored.read_bytes() == b"bytes 1" and stored.suffix == ".wav"
        assert [c.path for c in index.clips] == ["0.wav", "1.wav", "2.wav", hit.clip.path]
    assert Index.open(made / "x").delta.seq == Index.open(made / "x").base.seq == 1
    assert len(before) == 3 and len(before.refreshed()) == 4, "however long ago it was opened"


def test_what_is_deleted_is_gone_for_good_until_it_is_added_again(made: Path) -> None:
    clips = {clip.path: clip.id for clip in Index.open(made / "x").clips}
    sound, file = heard(2)
    live.add(made / "x", sound, file)
    (stored,) = Index.open(made / "x").files(Index.open(made / "x").clips[-1])
    for clip in (sound.id, clips["1.wav"]):
        assert live.delete(made / "x", clip) and not live.delete(made / "x", clip)
    assert not stored.exists() and (made / "sounds" / "1.wav").exists()
    (made / "sounds" / "1.wav").rename(made / "sounds" / "moved.wav")
    for step in (
        lambda: None,
        lambda: build(made),
        lambda: build(made),
        lambda: compact(made / "x"),
    ):
        step()
        assert [c.path for c in Index.open(made / "x").clips] == ["0.wav", "2.wav"]
    again = Heard(clips["1.wav"] + "0" * 48, "again.wav", 2.0, sound.windows, {}, "f" * 64)
    live.add(made / "x", again, io.BytesIO(b"the same"))
    (clip,) = [c for c in Index.open(made / "x").clips if c.id == again.id]
    assert clip.paths == ("moved.wav", f"uploads/{again.id}/again.wav")
    files = Index.open(made / "x").files(clip)
    assert files[0] == made / "sounds" / "moved.wav" and files[1].read_bytes() == b"the same"
    (made / "sounds" / "moved.wav").unlink()
    build(made)
    (clip,) = [c for c in Index.open(made / "x").clips if c.id == again.id]
    assert clip.paths == (f"uploads/{again.id}/again.wav",)


def test_a_deleted_sound_of_the_library_is_taken_back_by_the_next_run(made: Path) -> None:
    out = made / "x"
    clips = {clip.path: clip.id for clip in Index.open(out).clips}
    for path in ("0.wav", "1.wav", "2.wav"):
        live.delete(out, clips[path])
    build(made)
    (made / "sounds" / "2.wav").unlink()
    build(made)
    assert live.deleted(out) == {
        clips["2.wav"]: [], clips["0.wav"]: ["0.wav"], clips["1.wav"]: ["1.wav"]
    }  # fmt: skip
    with pytest.raises(LibraryIndexError, match=r"3\.wav is no deleted sound"):
        live.undelete(out, ["0.wav", "3.wav"])
    assert len(live.deleted(out)) == 3
    assert live.undelete(out, ["0.wav"]) == {clips["0.wav"]: ["0.wav"]}
    build(made)
    assert [clip.path for clip in Index.open(out).clips] == ["0.wav"]
    assert set(live.undelete(out)) == {clips["1.wav"], clips["2.wav"]}
    build(made)
    assert [clip.path for clip in Index.open(out).clips] == ["0.wav", "1.wav"]
    assert live.deleted(out) == {}


def test_a_caption_goes_with_its_sound(made: Path) -> None:
    clip, other = [c.id for c in Index.open(made / "x").clips][:2]
    with Catalogue.open(made / "x" / CATALOGUE_FILE) as catalogue:
        assert len(catalogue.captions.missing("one")) == 3
        for each in (clip, other):
            catalogue.captions.add(each, "one", "a dog barks")
    live.delete(made / "x", clip)
    with Catalogue.reading(made / "x" / CATALOGUE_FILE) as catalogue:
        assert catalogue.captions.of(clip) == {}
        assert catalogue.captions.of(other) == {"caption": "a dog barks"}


def test_what_comes_while_a_generation_is_made_lies_beside_the_new_one(
    made: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from m2d_clap.index import compaction

    live.add(made / "x", *heard(1))
    real = compaction.make

    def slow(*args: Any) -> Any:
        done = real(*args)
        live.add(made / "x", *heard(2))
        live.delete(made / "x", heard(1)[0].id)
        return done

    monkeypatch.setattr(compaction, "make", slow)
    before = Index.open(made / "x")
    assert compact(made / "x")
    index = Index.open(made / "x")
    assert index.generation == before.generation + 1 and len(index.base.clips) == 4
    assert {c.id for c in index.clips} >= {heard(2)[0].id} and index.clip(heard(1)[0].id) is None
    assert {c.id for c in before.refreshed().clips} == {c.id for c in index.clips}

    def overtaken(*args: Any) -> Any:
        done = real(*args)
        build(made)
        return done

    monkeypatch.setattr(compaction, "make", overtaken)
    assert not compact(made / "x"), "the other one is newer"
    assert len(Index.open(made / "x")) == 4
    assert not [*(made / "x").glob("making-*")]


def test_two_writers_at_once_are_told_and_a_reader_is_not_in_their_way(
    made: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(live, "_PATIENCE", 0.05)
    with Catalogue.open(made / "x" / CATALOGUE_FILE):
        with pytest.raises(IndexBusyError, match="at work"):
            live.add(made / "x", *heard(1))
        with pytest.raises(IndexBusyError, match="at work"):
            live.delete(made / "x", "0")
        assert len(Index.open(made / "x")) == 3
    with Catalogue.reading(made / "x" / CATALOGUE_FILE) as as_it_was:
        assert as_it_was.changes.last() == 0
        assert live.add(made / "x", *heard(1))
        assert as_it_was.changes.last() == 0


def test_many_threads_add_and_delete_and_nothing_is_lost(
    made: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(live, "_PATIENCE", 60.0)

    def work(first: int) -> None:
        for number in range(first, first + 4):
            live.add(made / "x", *heard(number))
        live.delete(made / "x", heard(first)[0].id)

    threads = [threading.Thread(target=work, args=(first,)) for first in (10, 20, 30)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    index = Index.open(made / "x")
    expected = {heard(first + n)[0].id for first in (10, 20, 30) for n in (1, 2, 3)}
    assert {c.id for c in index.clips if c.stored} == expected
    assert {f.name for f in (made / "x" / "sounds").glob("*/*")} == {
        Path(c.stored).name for c in index.clips if c.stored
    }
    assert Limits(rows=8).passed(index) and not Limits(rows=9, least=9).passed(index)
    assert Limits(least=2, share=0).passed(index)


def test_an_upload_cut_short_leaves_nothing_and_an_index_without_catalogue_takes_none(
    made: Path,
) -> None:
    class Broken(io.BytesIO):
        def read(self, *_: Any) -> bytes:
            raise OSError(28, "No space left on device")

    with pytest.raises(LibraryIndexError, match="No space"):
        live.add(made / "x", heard(1)[0], Broken())
    assert not [f for f in (made / "x" / "sounds").glob("*/*") if f.is_file()]
    left = made / "x" / "sounds" / "ab" / "left.wav"
    left.parent.mkdir(exist_ok=True)
    left.write_text("by a process that was killed")
    build(made)
    assert not left.exists()
    (made / "x" / CATALOGUE_FILE).unlink()
    assert len(Index.open(made / "x")) == 3
    with pytest.raises(LibraryIndexError, match="not there"):
        live.add(made / "x", *heard(1))


def test_a_sound_heard_by_another_model_is_not_taken_in(made: Path) -> None:
    sound, file = heard(1)
    with pytest.raises(IndexBusyError, match="another model"):
        live.add(made / "x", replace(sound, model="0" * 64), file)
    assert len(Index.open(made / "x")) == 3


@pytest.mark.parametrize(
    "name", ["Dr. Who", "recording.m4a (1)", "take.final_mix", "a." + "ж" * 200]
)
def test_an_upload_of_any_name_is_stored_and_comes_back_from_an_export(
    made: Path, name: str
) -> None:
    live.add(made / "x", *heard(1, name))
    stored = next(clip.stored for clip in Index.open(made / "x").clips if clip.stored)
    assert re.fullmatch(r"[0-9a-f]{64}(\.[a-z0-9]{1,8})?", Path(stored).name)
    export(made / "x", made / "e")
    assert import_(made / "e", made / "y") == (4, 4)


def test_an_export_while_a_changed_file_is_taken_in_is_whole(made: Path) -> None:
    with Catalogue.open(made / "x" / CATALOGUE_FILE) as catalogue:
        *_, last = catalogue.stamps()
        catalogue.add(
            windows=[("e" * 16, 0, Embedded(0.0, 1.0, np.eye(4, dtype=np.float32)[0]))],
            clips=[("e" * 16, 1.0)],
            files=[(File(last[0], 1, 1), "e" * 16)],
        )
        assert catalogue.count() == (3, 3)
    export(made / "x", made / "e")
    assert import_(made / "e", made / "y") == (3, 3)


@pytest.mark.parametrize(
    ("given", "shown"),
    [
        ("../../etc/passwd", "passwd"),
        ("..", "sound"),
        ("", "sound"),
        ("a\0b\n.wav", "a_b_.wav"),
        (".wav", "wav"),
        ("x.html<script>", "x.html<script>"),
        ("\udc80.wav", "_.wav"),
        ("n" * 300 + ".flac", "n" * 100 + ".flac"),
    ],
)
def test_a_name_is_no_path(given: str, shown: str) -> None:
    assert live._plain(given) == shown
