"""The routes that operators' machines ask: alive? ready? how busy?"""

from typing import Annotated

from fastapi import APIRouter, Depends, Request
from fastapi.responses import Response
from prometheus_client import CONTENT_TYPE_LATEST

from m2d_clap.service.engine import Engine
from m2d_clap.service.schemas import Problem, Status


def _engine(request: Request) -> Engine:
    engine: Engine = request.app.state.engine
    return engine


Backend = Annotated[Engine, Depends(_engine)]
probes = APIRouter(tags=["probes"])


@probes.get("/livez", operation_id="livez")
async def livez() -> Status:
    """The server answers."""
    return Status(status="alive")


@probes.get("/readyz", operation_id="readyz", responses={503: {"model": Problem}})
async def readyz(engine: Backend) -> Status:
    """Each encoder has run and the index is open; else 503, saying what is missing."""
    engine.require_ready()
    return Status(status="ready")


@probes.get("/metrics", operation_id="metrics", response_class=Response)
async def metrics(engine: Backend) -> Response:
    """Counts and seconds for Prometheus."""
    return Response(engine.measure(), media_type=CONTENT_TYPE_LATEST)
