"""Probes for whoever runs the server."""

from fastapi import APIRouter

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
