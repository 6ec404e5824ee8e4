"""The command about libraries: `index`."""

import json
import re
import shlex
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Annotated, cast, get_args

import typer
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from m2d_clap.index import build, progress
from m2d_clap.index.anew import build_anew
from m2d_clap.index.captions import Captioning
from m2d_clap.index.check import Checked, check_index
from m2d_clap.index.engines import Faiss, engine_at
from m2d_clap.index.interface import Engine
from m2d_clap.index.kinds import Asked, Wish
from m2d_clap.index.options import Options
from m2d_clap.index.pipeline import BATCH_SECONDS
from m2d_clap.index.ray import RayCluster
from m2d_clap.index.report import Measured, measured
from m2d_clap.index.store import Index
from m2d_clap.model import Checkpoint, Precision, bundled

SHOWN_LEFT_OUT = 20


def index(
    library: Annotated[Path, typer.Argument(help="the folder of sounds")],
    out: Annotated[
        str, typer.Option("--out", help="the index folder to write, or milvus://HOST:PORT/NAME")
    ],
    checkpoint: Annotated[Path | None, typer.Option(help="default: the bundled one")] = None,
    precision: Annotated[str, typer.Option(help="float32 | bfloat16")] = "float32",
    batch_seconds: Annotated[
        float, typer.Option(help="sound embedded together, and lost at most by a kill", min=0)
    ] = BATCH_SECONDS,
    captions: Annotated[
        bool, typer.Option("--captions", help="also caption every sound (metadata.caption)")
    ] = False,
    kind: Annotated[
        str | None,
        typer.Option(help="auto | flat | ivf-sq8 | hnsw | pq; default: as before, at first auto"),
    ] = None,
    memory: Annotated[
        str | None, typer.Option(help="what its search may take, as 500M or 4G; default: half")
    ] = None,
    report: Annotated[
        bool, typer.Option("--report", help="index nothing: measure the kinds on what is there")
    ] = False,
    check: Annotated[
        bool,
        typer.Option("--check", help="embed nothing: verify the index, mend what can be derived"),
    ] = False,
    anew: Annotated[
        bool,
        typer.Option("--anew", help="embed everything with another checkpoint, then switch to it"),
    ] = False,
    forget: Annotated[
        bool,
        typer.Option("--forget", help="go on though most of what the index knows is missing"),
    ] = False,
    ray: Annotated[
        str | None,
        typer.Option(
            "--ray", help="embed on a Ray cluster: HOST:PORT, auto, or local for one here"
        ),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="for machines")] = False,
) -> None:
    """Embed a folder of sounds for search; again, to take in what changed or was left.

    Files and folders that LIBRARY/.m2d-clap-ignore names, in the patterns of a .gitignore, stay out.
    """
    engine = engine_at(out)
    if not isinstance(engine, Faiss) and (check or report or anew):
        raise typer.BadParameter("--check, --report and --anew are for index folders")
    if check:
        _check(library, engine.folder, as_json)
        return
    if precision not in get_args(Precision):
        raise typer.BadParameter("--precision is float32 or bfloat16")
    wish = _wish(kind, memory)
    if report:
        _print_kinds(measured(Index.open(engine.folder), wish or Wish()), as_json)
        return
    try:
        options = Options(batch_seconds, wish, forget=forget)
        asked = (library, engine, checkpoint or bundled(), cast(Precision, precision), options)
        done = _index(*asked, anew, captions, ray)
    except KeyboardInterrupt:
        typer.echo("stopped; the same command goes on from here", err=True)
        raise typer.Exit(130) from None
    if as_json:
        lists = {
            name: [{"path": path, "reason": reason} for path, reason in found]
            for name, found in (("skipped", done.skipped), ("damaged", done.damaged))
        }
        typer.echo(json.dumps(vars(done) | lists))
    else:
        _print(done, library, out)


def _index(
    library: Path,
    engine: Engine,
    checkpoint: Path,
    precision: Precision,
    options: Options,
    anew: bool,
    captions: bool,
    ray: str | None,
) -> progress.Report:
    remote = None if ray is None else RayCluster(ray, checkpoint, precision)
    model = Checkpoint.load(checkpoint)
    captioning = None
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

        def show(state: progress.Progress) -> None:
            rate = state.seconds / max(bar.tasks[0].elapsed or 0.0, 0.1)
            files = f"{state.done}/{state.files} files"
            bar.update(task, completed=state.share, total=1.0, rate=rate, files=files)

        def show_captions(done: int, of: int) -> None:
            bar.update(task, completed=done, total=of or 1, files=f"{done}/{of} captions")

        if captioner is not None and model.captioner is not None:
            captioning = Captioning(captioner, model.captioner.fingerprint, show_captions)
        options = replace(options, captioning=captioning, remote=remote)
        given = (library, engine.folder, checkpoint, model.fingerprint, clap, show, options)
        if not anew:
            return build.build_index(*given, engine)
        done, before = build_anew(*given)
    if before is not None:
        typer.echo(f"the index before is kept as {before}", err=True)
    return done


def _check(library: Path, out: Path, as_json: bool) -> None:
    """Exit code 1 where something is left."""
    with Progress(console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("reading files", total=1.0)
        found = check_index(library, out, lambda share: bar.update(task, completed=share))
    if as_json:
        typer.echo(json.dumps(asdict(found) | {"clean": not found.left}))
    else:
        _print_check(found, out)
    if found.left:
        raise typer.Exit(1)


def _print_check(found: Checked, out: Path) -> None:
    for finding in found.findings:
        done = finding.done or f"LEFT: {finding.advice}"
        typer.echo(f"{finding.what} – {done}")
    state = "something is left to do" if found.left else "all is well"
    typer.echo(
        f"{out}: {found.clips} clips, {found.windows} windows, {found.files} files in "
        f"{found.seconds:.1f} s; {found.changed} files changed since, {found.begun} sounds half "
        f"embedded: {state}"
    )


def _wish(kind: str | None, memory: str | None) -> Wish | None:
    """None where nothing is asked for: what was asked for before goes on."""
    if kind is None and memory is None:
        return None
    if kind is not None and kind not in get_args(Asked):
        raise typer.BadParameter(f"--kind is one of {', '.join(get_args(Asked))}")
    given = None
    if memory is not None:
        size = re.fullmatch(r"(\d+)([KMGT]?)B?", memory.upper())
        if size is None:
            raise typer.BadParameter("--memory is a number of bytes, as 500M or 4G")
        given = int(size[1]) * 1024 ** " KMGT".index(size[2] or " ")
    return Wish(cast(Asked, kind or "auto"), given)


def _print_kinds(found: Sequence[Measured], as_json: bool) -> None:
    if as_json:
        typer.echo(json.dumps({"kinds": [vars(each) for each in found]}))
        return
    table = Table("kind", "recall@10", "bytes a vector", "p50 in ms", "built in s")
    for each in found:
        built = "served now" if each.seconds is None else f"{each.seconds:.1f}"
        figures = f"{each.recall:.4f}", str(each.bytes), f"{1000 * each.p50:.2f}"
        table.add_row(each.kind, *figures, built)
    Console().print(table)


def _print_files(what: str, found: Sequence[tuple[str, str]]) -> None:
    if not found:
        return
    table = Table(what, "because")
    for path, reason in found[:SHOWN_LEFT_OUT]:
        table.add_row(escape(path), escape(reason))
    Console(stderr=True).print(table)
    more = len(found) - SHOWN_LEFT_OUT
    if more > 0:
        typer.echo(f"and {more} more; --json lists all", err=True)


def _print(report: progress.Report, library: Path, out: str) -> None:
    _print_files("left out", report.skipped)
    _print_files("heard in part", report.damaged)
    deleted = f", {report.deleted} left out as deleted" if report.deleted else ""
    typer.echo(
        f"{out}: {report.clips} clips in {report.windows} windows; {report.embedded} embedded, "
        f"{report.new} files new, {report.changed} changed, {report.moved} moved, {report.gone} "
        f"gone, {report.unchanged} unchanged, {report.identical} identical to others, "
        f"{len(report.skipped)} left out, {report.hidden} hidden{deleted}"
    )
    if report.slowest is not None:
        shares = ", ".join(f"{part} {share:.0%}" for part, share in report.busy.items())
        typer.echo(f"slowest part: {report.slowest} (busy: {shares})", err=True)
    if report.clips:
        typer.echo(f'search it with: {shlex.join(["m2d-clap", "search", out])} "a dog barking"')
    else:
        typer.echo(f"no sound was found in {library}: is it the right folder?", err=True)
