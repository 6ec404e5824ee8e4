"""Probes for whoever runs the server."""

from fastapi import APIRouter
from fastapi.responses import Response
from prometheus_client import CONTENT_TYPE_LATEST

from m2d_clap.service.routes.parts import Backend, example, refusals
from m2d_clap.service.schemas import Status

router = APIRouter(tags=["probes"])


@router.get("/livez", operation_id="livez", responses=example({"status": "alive"}))
async def livez() -> Status:
    """The server answers."""
    return Status(status="alive")


@router.get(
    "/readyz",
    operation_id="readyz",
    responses=example({"status": "ready"}) | refusals("worker-down"),
)
async def readyz(engine: Backend) -> Status:
    """Every kind of request can be answered; else 503, saying what is missing."""
    engine.require_ready()
    return Status(status="ready")


@router.get(
    "/metrics",
    operation_id="get_metrics",
    response_class=Response,
    responses={200: {"content": {"text/plain": {"schema": {"type": "string"}}}}},
)
async def get_metrics(engine: Backend) -> Response:
    """Counts and seconds, as Prometheus reads them."""
    return Response(engine.measure(), media_type=CONTENT_TYPE_LATEST)
