"""The command about libraries: `index`."""

import json
import shlex
from pathlib import Path
from typing import Annotated, cast, get_args

import typer
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from m2d_clap.index import build
from m2d_clap.model import Checkpoint, Precision, bundled

SHOWN_LEFT_OUT = 20


def register(app: typer.Typer) -> None:
    """Adds this package's commands to the `m2d-clap` script."""
    app.command()(index)


def index(
    library: Annotated[Path, typer.Argument(help="the folder of sounds")],
    out: Annotated[Path, typer.Option("--out", help="the index folder to write")],
    checkpoint: Annotated[Path | None, typer.Option(help="default: the bundled one")] = None,
    precision: Annotated[str, typer.Option(help="float32 | bfloat16")] = "float32",
    batch_seconds: Annotated[
        float, typer.Option(help="sound embedded together, and lost at most by a kill", min=0)
    ] = build.BATCH_SECONDS,
    captions: Annotated[
        bool, typer.Option("--captions", help="also caption every sound (metadata.caption)")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="for machines")] = False,
) -> None:
    """Embed a folder of sounds for search; again, to take in what changed or was left."""
    if precision not in get_args(Precision):
        raise typer.BadParameter("--precision is float32 or bfloat16")
    try:
        report = _index(
            library,
            out,
            checkpoint or bundled(),
            batch_seconds,
            cast(Precision, precision),
            captions,
        )
    except KeyboardInterrupt:
        typer.echo("stopped; the same command goes on from here", err=True)
        raise typer.Exit(130) from None
    if as_json:
        skipped = [{"path": path, "reason": reason} for path, reason in report.skipped]
        typer.echo(json.dumps(vars(report) | {"skipped": skipped}))
    else:
        _print(report, library, out)


def _index(
    library: Path,
    out: Path,
    checkpoint: Path,
    batch_seconds: float,
    precision: Precision,
    captions: bool,
) -> build.Report:
    model = Checkpoint.load(checkpoint)
    captioner = model.build_captioner() if captions else None
    clap = model.clap()
    clap.precision = precision
    columns = (
        TextColumn("indexing"),
        BarColumn(),
        TextColumn("{task.fields[files]}  {task.fields[rate]:.0f} × real time "),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=Console(stderr=True)) as bar:
        task = bar.add_task("", total=None, rate=0.0, files="")

        def show(state: build.Progress) -> None:
            rate = state.seconds / max(bar.tasks[0].elapsed or 0.0, 0.1)
            files = f"{state.done}/{state.files} files"
            bar.update(task, completed=state.share, total=1.0, rate=rate, files=files)

        def show_captions(done: int, of: int) -> None:
            bar.update(task, completed=done, total=of or 1, files=f"{done}/{of} captions")

        return build.build_index(
            library,
            out,
            checkpoint,
            model.fingerprint,
            clap,
            show,
            batch_seconds,
            captioner,
            model.captioner.fingerprint if model.captioner else "",
            show_captions,
        )


def _print(report: build.Report, library: Path, out: Path) -> None:
    if report.skipped:
        table = Table("left out", "because")
        for path, reason in report.skipped[:SHOWN_LEFT_OUT]:
            table.add_row(escape(path), escape(reason))
        Console(stderr=True).print(table)
        more = len(report.skipped) - SHOWN_LEFT_OUT
        if more > 0:
            typer.echo(f"and {more} more; --json lists all", err=True)
    typer.echo(
        f"{out}: {report.clips} clips in {report.windows} windows; {report.embedded} embedded, "
        f"{report.unchanged} unchanged, {report.gone} gone, {len(report.skipped)} left out, "
        f"{report.hidden} hidden"
    )
    if report.clips:
        typer.echo(
            f'search it with: {shlex.join(["m2d-clap", "search", str(out)])} "a dog barking"'
        )
    else:
        typer.echo(f"no sound was found in {library}: is it the right folder?", err=True)
