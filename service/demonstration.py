"""What `m2d-clap demo` does: a library, its index, a server, and a few real queries to it."""

import asyncio
import contextlib
import hashlib
import json
import shlex
import socket
from pathlib import Path
from typing import Any

import httpx
import typer
import uvicorn

from m2d_clap.index.command import index
from m2d_clap.model import bundled, sounds
from m2d_clap.model.description import describe
from m2d_clap.service.engine import Engine
from m2d_clap.service.errors import ServiceError
from m2d_clap.service.server import bind, server, url
from m2d_clap.service.settings import Settings

QUERIES = ("heavy rain falling", "a church bell is ringing", "birds are chirping")
_PORTS = 20  # tried one after the other


class DemonstrationError(ServiceError):
    """The demonstration could not be shown; the message is the server's."""


def run(library: Path | None, folder: Path, host: str, port: int, once: bool) -> None:
    """Prints three searches and one file's tags, then serves until Ctrl-C unless `once`."""
    if library is None:
        made = folder / "library"
        library = made / "sounds"
        if not (made / "manifest.csv").is_file():
            typer.echo(f"making a demonstration library in {library} …", err=True)
            sounds.write_library(made)
    # One index for each library and checkpoint, so that neither another folder nor a newer
    # release finds an index in its place that does not fit.
    place = hashlib.sha256(str(library.resolve()).encode()).hexdigest()[:8]
    out = folder / f"index-{place}-{describe(bundled()).fingerprint[:8]}"
    index(library, str(out))
    engine = Engine(Settings.model_validate({"index": out, "log_level": "warning"}))
    with bind(host, port, _PORTS) as listening, contextlib.suppress(KeyboardInterrupt):
        address = url(listening)
        if port and not address.endswith(f":{port}"):
            typer.echo(f"port {port} is taken, so this is at {address}", err=True)
        asyncio.run(_serve_and_show(engine, listening, address, once))


async def _serve_and_show(
    engine: Engine, listening: socket.socket, address: str, once: bool
) -> None:
    running = server(engine)
    serving = asyncio.create_task(running.serve(sockets=[listening]))
    try:
        async with httpx.AsyncClient(base_url=address, timeout=60, trust_env=False) as client:
            await _until_ready(client, running)
            if not running.should_exit:
                await _show(client, engine, address)
        if not once and not running.should_exit:
            typer.echo(f"\nserving {address}  (API: {address}/docs, stop: Ctrl-C)")
            await serving
    finally:
        running.should_exit = True
        await serving


async def _until_ready(client: httpx.AsyncClient, running: uvicorn.Server) -> None:
    typer.echo("loading the encoders …", err=True)
    while not running.should_exit:
        if running.started:
            answer = await client.get("/readyz")
            if answer.status_code == 200:
                return
            if "could not be loaded" in answer.json()["detail"]:
                raise DemonstrationError(answer.json()["detail"])
        await asyncio.sleep(0.1)


async def _show(client: httpx.AsyncClient, engine: Engine, address: str) -> None:
    best: dict[str, Any] | None = None
    for query in QUERIES:
        question = {"query": query, "k": 3}
        hits = await _asked(client.post("/v1/search/text", json=question))
        typer.echo(f"\n{query}")
        for hit in hits["hits"]:
            typer.echo(
                f"  {hit['score']:.3f}  {hit['start']:.1f}–{hit['end']:.1f} s  {hit['path']}"
            )
            best = best or hit
        body = shlex.quote(json.dumps(question))
        typer.echo(
            f"  curl -s {address}/v1/search/text -H 'content-type: application/json' -d {body}"
        )
    if best is None:
        return
    file = engine.clip_file(best["id"])
    tags = await _asked(client.post("/v1/tags", files={"file": file.read_bytes()}, data={"k": "3"}))
    typer.echo(f"\ntags of {best['path']}")
    for tag in tags["tags"]:
        typer.echo(f"  {tag['score']:.3f}  {tag['name']}")
    upload = shlex.quote(f"file=@{file}")
    typer.echo(f"  curl -s {address}/v1/tags -F {upload} -F k=3")


async def _asked(request: Any) -> dict[str, Any]:
    response: httpx.Response = await request
    body: dict[str, Any] = response.json()
    if response.is_error:
        raise DemonstrationError(body["detail"])
    return body
