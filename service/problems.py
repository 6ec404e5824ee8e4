"""Every refusal as application/problem+json (RFC 9457). `type`s are stable; titles may change."""

import errno
import json
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException
from starlette.routing import BaseRoute, Match
from starlette.types import Scope

from m2d_clap.index import FilterError
from m2d_clap.index.errors import IndexBusyError, IndexUnreachableError, LibraryIndexError
from m2d_clap.model.errors import (
    AudioError,
    AudioTooLongError,
    BadSamplesError,
    ClapError,
    NoCaptionerError,
    TextEncoderError,
)
from m2d_clap.service import logs, openai
from m2d_clap.service.errors import (
    AudioTooCostlyError,
    BodyTooLargeError,
    BusyError,
    ClipFileGoneError,
    CursorError,
    DecoderDownError,
    EncodingError,
    NoDirectionError,
    NoHeadError,
    RateLimitError,
    ReadOnlyError,
    ScopeError,
    UnknownClipError,
    UnknownKeyError,
    WorkerDownError,
)

_LOG = logs.logger(__name__)

MEDIA_TYPE = "application/problem+json"


@dataclass(frozen=True)
class Problem:
    """A kind of refusal: the last part of its type, its status, what it means."""

    name: str
    status: int
    title: str


INTERNAL = Problem("internal", 500, "Something is wrong in the server")
INVALID = Problem("invalid-request", 422, "A field is missing, unknown or out of range")
MALFORMED = Problem("bad-request", 400, "The body is not what its content type says")
NO_SPACE = Problem("no-space", 503, "No room for an upload now: try again soon")
UNREADABLE = Problem("unreadable-request", 400, "This is no HTTP that can be read")
ERRORS: dict[type[ClapError], Problem] = {
    BodyTooLargeError: Problem("body-too-large", 413, "More bytes than this server takes"),
    AudioTooLongError: Problem("audio-too-long", 413, "More seconds than this server takes"),
    BadSamplesError: Problem("bad-samples", 422, "The sound decodes to something meaningless"),
    AudioTooCostlyError: Problem("too-costly", 422, "More work to decode than this server does"),
    AudioError: Problem("not-audio", 415, "Nothing in it can be decoded as sound"),
    FilterError: Problem("invalid-filter", 422, "The filter cannot be read"),
    CursorError: Problem("invalid-cursor", 422, "The cursor is none, or of another question"),
    NoDirectionError: Problem("no-direction", 422, "The question's parts cancel out"),
    NoCaptionerError: Problem("no-captioner", 409, "This server's model makes no captions"),
    NoHeadError: Problem("no-trained-head", 409, "This server's model has no trained head"),
    UnknownClipError: Problem("unknown-clip", 404, "No clip has this id"),
    ClipFileGoneError: Problem("clip-file-gone", 410, "The clip's file has moved or was deleted"),
    ReadOnlyError: Problem("read-only", 403, "This server's library cannot be changed"),
    IndexBusyError: Problem("index-busy", 503, "The index is being written: try again soon"),
    IndexUnreachableError: Problem("index-unreachable", 503, "The index's service is not there"),
    LibraryIndexError: Problem("index-failed", 500, "The index cannot be written or read"),
    BusyError: Problem("busy", 503, "The queue is full: try again soon"),
    DecoderDownError: Problem("decoder-down", 503, "Decoding was cut short: try again"),
    WorkerDownError: Problem("worker-down", 503, "The encoders are not running"),
    UnknownKeyError: Problem("unknown-key", 401, "An API key is needed"),
    ScopeError: Problem("missing-scope", 403, "The API key may not do this"),
    RateLimitError: Problem("rate-limit", 429, "Too many requests: wait"),
    TextEncoderError: Problem("no-text-encoder", 501, "This server's model understands no text"),
    EncodingError: Problem("encoding-failed", 500, "The encoders failed on this input"),
}
"""From an error to its problem; the nearest class counts."""


def all_problems() -> tuple[Problem, ...]:
    """Every kind but those that HTTP itself knows."""
    return (INTERNAL, INVALID, MALFORMED, NO_SPACE, UNREADABLE, *ERRORS.values())


def answer(problem: Problem, request: Request, detail: str, **more: Any) -> JSONResponse:
    """The response for one occurrence of a problem."""
    logs.note(problem=problem.name)
    headers = {"Retry-After": "1"} if problem.status == 503 else None
    if request.url.path == openai.PATH:
        return JSONResponse(
            openai.error(problem.name, problem.status, detail), problem.status, headers
        )
    content = _content(problem, request.url.path, detail) | more
    return JSONResponse(content, problem.status, headers, MEDIA_TYPE)


def plain(problem: Problem, instance: str, detail: str) -> bytes:
    """The bytes of an answer where there is no request to answer."""
    return json.dumps(_content(problem, instance, detail)).encode()


def _content(problem: Problem, instance: str, detail: str) -> dict[str, Any]:
    return {
        "type": f"/problems/{problem.name}",
        "title": problem.title,
        "status": problem.status,
        "detail": detail,
        "instance": instance,
    }


def install(app: FastAPI) -> None:
    """Makes every error of this application a problem."""
    app.add_exception_handler(ClapError, _clap_error)
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(HTTPException, _http)
    app.add_exception_handler(Exception, _internal)


def refusal(request: Request, error: ClapError) -> JSONResponse:
    """The response for an error."""
    problem = next((ERRORS[c] for c in type(error).__mro__ if c in ERRORS), INTERNAL)
    more = {"column": error.column} if isinstance(error, FilterError) else {}
    return answer(problem, request, str(error), **more)


async def _clap_error(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, ClapError)
    return refusal(request, error)


async def _invalid(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, RequestValidationError)
    errors = [
        {"field": ".".join(str(part) for part in e["loc"][1:]) or e["loc"][0], "message": e["msg"]}
        for e in error.errors()
    ]
    detail = "; ".join(f"{e['field']}: {e['message']}" for e in errors)
    return answer(INVALID, request, detail, errors=errors)


async def _http(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, HTTPException)
    cause = error.__cause__
    if isinstance(cause, OSError) and cause.errno == errno.ENOSPC:  # not the client's fault
        _LOG.error("no_space", reason=str(cause))
        return answer(NO_SPACE, request, "the server has no room for this body now")
    title = HTTPStatus(error.status_code).phrase
    problem = Problem(title.lower().replace(" ", "-"), error.status_code, title)
    response = answer(problem, request, str(error.detail))
    response.headers.update(error.headers or {})
    if error.status_code == HTTPStatus.METHOD_NOT_ALLOWED:
        response.headers.update(_allowed(request))
    return response


def _allowed(request: Request) -> dict[str, str]:
    """The methods that any route of this path takes; each route by itself knows of its own only."""
    routes, scope = request.app.router.routes, request.scope
    known = ("DELETE", "GET", "HEAD", "PATCH", "POST", "PUT")
    there = [m for m in known if any(_takes(route, {**scope, "method": m}) for route in routes)]
    return {"Allow": ", ".join(there)} if there else {}


def _takes(route: BaseRoute, scope: Scope) -> bool:
    return route.matches(scope)[0] is Match.FULL


async def _internal(request: Request, error: Exception) -> JSONResponse:
    return answer(INTERNAL, request, "the server's log says more")
