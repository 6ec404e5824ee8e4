"""The commands about an index that is there: `m2d-clap library …`."""

import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer

from m2d_clap.index import backup as backups
from m2d_clap.index import live, transfer
from m2d_clap.index.difference import difference
from m2d_clap.index.duplicates import AT_LEAST, LEAST, Group, duplicates
from m2d_clap.index.store import Index
from m2d_clap.model.description import describe

SHOWN = 20

commands = typer.Typer(help="Look after an index: copies, exchange, what is in it twice.")

_Folder = Annotated[Path, typer.Argument(metavar="INDEX", help="the index folder")]
_Json = Annotated[bool, typer.Option("--json", help="for machines")]


@commands.command("backup")
def backup(
    index: _Folder,
    to: Annotated[Path, typer.Argument(metavar="FOLDER", help="a new folder for the copy")],
    as_json: _Json = False,
) -> None:
    """Copy an index, also while it is served; every file with its sha-256.

    m2d-clap library backup sounds.index backups/monday
    """
    size = backups.back_up(index, to)
    _say(as_json, {"backup": str(to), "bytes": size}, f"{to}: {size / 1e6:.1f} MB")


@commands.command("restore")
def restore(
    backup: Annotated[Path, typer.Argument(metavar="FOLDER", help="what `backup` wrote")],
    index: _Folder,
    replace: Annotated[
        bool, typer.Option("--replace", help="put it in the place of an index, which is kept")
    ] = False,
    as_json: _Json = False,
) -> None:
    """Make an index of a backup, once every byte of it is verified; a server takes it in by itself.

    m2d-clap library restore backups/monday sounds.index --replace
    """
    before = backups.restore(backup, index, replace)
    kept = None if before is None else str(before)
    text = f"{index}: restored" + ("" if before is None else f"; the one before is {before}")
    _say(as_json, {"index": str(index), "before": kept}, text)


@commands.command("export")
def export(
    index: _Folder,
    to: Annotated[
        Path, typer.Argument(metavar="PLACE", help="a new folder, or a file that ends in .parquet")
    ],
    as_json: _Json = False,
) -> None:
    """Write vectors (NumPy) and clips with their metadata (JSON lines), or all in one Parquet file.

    m2d-clap library export sounds.index exported

    m2d-clap library export sounds.index exported.parquet
    """
    clips, windows = transfer.export(index, to)
    _say(as_json, {"clips": clips, "windows": windows}, f"{to}: {clips} clips, {windows} windows")


@commands.command("import")
def import_(
    exported: Annotated[Path, typer.Argument(metavar="PLACE", help="what `export` wrote")],
    index: Annotated[Path, typer.Argument(metavar="INDEX", help="a new index folder")],
    as_json: _Json = False,
) -> None:
    """Make an index of an export without reading a sound; `m2d-clap index` goes on with it.

    m2d-clap library import exported sounds.index
    """
    clips, windows = transfer.import_(exported, index)
    text = f"{index}: {clips} clips, {windows} windows"
    _say(as_json, {"clips": clips, "windows": windows}, text)


@commands.command("duplicates")
def show_duplicates(
    index: _Folder,
    at_least: Annotated[
        float,
        typer.Option(help="the cosine from which on two sounds count as one", min=LEAST, max=1),
    ] = AT_LEAST,
    as_json: _Json = False,
) -> None:
    """List sounds that are there twice, or nearly: copies, other codings, other cuts.

    m2d-clap library duplicates sounds.index --at-least 0.95
    """
    groups = duplicates(Index.open(index), at_least)
    if as_json:
        typer.echo(json.dumps({"groups": [_group(group) for group in groups]}))
        return
    for group in groups:
        typer.echo(f"cosine {group.cosine:.3f}")
        for clip in group.clips:
            for path in clip.paths:
                typer.echo(f"  {clip.seconds:8.2f} s  {path}")
    files = sum(len(clip.paths) for group in groups for clip in group.clips)
    typer.echo(f"{files} files in {len(groups)} groups", err=True)


@commands.command("diff")
def diff(
    index: _Folder,
    library: Annotated[Path | None, typer.Option(help="default: that of the index")] = None,
    checkpoint: Annotated[Path | None, typer.Option(help="one you may go over to")] = None,
    as_json: _Json = False,
) -> None:
    """Say what `m2d-clap index` would take in, without doing it; exit code 1 where that is anything.

    m2d-clap library diff sounds.index --checkpoint clap-2025
    """
    fingerprint = "" if checkpoint is None else describe(checkpoint).fingerprint
    found = difference(index, library, fingerprint)
    if as_json:
        typer.echo(json.dumps(asdict(found)))
    else:
        moved = [f"{before} → {now}" for before, now in found.moved]
        kinds = {"new": found.new, "changed": found.changed, "moved": moved, "gone": found.gone}
        kinds["described"] = found.described
        for kind, paths in kinds.items():
            for path in paths[:SHOWN]:
                typer.echo(f"{kind:9} {path}")
            if len(paths) > SHOWN:
                typer.echo(f"{kind:9} and {len(paths) - SHOWN} more; --json lists all")
        if found.checkpoint:
            typer.echo("another checkpoint: every sound would be embedded (`index --anew`)")
        if not found:
            typer.echo("nothing differs")
    if found:
        raise typer.Exit(1)


@commands.command("deleted")
def show_deleted(index: _Folder, as_json: _Json = False) -> None:
    """List the library's sounds that were deleted through the service: their files are left out.

    m2d-clap library deleted sounds.index
    """
    _show_deleted(live.deleted(index), as_json)


@commands.command("undelete")
def undelete(
    index: _Folder,
    clips: Annotated[
        list[str] | None,
        typer.Argument(metavar="CLIP", help="ids or paths, as `deleted` lists them"),
    ] = None,
    every: Annotated[bool, typer.Option("--all", help="all of them")] = False,
    as_json: _Json = False,
) -> None:
    """Take deleted sounds back: the next `m2d-clap index` reads their files again.

    Uploads have no file to come back from.

    m2d-clap library undelete sounds.index birds/wren.wav
    """
    if every == bool(clips):
        raise typer.BadParameter("name the sounds, or give --all")
    _show_deleted(live.undelete(index, None if every else clips), as_json)
    typer.echo("the next run of `m2d-clap index` takes them in", err=True)


def _show_deleted(found: Mapping[str, list[str]], as_json: bool) -> None:
    if as_json:
        clips = [{"id": clip, "paths": paths} for clip, paths in found.items()]
        typer.echo(json.dumps({"deleted": clips}))
        return
    for clip, paths in found.items():
        for path in paths or ["no file of the library has it now"]:
            typer.echo(f"{clip}  {path}")
    typer.echo(f"{len(found)} sounds", err=True)


def _group(group: Group) -> dict[str, Any]:
    clips = [{"id": c.id, "seconds": c.seconds, "paths": list(c.paths)} for c in group.clips]
    return {"cosine": group.cosine, "clips": clips}


def _say(as_json: bool, facts: Mapping[str, Any], text: str) -> None:
    typer.echo(json.dumps(facts) if as_json else text)
