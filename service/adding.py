"""An upload → a clip of the library; a clip → gone. Both on disk, and searched, before the answer."""

import asyncio
import json
from collections.abc import Callable
from typing import Any, BinaryIO

from fastapi.exceptions import RequestValidationError

from m2d_clap.index import Clip, live
from m2d_clap.index.reading import ID_LENGTH
from m2d_clap.index.windows import Embedded, windows
from m2d_clap.model import Waveform
from m2d_clap.service.content import sha256_of
from m2d_clap.service.engine import Engine
from m2d_clap.service.errors import ReadOnlyError, UnknownClipError
from m2d_clap.service.together import together

_DEEPEST = 20


async def add(
    engine: Engine, file: BinaryIO, name: str, known: dict[str, Any]
) -> tuple[Clip, bool]:
    """The clip, and whether it is new. Raises ReadOnlyError, IndexBusyError, and what decoding and
    encoding an upload raise."""
    _permit(engine)
    content = await asyncio.to_thread(sha256_of, file)
    clip = await asyncio.to_thread(engine.serving.newest.index.clip, content[:ID_LENGTH])
    if clip is not None:
        return clip, False
    async with engine.upload(file) as sound:
        cut = list(windows([sound.samples], sound.sample_rate))
        vectors = await together(
            engine.heard(Waveform(window.samples, sound.sample_rate)) for window in cut
        )
    embedded = [Embedded(w.start, w.end, v) for w, v in zip(cut, vectors, strict=True)]
    heard = live.Heard(content, name, sound.seconds, embedded, known, engine.model.fingerprint)
    new = await _written(engine, lambda: live.add(engine.index.folder, heard, file))
    clip = await asyncio.to_thread(engine.serving.newest.index.clip, heard.id)
    if clip is None:  # somebody else deleted it just now
        raise UnknownClipError(f"no clip has the id {heard.id!r}")
    return clip, new


async def delete(engine: Engine, clip_id: str) -> None:
    """Raises ReadOnlyError, UnknownClipError and IndexBusyError."""
    _permit(engine)
    if not await _written(engine, lambda: live.delete(engine.index.folder, clip_id)):
        raise UnknownClipError(f"no clip has the id {clip_id!r}")


def metadata(given: str | None) -> dict[str, Any]:
    """Raises RequestValidationError where it is no JSON object, or holds what JSON cannot, or what
    answers could not show."""
    if given is None:
        return {}
    try:
        known = json.loads(given)
        json.dumps(known, allow_nan=False, ensure_ascii=False).encode()
        deep = _depth(known) > _DEEPEST
    except (ValueError, RecursionError) as error:
        raise _wrong(f"this is no JSON: {error}") from error
    if not isinstance(known, dict):
        raise _wrong("this is no JSON object")
    if deep:
        raise _wrong(f"it is nested more than {_DEEPEST} deep")
    return known


def _depth(value: Any) -> int:
    inner = value.values() if isinstance(value, dict) else value
    return 1 + max(map(_depth, inner), default=0) if isinstance(value, dict | list) else 0


def _wrong(message: str) -> RequestValidationError:
    return RequestValidationError(
        [{"type": "value_error", "loc": ("body", "metadata"), "msg": message}]
    )


def _permit(engine: Engine) -> None:
    if not engine.settings.writable:
        raise ReadOnlyError("this server only reads: start it with `m2d-clap serve --writable`")


async def _written(engine: Engine, change: Callable[[], bool]) -> bool:
    """Makes a change and takes it in. Who goes away meanwhile stops neither."""

    async def both() -> bool:
        async with engine.serving.writing:  # in the order they came; the lock on disk knows none
            done = await asyncio.to_thread(change)
        await engine.serving.refresh()
        return done

    return await asyncio.shield(asyncio.ensure_future(both()))
