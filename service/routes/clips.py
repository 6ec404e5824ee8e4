"""The library's clips: facts, sound and pictures."""

import asyncio
import mimetypes
from typing import Annotated, Any
from urllib.parse import quote

from fastapi import APIRouter, Form, Query, Request, Response
from fastapi.responses import FileResponse

from m2d_clap.service import adding, clips, schemas
from m2d_clap.service.openapi import reference
from m2d_clap.service.routes import examples
from m2d_clap.service.routes.parts import (
    Backend,
    Upload,
    caching,
    clip,
    example,
    refusals,
    unchanged,
)
from m2d_clap.service.schemas import (
    Clip,
    Clips,
    Count,
    Cursor,
    FilterText,
    Identifier,
    Metadata,
    Theme,
)

router = APIRouter(tags=["clips"])

_FILE = ("unknown-clip", "clip-file-gone", "invalid-request")
_NOT_MODIFIED: dict[int | str, dict[str, Any]] = {
    304: {"description": "what If-None-Match names is what there is"}
}
_DRAWN = ("not-audio", "busy")


@router.get(
    "/clips",
    operation_id="list_clips",
    responses=example(examples.CLIPS)
    | refusals("invalid-request", "invalid-filter", "invalid-cursor"),
)
async def list_clips(
    engine: Backend,
    k: Annotated[Count, Query()] = 100,
    cursor: Annotated[Cursor | None, Query()] = None,
    filter: Annotated[FilterText | None, Query()] = None,
) -> Clips:
    """The library, by path."""
    found = await clips.listed(engine, k, cursor, filter)
    return Clips(clips=[clip(each) for each in found.clips], next=found.next, total=found.total)


@router.post(
    "/clips",
    operation_id="add_clip",
    status_code=201,
    response_model=Clip,
    responses={
        201: {
            "description": "it was added, and is found from now on",
            "headers": {"Location": {"description": "of the clip", "schema": {"type": "string"}}},
            "content": {"application/json": {"example": examples.UPLOADED}},
        },
        200: {
            "description": "the same sound is there already: this clip",
            "content": {
                "application/json": {"schema": reference(schemas.Clip), "example": examples.CLIP}
            },
        },
        **refusals(
            *("bad-request", "invalid-request", "read-only", "body-too-large", "audio-too-long"),
            *("not-audio", "bad-samples", "too-costly", "busy", "worker-down", "index-busy"),
            *("encoding-failed", "index-failed"),
        ),
    },
)
async def add_clip(
    file: Upload,
    engine: Backend,
    response: Response,
    metadata: Annotated[
        Metadata | None,
        Form(
            description="what is known of it: a JSON object, which filters can ask for",
            examples=['{"title": "Rex", "year": 2024}'],
        ),
    ] = None,
) -> Clip:
    """Add a sound to the library. It is on disk, and can be found, before this is answered."""
    known = adding.metadata(metadata)
    found, new = await adding.add(engine, file.file, file.filename or "", known)
    response.status_code = 201 if new else 200
    if new:
        response.headers["Location"] = f"/v1/clips/{quote(found.id)}"
    return clip(found)


@router.delete(
    "/clips/{clip_id}",
    operation_id="delete_clip",
    status_code=204,
    response_class=Response,
    responses={
        204: {"description": "it is gone, for good, before this is answered"},
        **refusals("unknown-clip", "invalid-request", "read-only", "index-busy", "index-failed"),
    },
)
async def delete_clip(clip_id: Identifier, engine: Backend) -> Response:
    """Take a sound out of the library. An uploaded one is erased; a file of the library's folder stays
    where it lies, and is left out whenever that is indexed, until the same sound is added again."""
    await adding.delete(engine, clip_id)
    return Response(status_code=204)


@router.get(
    "/clips/{clip_id}",
    operation_id="get_clip",
    responses=example(examples.CLIP) | refusals("unknown-clip", "invalid-request"),
)
async def get_clip(clip_id: Identifier, engine: Backend) -> Clip:
    """What is known about a clip."""
    return clip(await asyncio.to_thread(engine.clip, clip_id))


@router.get(
    "/clips/{clip_id}/audio",
    operation_id="get_clip_audio",
    response_class=FileResponse,
    responses={
        200: {"content": {"audio/*": {"schema": {"type": "string", "format": "binary"}}}},
        206: {"description": "the range that was asked for", "content": {"audio/*": {}}},
        416: {"description": "there is no such range", "content": {"text/plain": {}}},
        **_NOT_MODIFIED,
        **refusals(*_FILE),
    },
)
async def get_clip_audio(clip_id: Identifier, engine: Backend, request: Request) -> Response:
    """The clip's file as it lies in the library; answers Range and If-None-Match."""
    there = await clips.lying(engine, clip_id)
    if (same := unchanged(request, there.tag)) is not None:
        return same
    kind = mimetypes.guess_type(there.name)[0] or ""
    if not kind.startswith(("audio/", "video/")):  # no browser shall run what was uploaded
        kind = "application/octet-stream"
    return FileResponse(
        there.file,
        media_type=kind,
        headers=caching(there.tag),
        filename=there.name,
        content_disposition_type="inline",
    )


@router.get(
    "/clips/{clip_id}/spectrogram.png",
    operation_id="get_clip_spectrogram",
    response_class=Response,
    responses={
        200: {"content": {"image/png": {"schema": {"type": "string", "format": "binary"}}}},
        **_NOT_MODIFIED,
        **refusals(*_FILE, *_DRAWN),
    },
)
async def get_clip_spectrogram(
    clip_id: Identifier,
    engine: Backend,
    request: Request,
    width: Annotated[int, Query(ge=16, le=2048, description="pixels")] = 800,
    height: Annotated[int, Query(ge=16, le=1024, description="pixels")] = 200,
    theme: Theme = "dark",
) -> Response:
    """A picture: time to the right, pitch upwards (mel scale), 80 dB from the loudest down."""
    there = await clips.lying(engine, clip_id)
    tag = f"{there.tag}-{width}x{height}-{theme}"
    if (same := unchanged(request, tag)) is not None:
        return same
    picture = await clips.spectrogram(engine, there, width, height, theme)
    return Response(picture, headers=caching(tag), media_type="image/png")


@router.get(
    "/clips/{clip_id}/waveform.json",
    operation_id="get_clip_waveform",
    response_class=Response,
    responses={
        200: {
            "content": {
                "application/json": {
                    "schema": reference(schemas.Waveform),
                    "example": examples.WAVEFORM,
                }
            }
        },
        **_NOT_MODIFIED,
        **refusals(*_FILE, *_DRAWN),
    },
)
async def get_clip_waveform(
    clip_id: Identifier,
    engine: Backend,
    request: Request,
    points: Annotated[int, Query(ge=1, le=4000, description="how many stretches")] = 400,
) -> Response:
    """How loud the clip is along time."""
    there = await clips.lying(engine, clip_id)
    tag = f"{there.tag}-{points}"
    if (same := unchanged(request, tag)) is not None:
        return same
    body = await clips.waveform(engine, there, points)
    return Response(body, headers=caching(tag), media_type="application/json")
