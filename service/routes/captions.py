"""Captioning uploads."""

from collections.abc import Sequence
from typing import Annotated

from fastapi import APIRouter, Form
from pydantic import Field

from m2d_clap.model import captions
from m2d_clap.model.captions import MOST, USUAL, Decoding, DecodingKind
from m2d_clap.service import schemas
from m2d_clap.service.routes import examples
from m2d_clap.service.routes.parts import Backend, Flag, Upload, example, refusals
from m2d_clap.service.schemas import Captions

router = APIRouter(tags=["captions"])

Few = Annotated[int, Field(ge=1, le=MOST)]


@router.post(
    "/captions",
    operation_id="caption",
    responses=example(examples.CAPTIONS)
    | refusals(
        "bad-request", "no-captioner", "body-too-large", "audio-too-long", "not-audio",
        "bad-samples", "invalid-request", "busy", "worker-down", "encoding-failed",
    ),
)  # fmt: skip
async def caption(
    file: Upload,
    engine: Backend,
    n: Annotated[
        Few, Form(description="captions at most, the best and its alternatives")
    ] = USUAL.n,
    decoding: Annotated[
        DecodingKind,
        Form(
            description="greedy: fast, one; beam: the likeliest; nucleus: drawn by chance; "
            "auto: greedy for one, beam for several"
        ),
    ] = USUAL.kind,
    width: Annotated[Few, Form(description="beams; at least n")] = USUAL.width,
    length_penalty: Annotated[
        float,
        Field(ge=-5, le=5, allow_inf_nan=False),
        Form(description="above 1: longer captions, below: shorter ones"),
    ] = USUAL.length_penalty,
    no_repeat: Annotated[
        int, Field(ge=0, le=10), Form(description="no run of so many word pieces twice; 0: any")
    ] = USUAL.no_repeat,
    top_p: Annotated[
        float,
        Field(gt=0, le=1, allow_inf_nan=False),
        Form(description="nucleus: out of the likeliest words that hold this share"),
    ] = USUAL.top_p,
    temperature: Annotated[
        float,
        Field(ge=0.01, le=10, allow_inf_nan=False),
        Form(description="nucleus: above 1 more chance, below less"),
    ] = USUAL.temperature,
    seed: Annotated[
        int, Field(ge=0, lt=2**32), Form(description="nucleus: the same draws the same")
    ] = USUAL.seed,
    timeline: Annotated[Flag, Form(description="also caption every ten seconds")] = False,
) -> Captions:
    """Say in a sentence what an uploaded sound sounds like."""
    how = Decoding(decoding, n, max(n, width), length_penalty, no_repeat, top_p, temperature, seed)
    engine.require_captioner()
    async with engine.upload(file.file) as waveform:
        found = await engine.captions(waveform, how)
    moments = None
    if timeline:
        moments = [
            schemas.CaptionedMoment(
                start=m.start, end=m.end, caption=m.caption.text, confidence=m.caption.confidence
            )
            for m in found.timeline
        ]
    return Captions(
        caption=found.best.text,
        confidence=found.best.confidence,
        alternatives=_written(found.alternatives),
        timeline=moments,
    )


def _written(found: Sequence[captions.Caption]) -> list[schemas.Caption]:
    return [schemas.Caption(caption=c.text, confidence=c.confidence) for c in found]
