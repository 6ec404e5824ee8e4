"""Tagging uploads, and sounds of the library."""

from collections.abc import Sequence
from typing import Annotated

from fastapi import APIRouter, Form, Query
from fastapi.exceptions import RequestValidationError
from pydantic import StringConstraints

from m2d_clap.service import schemas, tags
from m2d_clap.service.routes import examples
from m2d_clap.service.routes.parts import Backend, Flag, Upload, example, refusals
from m2d_clap.service.schemas import Count, Identifier, Tags

LabelName = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=200)]
ShownName = Annotated[str, StringConstraints(min_length=1, max_length=200, pattern=r"\S")]
"""As the document can say it: something that is no blank."""
Names = Annotated[
    list[LabelName] | None,
    Form(max_length=500, description="your own labels, the field repeated; else the built-in ones"),
]

router = APIRouter(tags=["tags"])


@router.post(
    "/tags",
    operation_id="tag",
    responses=example(examples.TAGS)
    | refusals(
        "bad-request", "no-trained-head", "body-too-large", "audio-too-long", "not-audio",
        "bad-samples", "invalid-request", "busy", "worker-down", "no-text-encoder",
        "encoding-failed",
    ),
)  # fmt: skip
async def tag(
    file: Upload,
    engine: Backend,
    labels: Names = None,
    k: Annotated[Count, Form()] = 10,
    timeline: Annotated[Flag, Form(description="also tell when what can be heard")] = False,
    trained: Annotated[
        Flag, Form(description="by the checkpoint's own head instead of sentences")
    ] = False,
) -> Tags:
    """Say what can be heard in an uploaded sound, and when."""
    if trained and labels:
        message = "the trained head has its own labels: leave one of the two out"
        raise RequestValidationError(
            [{"type": "value_error", "loc": ("body", "labels"), "msg": message}]
        )
    if trained:
        found = await tags.by_head(engine, file.file, k, timeline)
    else:
        found = await tags.by_sentences(engine, file.file, labels or (), k, timeline)
    return _written(found)


@router.get(
    "/clips/{clip_id}/tags",
    operation_id="get_clip_tags",
    responses=example(examples.TAGS)
    | refusals(
        "unknown-clip", "invalid-request", "busy", "worker-down", "no-text-encoder",
        "encoding-failed",
    ),
)  # fmt: skip
async def get_clip_tags(
    clip_id: Identifier,
    engine: Backend,
    labels: Annotated[
        list[ShownName],
        Query(
            default_factory=list,
            max_length=50,
            description="your own, the parameter repeated; else the built-in ones",
        ),
    ],
    k: Annotated[Count, Query()] = 10,
    timeline: Annotated[Flag, Query(description="also tell when what can be heard")] = False,
) -> Tags:
    """Say what can be heard in a sound of the library, however long, and when: in each of the
    windows of ten seconds that its index holds. Nothing is decoded for it."""
    return _written(await tags.of_clip(engine, clip_id, labels, k, timeline))


def _written(found: tags.Tagged) -> Tags:
    moments = None
    if found.timeline is not None:
        moments = [
            schemas.Moment(start=m.start, end=m.end, tags=_listed(m.tags)) for m in found.timeline
        ]
    return Tags(scores=found.scores, tags=_listed(found.tags), timeline=moments)


def _listed(found: Sequence[tags.Scored]) -> list[schemas.Tag]:
    return [
        schemas.Tag(name=t.label.name, mid=t.label.mid, score=t.score, relevance=t.relevance)
        for t in found
    ]
