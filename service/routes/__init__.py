"""The routes under /v1, one file a resource, and the probes. The engine does the work."""

from fastapi import APIRouter

from m2d_clap.service.routes import about, captions, clips, embeddings, probing, search, tags

v1 = APIRouter(prefix="/v1")
for resource in (search, tags, captions, embeddings, clips, about):
    v1.include_router(resource.router)
probes = probing.router

__all__ = ["probes", "v1"]
