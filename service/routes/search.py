"""Searching: by text, by sound, by many of both, and by a clip of the library."""

import contextlib
from collections.abc import AsyncIterator
from typing import Annotated, Any, Literal, TypeVar

from fastapi import APIRouter, Form, Query, Request
from fastapi.exceptions import RequestValidationError
from pydantic import TypeAdapter, ValidationError
from starlette.datastructures import FormData, UploadFile

from m2d_clap.service import schemas, searching
from m2d_clap.service.openapi import reference
from m2d_clap.service.routes import examples
from m2d_clap.service.routes.parts import Backend, Upload, example, hits, refusals
from m2d_clap.service.schemas import (
    Count,
    Cursor,
    FilterText,
    Hits,
    Identifier,
    Least,
    LeastRelevance,
    Moments,
    Narrowed,
    Second,
    Text,
    TextQuery,
)

MOST_FILES = 10
Asked = TypeVar("Asked", bound=Narrowed)

router = APIRouter(tags=["search"])

_REFUSED = ("invalid-request", "invalid-filter", "invalid-cursor")
_BUSY = ("busy", "worker-down", "encoding-failed")
_UPLOAD = ("bad-request", "body-too-large", "audio-too-long", "not-audio", "bad-samples")


@router.post(
    "/search/text",
    operation_id="search_text",
    responses=example(examples.HITS)
    | refusals(
        "bad-request", *_REFUSED, "no-direction", "body-too-large", "no-text-encoder", *_BUSY
    ),
)
async def search_text(query: TextQuery, engine: Backend) -> Hits:
    """Find the sounds that fit a text.

    `score` is the cosine to the text; with `not`, to the text's vector minus half of each of the
    others', all of length 1.
    """
    return hits(await searching.by_text(engine, query))


@router.post(
    "/search/audio",
    operation_id="search_audio",
    responses=example(examples.HITS) | refusals(*_UPLOAD, *_REFUSED, *_BUSY),
)
async def search_audio(
    file: Upload,
    engine: Backend,
    k: Annotated[Count, Form()] = 10,
    cursor: Annotated[Cursor | None, Form()] = None,
    filter: Annotated[FilterText | None, Form()] = None,
    within: Annotated[
        Text | None, Form(description="only below this folder of the library")
    ] = None,
    min_score: Annotated[Least | None, Form()] = None,
    min_relevance: Annotated[LeastRelevance | None, Form()] = None,
    moments: Annotated[Moments, Form()] = 1,
) -> Hits:
    """Find the sounds like an uploaded one. A next page takes the same upload again."""
    narrowed = _narrowed(
        "body", k=k, cursor=cursor, filter=filter, within=within, min_score=min_score,
        min_relevance=min_relevance, moments=moments,
    )  # fmt: skip
    return hits(await searching.by_sound(engine, file.file, narrowed))


_PARTS = {
    "type": "object",
    "properties": {
        "query": reference(schemas.Query),
        "file": {
            "type": "array",
            "items": {"type": "string", "format": "binary"},
            "maxItems": MOST_FILES,
            "description": "sound files, the field repeated",
        },
    },
    "additionalProperties": False,
}


@router.post(
    "/search",
    operation_id="search",
    responses=example(examples.HITS)
    | refusals(*_UPLOAD, *_REFUSED, "no-direction", "unknown-clip", "no-text-encoder", *_BUSY),
    openapi_extra={
        "requestBody": {
            "required": True,
            "content": {
                "application/json": {"schema": reference(schemas.Query)},
                "multipart/form-data": {
                    "schema": _PARTS,
                    "encoding": {"query": {"contentType": "application/json"}},
                },
            },
        }
    },
)
async def search(request: Request, engine: Backend) -> Hits:
    """Find the sounds that fit texts, clips and uploads together, with weights; negative ones push
    away. JSON; with uploads multipart, whose part `query` is the same JSON, beside parts `file`.

    Every part's vector has length 1. They are added, each times its weight; `score` is a hit's cosine
    to that sum. `relevance` is the weighted mean of what each part alone would say, as log-odds.
    """
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != "multipart/form-data":
        query = _valid(schemas.Query, await _json(request))
        return hits(await searching.by_parts(engine, query, ()))
    async with _form(request) as form:
        query = await _query_in(form)
        files = [f for f in form.getlist("file") if isinstance(f, UploadFile)]
        return hits(await searching.by_parts(engine, query, [file.file for file in files]))


@router.get(
    "/clips/{clip_id}/similar",
    operation_id="get_similar_clips",
    responses=example(examples.HITS) | refusals("unknown-clip", *_REFUSED),
)
async def get_similar_clips(
    clip_id: Identifier,
    engine: Backend,
    at: Annotated[Second | None, Query()] = None,
    k: Annotated[Count, Query()] = 10,
    cursor: Annotated[Cursor | None, Query()] = None,
    filter: Annotated[FilterText | None, Query()] = None,
    within: Annotated[
        Text | None, Query(description="only below this folder of the library")
    ] = None,
    min_score: Annotated[Least | None, Query()] = None,
    min_relevance: Annotated[LeastRelevance | None, Query()] = None,
    moments: Annotated[Moments, Query()] = 1,
) -> Hits:
    """The other clips that sound like this one, or like its moment `at` a second."""
    narrowed = _narrowed(
        "query", k=k, cursor=cursor, filter=filter, within=within, min_score=min_score,
        min_relevance=min_relevance, moments=moments,
    )  # fmt: skip
    return hits(await searching.similar(engine, clip_id, at, narrowed))


def _narrowed(where: Literal["body", "query"], **given: Any) -> Narrowed:
    return _valid(Narrowed, given, where)


def _valid(model: type[Asked], given: Any, where: Literal["body", "query"] = "body") -> Asked:
    """Raises RequestValidationError, as FastAPI does for what it reads itself."""
    try:
        return model.model_validate(given)
    except ValidationError as error:
        errors = [{**each, "loc": (where, *each["loc"])} for each in error.errors()]
        raise RequestValidationError(errors, body=given) from error


def _wrong(field: str, message: str) -> RequestValidationError:
    return RequestValidationError([{"type": "value_error", "loc": ("body", field), "msg": message}])


async def _json(request: Request) -> Any:
    raw = await request.body()
    return _parsed(raw, "body")


def _parsed(raw: bytes | str, field: str) -> Any:
    try:
        return TypeAdapter(Any).validate_json(raw)
    except ValidationError as error:
        raise _wrong(field, "this is no JSON") from error


@contextlib.asynccontextmanager
async def _form(request: Request) -> AsyncIterator[FormData]:
    async with request.form(max_files=MOST_FILES + 1, max_fields=4) as form:
        yield form


async def _query_in(form: FormData) -> schemas.Query:
    """The part `query`, which some clients send as a field and some as a file of JSON."""
    for name, value in form.multi_items():
        if name not in ("query", "file"):
            raise _wrong(name, "there is no such part: send `query` and `file`")
        if name == "file" and not isinstance(value, UploadFile):
            raise _wrong("file", "this part is no file: give it a filename")
    queries = form.getlist("query")
    if len(queries) > 1:
        raise _wrong("query", "this part is there more than once")
    if len(form.getlist("file")) > MOST_FILES:
        raise _wrong("file", f"more than {MOST_FILES} files")
    if not queries:
        return schemas.Query()
    given = queries[0]
    raw = await given.read() if isinstance(given, UploadFile) else given
    return _valid(schemas.Query, _parsed(raw, "query"))
