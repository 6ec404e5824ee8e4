"""What several routes are made of."""

from collections.abc import Mapping
from functools import lru_cache
from typing import Annotated, Any
from urllib.parse import quote

from fastapi import Depends, File, Request, Response, UploadFile
from pydantic import BeforeValidator

from m2d_clap import index
from m2d_clap.service import problems
from m2d_clap.service.engine import Engine
from m2d_clap.service.openapi import reference
from m2d_clap.service.problems import MEDIA_TYPE, Problem
from m2d_clap.service.schemas import Clip, Hits
from m2d_clap.service.schemas import Problem as ProblemBody
from m2d_clap.service.searching import Found, Scored


async def _engine(request: Request) -> Engine:  # not async, it would wait for a thread each time
    engine: Engine = request.app.state.engine
    return engine


def _flag(value: Any) -> Any:
    """A form or a query string holds text: exactly these two mean something."""
    words = {"true": True, "false": False}
    if isinstance(value, str) and value not in words:
        raise ValueError("true or false is meant")
    return words[value] if isinstance(value, str) else value


Backend = Annotated[Engine, Depends(_engine)]
Upload = Annotated[UploadFile, File(description="a sound file of any common format")]
Flag = Annotated[bool, BeforeValidator(_flag)]


def refusals(*names: str) -> dict[int | str, dict[str, Any]]:
    """The `responses` of a route: problems by name, each with an example."""
    known = {problem.name: problem for problem in problems.all_problems()}
    answers: dict[int | str, dict[str, Any]] = {}
    for name in names:
        problem = known[name]
        content = answers.setdefault(
            problem.status,
            {"description": "", "content": {MEDIA_TYPE: {"schema": reference(ProblemBody)}}},
        )
        titles = [t for t in (content["description"], problem.title) if t]
        content["description"] = "; ".join(titles)
        content["content"][MEDIA_TYPE].setdefault("examples", {})[name] = {
            "value": _example(problem)
        }
    return answers


def example(body: Any, media_type: str = "application/json") -> dict[int | str, dict[str, Any]]:
    """An example of the answer 200."""
    return {200: {"content": {media_type: {"example": body}}}}


def clip(found: index.Clip) -> Clip:
    """A clip as it is answered."""
    return Clip(**_facts(found))


def hits(found: Found) -> Hits:
    """A page of hits as it is answered."""
    told = [{**_facts(each.hit.clip), **_moment(each)} for each in found.hits]
    if found.moments:
        for hit, moments in zip(told, found.moments, strict=True):
            hit["moments"] = [_moment(each) for each in moments]
    # Validated in one go, not hit by hit.
    return Hits.model_validate({"hits": told, "next": found.next, "total": found.total})


def unchanged(request: Request, tag: str) -> Response | None:
    """304 where the caller holds what the tag stands for already (RFC 9110, If-None-Match)."""
    given = request.headers.get("if-none-match")
    if given is None:
        return None
    held = [each.strip().removeprefix("W/") for each in given.split(",")]
    if "*" in held or f'"{tag}"' in held:
        return Response(status_code=304, headers=caching(tag))
    return None


def caching(tag: str) -> Mapping[str, str]:
    """Headers of what may be kept by its reader alone, and asked for again by its tag."""
    return {"ETag": f'"{tag}"', "Cache-Control": "private, no-cache"}


def _moment(found: Scored) -> dict[str, Any]:
    hit = found.hit
    return {
        "score": hit.score,
        "relevance": found.relevance,
        "start": hit.start,
        "end": hit.end,
    }


def _facts(found: index.Clip) -> dict[str, Any]:
    return {
        "id": found.id,
        "path": found.path,
        "paths": list(found.paths),
        "seconds": found.seconds,
        "metadata": dict(found.metadata),
        **_addresses(found.id),
    }


@lru_cache(maxsize=4096)
def _addresses(clip_id: str) -> dict[str, str]:
    place = f"/v1/clips/{quote(clip_id)}"
    return {
        "audio": f"{place}/audio",
        "spectrogram": f"{place}/spectrogram.png",
        "waveform": f"{place}/waveform.json",
    }


def _example(problem: Problem) -> dict[str, Any]:
    return {
        "type": f"/problems/{problem.name}",
        "title": problem.title,
        "status": problem.status,
        "detail": "what exactly, and what to do about it",
        "instance": "/v1/…",
    }
