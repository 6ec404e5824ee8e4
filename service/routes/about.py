"""What is served: the index, its map, the model, its labels."""

from fastapi import APIRouter, Request, Response

from m2d_clap.service import clips, schemas
from m2d_clap.service.openapi import reference
from m2d_clap.service.routes import examples
from m2d_clap.service.routes.parts import Backend, caching, example, unchanged
from m2d_clap.service.schemas import IndexFacts, Label, Labels, ModelFacts
from m2d_clap.service.tagging import vocabulary
from m2d_clap.service.tags import trained_labels

router = APIRouter(tags=["about"])


@router.get("/index", operation_id="get_index", responses=example(examples.INDEX))
async def get_index(engine: Backend) -> IndexFacts:
    """The library as it is searched."""
    index = engine.index
    scale = await engine.scale(index)
    return IndexFacts(
        library=index.library.name,
        clips=len(index),
        windows=index.windows,
        seconds=round(index.seconds, 3),
        generation=index.generation,
        changes=index.changes,
        beside=index.beside,
        kind=index.kind,
        recall=index.recall,
        fingerprint=index.fingerprint,
        dim=index.dim,
        relevance=[kind for kind in ("text", "sound") if scale.of(kind) is not None],
    )


@router.get("/model", operation_id="get_model", responses=example(examples.MODEL))
async def get_model(engine: Backend) -> ModelFacts:
    """The checkpoint that is served, and what may be uploaded to it."""
    config = engine.model.config
    return ModelFacts(
        name=config.name,
        licence=config.licence,
        fingerprint=engine.model.fingerprint,
        dim=config.clap_dim,
        sample_rate=config.front_end.sample_rate,
        text_encoder=config.text.kind,
        trained_labels=len(config.labels),
        captioner=engine.model.captioner is not None,
        max_seconds=engine.settings.max_seconds,
        max_upload_bytes=engine.settings.max_upload_bytes,
    )


@router.get("/labels", operation_id="get_labels", responses=example(examples.LABELS))
async def get_labels(engine: Backend) -> Labels:
    """What sounds can be called here: the built-in labels, and those of the checkpoint's head."""
    trained = trained_labels(engine.model.config.labels)
    return Labels(
        labels=[Label(name=label.name, mid=label.mid) for label in vocabulary()],
        trained=[Label(name=label.name, mid=label.mid) for label in trained],
    )


@router.get(
    "/map",
    operation_id="get_map",
    response_class=Response,
    responses={
        200: {
            "content": {
                "application/json": {"schema": reference(schemas.Map), "example": examples.MAP}
            }
        },
        304: {"description": "what If-None-Match names is what there is"},
    },
)
async def get_map(engine: Backend, request: Request) -> Response:
    """Every clip as a point of a plane, where near ones sound alike."""
    tag, body = await clips.whole_map(engine)
    if (same := unchanged(request, tag)) is not None:
        return same
    return Response(body, headers=caching(tag), media_type="application/json")
