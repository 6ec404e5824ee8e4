"""Decoding in processes gives what decoding here does, and what crashes there costs one file."""

import os
import signal
import subprocess
import threading
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
from scipy.io import wavfile

from m2d_clap.index import decoders as decoders_module
from m2d_clap.index.busy import Busy
from m2d_clap.index.decoders import Decoders
from m2d_clap.index.reading import Broken, Heard, Piece, Reader, Unreadable, Whole
from m2d_clap.index.walk import walk

RATE = 8000


@pytest.fixture
def library(tmp_path: Path) -> Path:
    folder = tmp_path / "sounds"
    folder.mkdir()
    for seed, seconds in enumerate((0.5, 25, 3)):
        noise = np.random.default_rng(seed).normal(0, 3000, int(seconds * RATE))
        wavfile.write(folder / f"{seed}.wav", RATE, noise.astype(np.int16))
    (folder / "notes.txt").write_text("hello")
    (folder / "twin.wav").write_bytes((folder / "2.wav").read_bytes())
    return folder


@pytest.fixture
def decoders() -> Iterator[Decoders]:
    with closing(Decoders(Busy(1))) as found:
        yield found


def read(library: Path, decoders: Decoders | None) -> list[Piece]:
    reader = Reader(library, RATE, set(), {}, decoders)
    files = walk(library, library / "x").files
    return [piece for file in files for piece in reader.pieces(file)]


def test_both_ways_give_the_same_pieces(library: Path, decoders: Decoders) -> None:
    here, there = read(library, None), read(library, decoders)
    assert len(here) == len(there) == 5 + 4 + 1
    for ours, theirs in zip(here, there, strict=True):
        assert type(ours) is type(theirs)
        assert ours.file == theirs.file
        if isinstance(ours, Heard) and isinstance(theirs, Heard):
            assert np.array_equal(ours.window.samples, theirs.window.samples)
            assert (ours.window.start, ours.window.end) == (theirs.window.start, theirs.window.end)
            assert ours.position == theirs.position
        else:
            assert ours == theirs
    assert sum(isinstance(piece, Broken) for piece in here) == 1


def test_a_process_is_kept_for_the_next_file(
    library: Path, decoders: Decoders, monkeypatch: pytest.MonkeyPatch
) -> None:
    started = _watched(monkeypatch)
    read(library, decoders)
    assert len(started) == 1
    decoders.close()
    assert started[0].poll() is not None


def test_a_file_that_kills_its_decoder_is_left_out_and_the_next_one_is_read(
    library: Path, decoders: Decoders, monkeypatch: pytest.MonkeyPatch
) -> None:
    started = _watched(monkeypatch)
    reader = Reader(library, RATE, set(), {}, decoders)
    first, second, third = walk(library, library / "x").files[:3]
    pieces = reader.pieces(second)
    assert isinstance(next(pieces), Heard)
    os.kill(started[0].pid, signal.SIGSEGV)
    started[0].wait()
    *_, last = pieces
    assert last == Broken(second, last.clip, _crash(), lasting=True)
    assert [type(piece) for piece in reader.pieces(first)] == [Heard, Whole]
    os.kill(started[1].pid, signal.SIGKILL)
    started[1].wait()
    (broken,) = reader.pieces(third)
    assert isinstance(broken, Broken)
    assert not broken.lasting, "it may have been killed for another's memory: tried again"


def test_a_decoder_that_answers_no_more_is_ended_and_its_file_is_tried_again(
    library: Path, decoders: Decoders, monkeypatch: pytest.MonkeyPatch
) -> None:
    started = _watched(monkeypatch)
    reader = Reader(library, RATE, set(), {}, decoders)
    first, _, third = walk(library, library / "x").files[:3]
    assert [type(piece) for piece in reader.pieces(first)] == [Heard, Whole]
    os.kill(started[0].pid, signal.SIGSTOP)
    with monkeypatch.context() as hasty:
        hasty.setattr(decoders_module, "_PATIENCE", 0.4)
        (broken,) = reader.pieces(third)  # while it is hashed
    assert isinstance(broken, Broken)
    assert "gave no answer" in broken.reason
    assert not broken.lasting
    assert started[0].poll() is not None
    sound = decoders.open(library / third.path, RATE)
    os.kill(started[1].pid, signal.SIGSTOP)
    monkeypatch.setattr(decoders_module, "_PATIENCE", 0.4)
    with pytest.raises(Unreadable, match="gave no answer") as caught:  # while it is decoded
        next(sound.windows())
    assert not caught.value.lasting
    assert started[1].poll() is not None


def test_a_reader_that_leaves_in_the_middle_ends_the_process(
    library: Path, decoders: Decoders, monkeypatch: pytest.MonkeyPatch
) -> None:
    started = _watched(monkeypatch)
    pieces = Reader(library, RATE, set(), {}, decoders).pieces(
        walk(library, library / "x").files[1]
    )
    next(pieces)
    pieces.close()
    assert started[0].poll() is not None


def test_what_is_closed_while_a_thread_reads_leaves_no_process(
    library: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    started = _watched(monkeypatch)
    decoders = Decoders(Busy(1))
    pieces = Reader(library, RATE, set(), {}, decoders).pieces(
        walk(library, library / "x").files[1]
    )
    next(pieces)
    decoders.close()
    thread = threading.Thread(target=lambda: list(pieces))
    thread.start()
    thread.join(20)
    assert [process.poll() is None for process in started] == [False]


def test_the_parts_of_a_process_count_as_busy(library: Path) -> None:
    busy = Busy(1)
    with closing(Decoders(busy)) as decoders:
        read(library, decoders)
    shares = busy.shares()
    assert shares["read"] > 0
    assert shares["decode"] > 0
    assert shares["encode"] == 0


def _crash() -> str:
    return "it is damaged in a way that crashes the decoder"


def _watched(monkeypatch: pytest.MonkeyPatch) -> "list[subprocess.Popen[bytes]]":
    started: list[subprocess.Popen[bytes]] = []
    real = subprocess.Popen

    def popen(*words: object, **more: object) -> "subprocess.Popen[bytes]":
        started.append(real(*words, **more))  # type: ignore[call-overload]
        return started[-1]

    monkeypatch.setattr(decoders_module.subprocess, "Popen", popen)
    return started
