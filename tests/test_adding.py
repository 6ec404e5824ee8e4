"""Clips added and deleted through the application itself, with ears of two statistics."""

import asyncio
import contextlib
import io
import shutil
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from scipy.io import wavfile

from m2d_clap.index import Index, live
from m2d_clap.index.catalogue import CATALOGUE_FILE, Catalogue
from m2d_clap.index.compaction import compact
from m2d_clap.model import Waveform
from m2d_clap.model.errors import NotAudioError
from m2d_clap.service.app import create_app
from m2d_clap.service.client import AsyncClient, RefusedError
from m2d_clap.service.engine import Engine
from m2d_clap.service.keys import KeyFile
from m2d_clap.service.settings import Settings


def sound(hz: float, seconds: float = 1.0) -> bytes:
    moments = np.arange(int(16000 * seconds)) / 16000
    file = io.BytesIO()
    wavfile.write(file, 16000, (0.4 * np.sin(2 * np.pi * hz * moments)).astype(np.float32))
    return file.getvalue()


class Deaf(Engine):
    """Decodes WAV here, and hears where the energy lies."""

    @contextlib.asynccontextmanager
    async def upload(self, file: Any) -> AsyncIterator[Waveform]:
        file.seek(0)
        try:
            yield Waveform(wavfile.read(io.BytesIO(file.read()))[1], 16000)
        except ValueError as error:
            raise NotAudioError(str(error)) from error

    async def heard(self, waveform: Waveform) -> Any:
        energy = (
            np.abs(np.fft.rfft(waveform.samples, 16000))[: 384 * 20].reshape(384, 20).sum(axis=1)
        )
        return (energy / np.linalg.norm(energy)).astype(np.float32)


@pytest.fixture
def ask(
    served_folder: Path, tmp_path: Path
) -> Callable[[Callable[[AsyncClient, Engine], Awaitable[None]]], None]:
    """Runs a conversation with a writable server of a copy of the small library."""
    shutil.copytree(served_folder / "index", tmp_path / "index")
    key = KeyFile(tmp_path / "keys.json").add("w", ("read", "write"))

    def run(conversation: Callable[[AsyncClient, Engine], Awaitable[None]]) -> None:
        async def talk() -> None:
            given = {"index": tmp_path / "index", "writable": True}
            engine = Deaf(Settings(**given, keys_file=tmp_path / "keys.json"))  # type: ignore[arg-type]
            transport = httpx.ASGITransport(create_app(engine))
            async with AsyncClient("http://x", key, tries=1, transport=transport) as client:
                await conversation(client, engine)

        asyncio.run(talk())

    return run


def test_what_is_added_is_found_heard_listed_and_answered_with_200_the_second_time(
    ask: Any,
) -> None:
    async def conversation(client: AsyncClient, engine: Engine) -> None:
        before = await client.index()
        rex = sound(4000, 12.0)
        clip = await client.add(rex, "Rex the dog.wav", {"title": "Rex", "year": 2024})
        assert clip.path == f"uploads/{clip.id}/Rex the dog.wav" and clip.seconds == 12
        hits = await client.search_audio(rex, filter="metadata.year > 2000")
        assert [hit.id for hit in hits.hits] == [clip.id] and hits.total == 1
        assert hits.hits[0].score == pytest.approx(1, abs=1e-3)
        assert await client.clip(clip.id) == clip and clip.metadata["title"] == "Rex"
        assert await client.audio(clip.id) == rex
        assert clip.id not in {hit.id for hit in (await client.similar(clip.id)).hits}
        assert clip.id in (await client.map()).ids
        now = await client.index()
        assert (now.clips, now.windows, now.beside) == (before.clips + 1, before.windows + 2, 2)
        assert (now.changes, now.generation) == (before.changes + 1, before.generation)
        answer = await client._http.post("/v1/clips", files={"file": ("again.wav", rex)})
        assert answer.status_code == 200 and answer.json()["path"] == clip.path
        answer = await client._http.post("/v1/clips", files={"file": ("x.html", sound(900))})
        assert answer.status_code == 201
        played = await client._http.get(f"{answer.headers['location']}/audio")
        assert played.headers["content-type"] == "application/octet-stream"
        (first, second) = await asyncio.gather(*(client.add(sound(hz)) for hz in (10, 20)))
        assert {first.id, second.id} <= {c.id for c in (await client.clips()).clips}
        await asyncio.to_thread(compact, engine.index.folder)
        await engine.serving.reload()
        assert (await client.index()).beside == 0 and await client.clip(clip.id) == clip

    ask(conversation)


def test_what_is_deleted_is_gone_at_once_and_the_library_s_own_file_stays(ask: Any) -> None:
    async def conversation(client: AsyncClient, engine: Engine) -> None:
        clip = await client.add(sound(4000))
        (own,) = (await client.clips(filter='name = "tone 1200.wav"')).clips
        stored = engine.index.refreshed().files(Index.open(engine.index.folder).clip(clip.id))[0]  # type: ignore[arg-type]
        assert stored.exists()
        for gone in (clip.id, own.id):
            await client.delete(gone)
            with pytest.raises(RefusedError) as refused:
                await client.delete(gone)
            assert (refused.value.type, refused.value.status) == ("/problems/unknown-clip", 404)
        listed = {c.id for c in (await client.clips()).clips}
        assert not listed & {clip.id, own.id} and not stored.exists()
        assert (engine.index.library / own.path).exists()

    ask(conversation)


@pytest.mark.parametrize(
    ("content", "metadata", "refused"),
    [
        (b"no sound at all", None, ("not-audio", 415)),
        (sound(500), "[1]", ("invalid-request", 422)),
        (sound(500), "{", ("invalid-request", 422)),
        (sound(500), '{"a": NaN}', ("invalid-request", 422)),
        (sound(500), '{"a": 1e999}', ("invalid-request", 422)),
        (sound(500), "[" * 60000, ("invalid-request", 422)),
        (sound(500), '{"a":' * 300 + "1" + "}" * 300, ("invalid-request", 422)),
        (sound(500), '{"a": "\\ud800"}', ("invalid-request", 422)),
    ],
)
def test_misuse_is_refused_and_changes_nothing(
    ask: Any, content: bytes, metadata: str | None, refused: tuple[str, int]
) -> None:
    async def conversation(client: AsyncClient, engine: Engine) -> None:
        data = None if metadata is None else {"metadata": metadata}
        files = {"file": ("x.wav", content)}
        answer = await client._http.post("/v1/clips", files=files, data=data)
        assert (answer.json()["type"].rpartition("/")[2], answer.status_code) == refused
        assert (await client.index()).changes == 0

    ask(conversation)


def test_another_writer_a_key_without_scope_and_a_reading_server_refuse(
    ask: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(live, "_PATIENCE", 0.05)

    async def conversation(client: AsyncClient, engine: Engine) -> None:
        folder = engine.index.folder
        with Catalogue.open(folder / CATALOGUE_FILE), pytest.raises(RefusedError) as busy:
            await client.add(sound(4000))
        assert (busy.value.type, busy.value.status) == ("/problems/index-busy", 503)
        reading = KeyFile(folder.parent / "keys.json").add("r", ("read",))
        client._http.headers["Authorization"] = f"Bearer {reading}"
        for change in (client.add(sound(4000)), client.delete("x")):
            with pytest.raises(RefusedError) as scope:
                await change
            assert (scope.value.type, scope.value.status) == ("/problems/missing-scope", 403)
        transport = httpx.ASGITransport(create_app(Deaf(Settings(index=folder))))
        async with AsyncClient("http://x", transport=transport) as reader:
            for change in (reader.add(sound(4000)), reader.delete("x")):
                with pytest.raises(RefusedError) as only:
                    await change
                assert (only.value.type, only.value.status) == ("/problems/read-only", 403)

    ask(conversation)
