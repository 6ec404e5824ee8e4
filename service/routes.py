"""The routes under /v1. Each only names its parts; the engine does the work."""

import mimetypes
from typing import Annotated, Any

from fastapi import APIRouter, Depends, File, Form, Request, UploadFile
from fastapi.responses import FileResponse
from pydantic import StringConstraints

from m2d_clap.service.engine import Engine
from m2d_clap.service.problems import MEDIA_TYPE
from m2d_clap.service.schemas import Clip, Count, Hits, Problem, Tags, TextQuery


def _engine(request: Request) -> Engine:
    engine: Engine = request.app.state.engine
    return engine


Backend = Annotated[Engine, Depends(_engine)]
Upload = Annotated[UploadFile, File(description="a sound file of any common format")]
LabelName = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=200)]
Labels = Annotated[
    list[LabelName] | None,
    Form(max_length=500, description="your own labels, the field repeated; else the built-in ones"),
]


def _problems(*statuses: int) -> dict[int | str, dict[str, Any]]:
    content = {MEDIA_TYPE: {"schema": Problem.model_json_schema()}}
    return {status: {"description": "a problem", "content": content} for status in statuses}


v1 = APIRouter(prefix="/v1")


@v1.post("/search/text", tags=["search"], operation_id="search_text", responses=_problems(422, 503))
async def search_text(query: TextQuery, engine: Backend) -> Hits:
    """Find the sounds that fit a text."""
    return Hits.of(await engine.search_text(query.query, query.k))


@v1.post(
    "/search/audio",
    tags=["search"],
    operation_id="search_audio",
    responses=_problems(413, 415, 422, 503),
)
async def search_audio(file: Upload, engine: Backend, k: Annotated[Count, Form()] = 10) -> Hits:
    """Find the sounds like an uploaded one."""
    return Hits.of(await engine.search_audio(file.file, k))


@v1.post("/tags", tags=["tags"], operation_id="tag", responses=_problems(413, 415, 422, 503))
async def tag(
    file: Upload,
    engine: Backend,
    labels: Labels = None,
    k: Annotated[Count, Form()] = 10,
) -> Tags:
    """Say what can be heard in an uploaded sound."""
    return Tags.of(await engine.tags(file.file, labels or (), k))


@v1.get("/clips/{clip_id}", tags=["clips"], operation_id="get_clip", responses=_problems(404))
async def get_clip(clip_id: str, engine: Backend) -> Clip:
    """What is known about a clip."""
    return Clip.of(engine.clip(clip_id))


@v1.get(
    "/clips/{clip_id}/audio",
    tags=["clips"],
    operation_id="get_clip_audio",
    response_class=FileResponse,
    responses=_problems(404, 410),
)
def get_clip_audio(clip_id: str, engine: Backend) -> FileResponse:
    """The clip's file as it lies in the library; answers Range requests."""
    file = engine.clip_file(clip_id)
    kind = mimetypes.guess_type(file.name)[0] or "application/octet-stream"
    return FileResponse(
        file, media_type=kind, filename=file.name, content_disposition_type="inline"
    )
