"""Tagging uploads."""

from collections.abc import Sequence
from typing import Annotated

from fastapi import APIRouter, Form
from fastapi.exceptions import RequestValidationError
from pydantic import StringConstraints

from m2d_clap.service import schemas, tags
from m2d_clap.service.routes import examples
from m2d_clap.service.routes.parts import Backend, Flag, Upload, example, refusals
from m2d_clap.service.schemas import Count, Tags

LabelName = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=200)]
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
    moments = None
    if found.timeline is not None:
        moments = [
            schemas.Moment(start=m.start, end=m.end, tags=_written(m.tags)) for m in found.timeline
        ]
    return Tags(scores=found.scores, tags=_written(found.tags), timeline=moments)


def _written(found: Sequence[tags.Scored]) -> list[schemas.Tag]:
    return [
        schemas.Tag(name=t.label.name, mid=t.label.mid, score=t.score, relevance=t.relevance)
        for t in found
    ]
