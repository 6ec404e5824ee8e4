"""The routes under /v1, one file a resource, and the probes. The engine does the work."""

from fastapi import FastAPI

from m2d_clap.service.routes import about, captions, clips, embeddings, probing, search, tags

__all__ = ["install"]


def install(app: FastAPI) -> None:
    """Adds all of them to an application, what is asked most first."""
    # Not through a router of their own: each one a request passes matches it twice.
    for resource in (search, tags, captions, embeddings, clips, about):
        app.include_router(resource.router, prefix="/v1")
    app.include_router(probing.router)
