"""The library itself: its clips in order, their files, pictures and places on the map."""

import asyncio
import bisect
import contextlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from m2d_clap.index import Clip
from m2d_clap.index.filters import parse
from m2d_clap.index.positions import positions
from m2d_clap.model import Waveform
from m2d_clap.model.errors import NotAudioError
from m2d_clap.model.glimpses import Glimpses
from m2d_clap.service import cursors, pictures
from m2d_clap.service.engine import Engine
from m2d_clap.service.errors import AudioTooCostlyError
from m2d_clap.service.schemas import Theme


@dataclass(frozen=True)
class Listed:
    """A page of the library; total: clips that the filter admits."""

    clips: tuple[Clip, ...]
    next: str | None
    total: int


async def listed(engine: Engine, k: int, cursor: str | None, written: str | None) -> Listed:
    """Clips that the filter admits, by path. Raises FilterError and CursorError."""
    index = engine.index
    where = None if written is None else parse(written)
    question = cursors.digest("clips", str(index.library), written)
    after = None if cursor is None else cursors.path(question, cursor)

    def page() -> Listed:
        admitted = np.flatnonzero(index.admitted(where))
        # Clips are in the order of their first paths, byte for byte as Python compares texts.
        first = 0
        if after is not None:
            first = bisect.bisect_right(admitted, after, key=lambda n: index.clips[n].path)
        clips = tuple(index.clips[n] for n in admitted[first : first + k])
        more = first + k < len(admitted)
        follow = cursors.of_path(question, clips[-1].path) if more and clips else None
        return Listed(clips, follow, len(admitted))

    return await asyncio.to_thread(page)


@dataclass(frozen=True)
class Lying:
    """A clip, a file that holds it, what tells this content from any other there, and its name."""

    clip: Clip
    file: Path
    tag: str
    name: str


async def lying(engine: Engine, clip_id: str) -> Lying:
    """Raises UnknownClipError or ClipFileGoneError."""

    def look() -> Lying:
        file = engine.clip_file(clip_id)
        status = file.stat()
        clip = engine.clip(clip_id)
        uploaded = clip.stored is not None and file == engine.index.folder / clip.stored
        name = clip.paths[-1].rpartition("/")[2] if uploaded else file.name
        return Lying(clip, file, f"{clip_id}-{status.st_mtime_ns:x}-{status.st_size:x}", name)

    return await asyncio.to_thread(look)


async def spectrogram(engine: Engine, there: Lying, width: int, height: int, theme: Theme) -> bytes:
    """A PNG, drawn once."""

    async def draw() -> bytes:
        sound, seconds = await _seen(engine, there, width)
        return await asyncio.to_thread(pictures.spectrogram, sound, seconds, width, height, theme)

    return await engine.kept.get(("spectrogram", there.tag, width, height, theme), draw)


async def waveform(engine: Engine, there: Lying, points: int) -> bytes:
    """JSON of schemas.Waveform, made once."""

    async def make() -> bytes:
        sound, seconds = await _seen(engine, there, points)
        heights = await asyncio.to_thread(pictures.peaks, sound, seconds, points)
        covered = sound.seconds if isinstance(sound, Waveform) else seconds
        body = {"id": there.clip.id, "seconds": seconds, "covered": covered, "peaks": heights}
        return json.dumps(body, separators=(",", ":")).encode()

    return await engine.kept.get(("waveform", there.tag, points), make)


async def whole_map(engine: Engine) -> tuple[str, bytes]:
    """(what tells it from other maps, JSON of schemas.Map), made once for each index."""
    index = engine.index
    tag = cursors.digest(
        "map", index.fingerprint, str(index.folder), index.generation, index.changes
    )

    def make() -> bytes:
        x, y = positions(len(index), index.means).round(4).T.tolist()
        body: dict[str, list[Any]] = {"ids": [], "x": x, "y": y, "names": []}
        for clip in index.clips:
            body["ids"].append(clip.id)
            body["names"].append(clip.path)
        return json.dumps(body, separators=(",", ":"), ensure_ascii=False).encode()

    return tag, await engine.kept.get(("map", tag), lambda: asyncio.to_thread(make))


async def _seen(engine: Engine, there: Lying, count: int) -> tuple[Waveform | Glimpses, float]:
    """What a picture is made of, and the seconds of the whole clip. Of a clip that is longer than an
    upload may be, so many glimpses; where its file cannot be sought in, its beginning."""
    rate, seconds = engine.model.config.front_end.sample_rate, there.clip.seconds
    if seconds > engine.settings.max_seconds:
        with contextlib.suppress(NotAudioError, AudioTooCostlyError):
            size = pictures.WINDOW
            return await engine.decoder.glance(there.file, rate, seconds, count, size), seconds
    sound = await engine.decoder.read(there.file, rate)
    return sound, max(seconds, sound.seconds)  # both were decoded: they differ where one was cut
