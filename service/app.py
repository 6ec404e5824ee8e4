"""Engine → the FastAPI application."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib.metadata import version

from fastapi import FastAPI

from m2d_clap.service import openapi, page_routes, problems
from m2d_clap.service.body_limit import BodyLimit
from m2d_clap.service.engine import Engine
from m2d_clap.service.routes import probes, v1


def create_app(engine: Engine) -> FastAPI:
    """The application; the encoders run for as long as it does."""

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        async with engine.running():
            yield

    app = FastAPI(
        title="m2d-clap",
        summary="Search a library of sounds by what they sound like",
        version=version("m2d-clap"),
        license_info={"name": "Apache-2.0", "identifier": "Apache-2.0"},
        lifespan=lifespan,
    )
    app.state.engine = engine
    app.add_middleware(BodyLimit, most=engine.settings.max_upload_bytes)
    problems.install(app)
    app.include_router(v1)
    app.include_router(probes)
    page_routes.install(app)
    openapi.install(app)
    return app
