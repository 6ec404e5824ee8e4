"""`POST /v1/clips` and `DELETE`: on disk and found before they are answered, and after a restart."""

import contextlib
import io
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import numpy as np
import pytest
from scipy.io import wavfile

from m2d_clap.index.build import build_index
from m2d_clap.index.catalogue import CATALOGUE_FILE, Catalogue
from m2d_clap.model import Checkpoint
from m2d_clap.service.client import Client, RefusedError
from m2d_clap.service.keys import KeyFile

SCRIPT = Path(sys.executable).with_name("m2d-clap")


def sound(hz: float, seconds: float = 1.0) -> bytes:
    moments = np.arange(int(16000 * seconds)) / 16000
    file = io.BytesIO()
    wavfile.write(file, 16000, (0.4 * np.sin(2 * np.pi * hz * moments)).astype(np.float32))
    return file.getvalue()


@contextlib.contextmanager
def serving(folder: Path, **settings: str) -> Iterator[tuple[str, "subprocess.Popen[str]"]]:
    chosen = {"threads": "1", "precision": "float32", "keys_file": str(folder / "keys.json")}
    variables = {f"M2D_CLAP_{k.upper()}": v for k, v in {**chosen, **settings}.items()}
    command = [SCRIPT, "serve", folder / "index", "--port", "0", "--writable"]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, text=True, env={**os.environ, **variables}
    ) as process:
        try:
            assert process.stdout is not None
            address = next(w for w in process.stdout.readline().split() if w.startswith("http"))
            until(lambda: httpx.get(f"{address}/readyz", trust_env=False).status_code == 200)
            yield address, process
        finally:
            process.kill()


def until(done: object, seconds: float = 180) -> None:
    end = time.monotonic() + seconds
    while not done():  # type: ignore[operator]
        assert time.monotonic() < end
        time.sleep(0.05)


def refused(ask: object) -> tuple[str, int]:
    with pytest.raises(RefusedError) as caught:
        ask()  # type: ignore[operator]
    return caught.value.type.rpartition("/")[2], caught.value.status


@pytest.mark.kill
def test_clips_come_and_go_over_http_and_survive_a_kill_a_restart_and_the_next_run(
    served_folder: Path, tmp_path: Path
) -> None:
    shutil.copytree(served_folder / "index", tmp_path / "index")
    keys = KeyFile(tmp_path / "keys.json")
    reading, writing = keys.add("r", ("read",)), keys.add("w", ("read", "write"))
    rex = tmp_path / "Rex the dog.wav"
    rex.write_bytes(sound(4000, 12.0))
    with serving(tmp_path) as (address, process):
        assert httpx.post(f"{address}/v1/clips", trust_env=False).status_code == 401
        with Client(address, reading) as client:
            assert refused(lambda: client.add(rex)) == ("missing-scope", 403)
            assert refused(lambda: client.delete("x")) == ("missing-scope", 403)
        with Client(address, writing, tries=1) as client:
            before = client.index()
            clip = client.add(rex, metadata={"title": "Rex", "year": 2024})
            assert clip.path == f"uploads/{clip.id}/Rex the dog.wav"
            hits = client.search_audio(rex, filter="metadata.year > 2000")
            assert [hit.id for hit in hits.hits] == [clip.id] and hits.total == 1
            assert hits.hits[0].score == pytest.approx(1, abs=0.02)
            assert client.search_audio(rex, k=1).hits[0].id == clip.id
            assert client.clip(clip.id) == clip and clip.metadata["title"] == "Rex"
            assert client.audio(clip.id) == rex.read_bytes()
            assert client.spectrogram(clip.id)[:4] == b"\x89PNG"
            assert clip.id not in {hit.id for hit in client.similar(clip.id).hits}
            assert client.waveform(clip.id).seconds == pytest.approx(12)
            assert clip.id in client.map().ids
            now = client.index()
            assert (now.clips, now.windows) == (before.clips + 1, before.windows + 2)
            assert (now.changes, now.beside, now.kind) == (before.changes + 1, 2, "flat")
            headers = {"Authorization": f"Bearer {writing}"}
            for status, data in (
                (200, None),
                (422, {"metadata": "[1]"}),
                (422, {"metadata": "NaN"}),
            ):
                files = {"file": ("x.wav", rex.read_bytes())}
                answer = httpx.post(
                    f"{address}/v1/clips", files=files, data=data, headers=headers, trust_env=False
                )
                assert answer.status_code == status and "location" not in answer.headers
            again = {"file": ("x.html", sound(4400))}
            answer = httpx.post(
                f"{address}/v1/clips", files=again, headers=headers, trust_env=False
            )
            place = f"{address}{answer.headers['location']}"
            assert answer.status_code == 201 and answer.json()["path"].endswith("/x.html")
            played = httpx.get(f"{place}/audio", headers=headers, trust_env=False)
            assert played.headers["content-type"] == "application/octet-stream"
            assert httpx.delete(place, headers=headers, trust_env=False).status_code == 204
            assert httpx.get(place, headers=headers, trust_env=False).status_code == 404
            assert refused(lambda: client.delete(answer.json()["id"])) == ("unknown-clip", 404)
            assert refused(lambda: client.add(b"no sound at all")) == ("not-audio", 415)
            (own,) = [c for c in client.clips().clips if c.path == "high/tone 1200.wav"]
            client.delete(own.id)
            assert own.id not in {c.id for c in client.clips().clips}
            with Catalogue.open(tmp_path / "index" / CATALOGUE_FILE):
                assert refused(lambda: client.delete(clip.id)) == ("index-busy", 503)
            process.send_signal(signal.SIGKILL)
    checkpoint = Checkpoint.load(served_folder / "tiny")
    with (
        serving(tmp_path, compact_after="2", reload_seconds="0.1") as (address, _),
        Client(address, writing) as client,
    ):
        listed = {c.id for c in client.clips().clips}
        assert clip.id in listed and own.id not in listed
        library, out = served_folder / "library", tmp_path / "index"
        clap = checkpoint.clap()
        build_index(library, out, served_folder / "tiny", checkpoint.fingerprint, clap)
        until(lambda: client.index().generation > before.generation)  # by this run, or the server
        assert {c.id for c in client.clips().clips} == listed and client.index().beside == 0
        generation = client.index().generation
        new = [client.add(sound(hz)).id for hz in (310, 320, 330)]
        until(lambda: client.index().generation > generation)
        assert {c.id for c in client.clips().clips} == {*listed, *new}


def test_a_server_reads_only_unless_it_is_told_otherwise(served: str) -> None:
    with Client(served) as client:
        assert refused(lambda: client.add(sound(500))) == ("read-only", 403)
        assert refused(lambda: client.delete("x")) == ("read-only", 403)
