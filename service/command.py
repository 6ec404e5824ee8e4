"""Commands that serve and tag: `serve`, `tag`, `demo`."""

import contextlib
import json
import signal
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from m2d_clap.model import bundled, read_audio
from m2d_clap.model.errors import AudioError, ClapError
from m2d_clap.service import first_index
from m2d_clap.service.device import device as where
from m2d_clap.service.engine import Engine
from m2d_clap.service.server import bind, is_loopback, run, url
from m2d_clap.service.settings import load
from m2d_clap.service.tagging import Label, rank, vocabulary


def serve(
    index: Annotated[
        str | None,
        typer.Argument(help="an index folder made by m2d-clap index, or milvus://HOST:PORT/NAME"),
    ] = None,
    library: Annotated[
        Path | None, typer.Option(help="sounds to index first, where there is no index yet")
    ] = None,
    config: Annotated[Path | None, typer.Option(help="settings, a TOML file")] = None,
    host: Annotated[str | None, typer.Option(help="address; default 127.0.0.1")] = None,
    port: Annotated[int | None, typer.Option(help="default 8000; 0: any free one")] = None,
    checkpoint: Annotated[Path | None, typer.Option(help="default: the index's own")] = None,
    device: Annotated[str | None, typer.Option(help="auto | cpu | cuda")] = None,
    text_encoder_path: Annotated[
        Path | None, typer.Option(help="folder of the text encoder, where it is not inside")
    ] = None,
    writable: Annotated[
        bool | None, typer.Option("--writable", help="let clips be added and deleted")
    ] = None,
    print_settings: Annotated[
        bool, typer.Option("--print-settings", help="print all of them as TOML and end")
    ] = False,
) -> None:
    """Answer searches over HTTP. Every setting is a line of --config or a variable M2D_CLAP_…"""
    options = {
        "index": index,
        "library": library,
        "host": host,
        "port": port,
        "checkpoint": checkpoint,
        "device": device,
        "text_encoder_path": text_encoder_path,
        "writable": writable,
    }
    settings = load({k: v for k, v in options.items() if v is not None}, config)
    if print_settings:
        typer.echo(settings.as_toml())
        return
    # It asks for a new index: until somebody listens it is no reason to end.
    with contextlib.suppress(AttributeError, ValueError):  # no such signal; not the main thread
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
    if settings.device == "cuda":
        where("cuda")
    due = first_index.is_due(settings)
    engine = None if due else Engine(settings)
    with bind(settings.host, settings.port) as listening:
        if settings.keys_file is None and not is_loopback(settings.host):
            typer.echo(
                f"warning: {settings.host} can be reached from other machines and no API keys are "
                "set: anyone there can search and hear this library"
                f"{', and change it' if settings.writable else ''} (m2d-clap keys add)",
                err=True,
            )
        address = url(listening)
        if engine is None:
            typer.echo(f"indexing {settings.library}; how far: {address}/readyz")
            if not first_index.make(settings, listening):
                return
            engine = Engine(settings)
        typer.echo(f"{len(engine.index)} clips at {address}  (API: {address}/docs, stop: Ctrl-C)")
        run(engine, listening)


def tag(
    file: Annotated[Path, typer.Argument(help="a sound file")],
    label: Annotated[list[str] | None, typer.Option("--label", help="repeatable")] = None,
    labels_file: Annotated[Path | None, typer.Option(help="one label a line")] = None,
    k: Annotated[int, typer.Option("-k", help="how many tags", min=1)] = 10,
    checkpoint: Annotated[Path | None, typer.Option(help="default: the bundled one")] = None,
    text_encoder_path: Annotated[
        Path | None, typer.Option(help="folder of the text encoder, where it is not inside")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="for machines")] = False,
) -> None:
    """Say what can be heard in a file, in your labels or the built-in ones (AudioSet's and more)."""
    from m2d_clap.model import Checkpoint
    from m2d_clap.service.encoders import encode_sounds, encode_texts

    labels = _labels(label or [], labels_file) or vocabulary()
    clap = Checkpoint.load(checkpoint or bundled()).clap()
    clap.text_encoder_path = text_encoder_path
    try:
        sound = encode_sounds(clap, [read_audio(file, clap.config.front_end.sample_rate)])[0]
    except AudioError as error:
        raise AudioError(f"{file}: {error}") from error
    tags = rank(sound, encode_texts(clap, [[x.prompt for x in labels]])[0], labels, k)
    if as_json:
        rows = [{"name": t.label.name, "mid": t.label.mid, "score": t.score} for t in tags]
        typer.echo(json.dumps({"tags": rows}))
        return
    table = Table("score", "tag")
    for found in tags:
        table.add_row(f"{found.score:.3f}", found.label.name)
    Console().print(table)


def demo(
    library: Annotated[
        Path | None, typer.Option(help="your folder of sounds; default: a made-up library")
    ] = None,
    folder: Annotated[Path, typer.Option(help="where library and index are kept")] = Path(".demo"),
    host: Annotated[str, typer.Option(help="address to listen on")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="or the next free one", min=0, max=65500)] = 8000,
    once: Annotated[bool, typer.Option("--once", help="print and end")] = False,
) -> None:
    """Make a demonstration library, index it, serve it, and show a few queries."""
    from m2d_clap.service import demonstration  # its sounds take a second to import

    demonstration.run(library, folder, host, port, once)


def _labels(names: list[str], file: Path | None) -> tuple[Label, ...]:
    if file is not None:
        try:
            names = names + file.read_text(encoding="utf-8").splitlines()
        except (OSError, UnicodeDecodeError) as error:
            raise ClapError(f"cannot read the labels in {file}: {error}") from error
    cleaned = [name.strip() for name in names]
    return tuple(Label(name) for name in dict.fromkeys(cleaned) if name)
