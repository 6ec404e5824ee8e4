"""The command `convert`: a published data set becomes a manifest."""

import dataclasses
import difflib
import json
from pathlib import Path
from typing import Annotated

import typer

from m2d_clap.model.errors import ClapError
from m2d_clap.training.layouts import LAYOUTS, Layout, detect
from m2d_clap.training.layouts import convert as write

AUTO = "auto"


def convert(
    layout: Annotated[
        str | None, typer.Argument(help=f"{AUTO} (by its tables) | {' | '.join(LAYOUTS)}")
    ] = None,
    source: Annotated[Path | None, typer.Argument(help="the data set's folder")] = None,
    out: Annotated[
        Path | None, typer.Argument(help="the manifest to write", metavar="OUT.csv")
    ] = None,
    list_layouts: Annotated[bool, typer.Option("--list", help="list the data sets")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="for machines")] = False,
) -> None:
    """Write the manifest of a published data set that you have; sounds not there are left out."""
    if list_layouts:
        _list(as_json)
        return
    if layout is None or source is None or out is None:
        raise typer.BadParameter("give LAYOUT, SOURCE and OUT.csv, or --list")
    if not source.is_dir():
        raise typer.BadParameter(f"{source} is no folder")
    chosen = _layout(layout, source)
    report = write(chosen, source, out)
    if as_json:
        told = {"layout": chosen.name, "manifest": str(out)} | dataclasses.asdict(report)
        typer.echo(json.dumps(told))
        return
    typer.echo(f"{chosen.name}: {report.rows} sounds in {out}")
    if report.missing:
        typer.echo(f"{report.missing} left out: their file is not there", err=True)
    typer.echo(f"licence: {chosen.licence}", err=True)


def _layout(name: str, source: Path) -> Layout:
    if name != AUTO:
        if name in LAYOUTS:
            return LAYOUTS[name]
        near = difflib.get_close_matches(name.lower(), LAYOUTS, 1)
        hint = f"; did you mean {near[0]}?" if near else ""
        raise typer.BadParameter(f"LAYOUT is {AUTO} or one of {', '.join(LAYOUTS)}{hint}")
    found = detect(source)
    if found is None:
        raise ClapError(
            f"{source} holds the tables of none of {', '.join(LAYOUTS)}; it has to be the folder "
            "they lie in as published"
        )
    return LAYOUTS[found]


def _list(as_json: bool) -> None:
    if as_json:
        columns = ("name", "summary", "url", "licence", "audio")
        told = [{name: getattr(layout, name) for name in columns} for layout in LAYOUTS.values()]
        typer.echo(json.dumps({"layouts": told}))
        return
    for layout in LAYOUTS.values():
        typer.echo(f"{layout.name}: {layout.summary}\n    {layout.url}\n    {layout.licence}")
