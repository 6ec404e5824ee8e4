"""Embeddings in the shape of OpenAI's API."""

import asyncio
import io
from typing import Any

from fastapi import APIRouter
from fastapi.exceptions import RequestValidationError

from m2d_clap.service import openai
from m2d_clap.service.openai import Embeddings, EmbeddingsRequest, Error
from m2d_clap.service.openapi import reference
from m2d_clap.service.routes import examples
from m2d_clap.service.routes.parts import Backend, example

router = APIRouter(tags=["embeddings"])


def _errors(*statuses: int) -> dict[int | str, dict[str, Any]]:
    content = {"application/json": {"schema": reference(Error)}}
    return {status: {"description": "an error", "content": content} for status in statuses}


@router.post(
    "/embeddings",
    operation_id="create_embeddings",
    responses=example(examples.EMBEDDINGS) | _errors(400, 413, 415, 422, 500, 501, 503),
)
async def create_embeddings(request: EmbeddingsRequest, engine: Backend) -> Embeddings:
    """Vectors of texts or sounds, all of one space: the cosine of two tells how well they fit.

    Every vector has length 1. Errors have the shape of OpenAI's API.
    """
    model = engine.model.config
    if request.dimensions not in (None, model.clap_dim):
        message = f"this model's embeddings have {model.clap_dim} numbers"
        raise RequestValidationError(
            [{"type": "value_error", "loc": ("body", "dimensions"), "msg": message}]
        )
    if request.modality == "text":
        vectors = list(await engine.sentences(request.inputs))
    else:
        vectors = []
        for uri in request.inputs:
            sound = await asyncio.to_thread(openai.sound_in, uri)
            vectors.append(await engine.sound(io.BytesIO(sound)))
    return await asyncio.to_thread(openai.answer, vectors, request, model.name)
