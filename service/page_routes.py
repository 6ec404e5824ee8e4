"""The web page at `/` and its files below `/page`: plain modules, served as they lie here."""

from importlib.resources import files
from pathlib import Path
from typing import Any

from fastapi import FastAPI
from starlette.requests import Request
from starlette.responses import Response
from starlette.staticfiles import StaticFiles

FOLDER = Path(str(files("m2d_clap.service") / "page"))
TYPES = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}
"""Written out: what the machine's own table says of .js differs, and browsers insist."""


class PageFiles(StaticFiles):
    """Files with an ETag that browsers ask about each time, so that none outlives an update."""

    def file_response(self, full_path: Any, *args: Any, **more: Any) -> Response:
        response = super().file_response(full_path, *args, **more)
        if response.status_code == 200:
            response.headers["Content-Type"] = TYPES[Path(full_path).suffix]
        response.headers["Cache-Control"] = "no-cache"
        return response


def install(app: FastAPI) -> None:
    """Adds the page to an application."""
    page_files = PageFiles(directory=FOLDER)

    async def index(request: Request) -> Response:
        return await page_files.get_response("index.html", request.scope)

    app.add_route("/", index, methods=["GET"], include_in_schema=False)
    app.mount("/page", page_files, "page")
