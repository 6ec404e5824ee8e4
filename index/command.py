"""Commands about libraries: `index` and `search`."""

import json
import sys
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from m2d_clap.index import build
from m2d_clap.index.errors import LibraryIndexError
from m2d_clap.index.store import Index
from m2d_clap.model import Checkpoint, bundled


def register(app: typer.Typer) -> None:
    """Adds this package's commands to the `m2d-clap` script."""
    app.command()(index)
    app.command()(search)


def index(
    library: Annotated[Path, typer.Argument(help="the folder of sounds")],
    out: Annotated[Path, typer.Option("--out", help="the index folder to write")],
    checkpoint: Annotated[Path | None, typer.Option(help="default: the bundled one")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="for machines")] = False,
) -> None:
    """Embed a folder of sounds for search; again, to take in what changed or was left."""
    folder = checkpoint or bundled()
    model = Checkpoint.load(folder)
    columns = (
        TextColumn("indexing"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[rate]:.0f} s of sound a second"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=Console(stderr=True)) as bar:
        task = bar.add_task("", total=None, rate=0.0)

        def show(state: build.Progress) -> None:
            elapsed = bar.tasks[0].elapsed or 1.0
            rate = state.seconds / max(elapsed, 0.1)
            bar.update(task, completed=state.done, total=state.files, rate=rate)

        try:
            report = build.build_index(
                library, out, folder, model.fingerprint, model.clap(), progress=show
            )
        except KeyboardInterrupt:
            typer.echo("stopped; the same command goes on from here", err=True)
            sys.exit(1)
    if as_json:
        typer.echo(json.dumps(vars(report)))
        return
    for path, reason in report.skipped:
        typer.echo(f"left out: {path}: {reason}", err=True)
    typer.echo(
        f"{out}: {report.clips} clips in {report.windows} windows; {report.embedded} embedded, "
        f"{report.unchanged} unchanged, {report.gone} gone, {len(report.skipped)} left out"
    )


def search(
    folder: Annotated[Path, typer.Argument(metavar="INDEX", help="an index folder")],
    text: Annotated[str, typer.Argument(help='what it sounds like: "a dog barking"')],
    k: Annotated[int, typer.Option("-k", help="how many hits", min=1)] = 10,
    checkpoint: Annotated[Path | None, typer.Option(help="default: the index's own")] = None,
    text_encoder_path: Annotated[
        Path | None, typer.Option(help="folder of the text encoder, where it is not inside")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="for machines")] = False,
) -> None:
    """Find the sounds that fit a text, each with its best moment."""
    opened = Index.open(folder)
    model = Checkpoint.load(checkpoint or opened.checkpoint)
    if model.fingerprint != opened.fingerprint:
        raise LibraryIndexError(
            f"{folder} was made with another checkpoint; make it anew with: m2d-clap index "
            f"{opened.library} --out NEW --checkpoint {checkpoint or opened.checkpoint}"
        )
    clap = model.clap()
    clap.text_encoder_path = text_encoder_path
    hits = opened.search(clap.embed_text([text])[0].numpy(), k)
    if as_json:
        rows = [
            {"id": h.clip.id, "path": h.clip.path, "score": h.score, "start": h.start, "end": h.end}
            for h in hits
        ]
        typer.echo(json.dumps({"hits": rows}))
        return
    table = Table("score", "moment", "file")
    for hit in hits:
        table.add_row(f"{hit.score:.3f}", f"{hit.start:.1f}–{hit.end:.1f} s", hit.clip.path)
    Console().print(table)
