"""Engine → the FastAPI application."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib.metadata import version

from fastapi import FastAPI
from starlette.middleware.cors import CORSMiddleware

from m2d_clap.service import openapi, page_routes, problems, routes
from m2d_clap.service.access import Access
from m2d_clap.service.admission import Admission
from m2d_clap.service.body_limit import BodyLimit
from m2d_clap.service.disconnect import Disconnect
from m2d_clap.service.engine import Engine
from m2d_clap.service.headers import SecureHeaders
from m2d_clap.service.keys import KeyFile
from m2d_clap.service.requests import RequestLog
from m2d_clap.service.serving import Pinned


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
        **engine.traces.of_requests(),
    )
    app.state.engine = engine
    _protect(app, engine)
    problems.install(app)
    routes.install(app)
    page_routes.install(app)
    openapi.install(app)
    return app


def _protect(app: FastAPI, engine: Engine) -> None:
    """What every request passes; the last one added is passed first."""
    settings = engine.settings
    keys = KeyFile(settings.keys_file) if settings.keys_file else None
    if keys is not None:
        keys.all()  # a damaged file is heard of now, not by the first client
    app.add_middleware(Pinned, serving=engine.serving)
    app.add_middleware(Disconnect)
    app.add_middleware(BodyLimit, most=settings.max_upload_bytes, pause=settings.body_seconds)
    app.add_middleware(Admission, check=engine.check)
    if keys is not None or settings.rate_limit:
        app.add_middleware(Access, keys=keys, rate=settings.rate_limit)
    if settings.cors_origins:
        app.add_middleware(
            CORSMiddleware,
            allow_origins=settings.cors_origins,
            allow_methods=["GET", "POST", "DELETE"],
            allow_headers=["Authorization", "Content-Type", "X-Request-ID"],
            expose_headers=["X-Request-ID", "Retry-After", "RateLimit-Remaining"],
        )
    app.add_middleware(RequestLog, metrics=engine.metrics)
    app.add_middleware(SecureHeaders)
