"""The command `merge`: manifests become one, without the sounds of others that must stay unheard."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from m2d_clap.model.errors import ClapError
from m2d_clap.training.leaks import shared
from m2d_clap.training.manifest import SPLITS, Row, is_fold, read_manifest, write_manifest


def merge(
    manifests: Annotated[list[Path], typer.Argument(help="CSVs; their rows follow one another")],
    out: Annotated[Path, typer.Option("--out", help="the manifest to write")] = ...,  # type: ignore[assignment]
    split: Annotated[
        list[str] | None, typer.Option(help="only rows of this split; repeatable")
    ] = None,
    without: Annotated[
        list[Path] | None,
        typer.Option(help="leave out what stands in this manifest, in any split; repeatable"),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="for machines")] = False,
) -> None:
    """Put manifests together, leaving out recordings, files and contents that others hold.

    m2d-clap merge wavcaps.csv mine.csv --without esc50.csv --without clotho.csv --out pairs.csv
    """
    for name in split or ():
        if name not in SPLITS and not is_fold(name):
            raise typer.BadParameter(f"--split is {', '.join(SPLITS)} or a fold, not {name!r}")
    rows = [row for manifest in manifests for row in read_manifest(manifest)]
    chosen = [row for row in rows if not split or row.split in split]
    kept = unheard(chosen, [row for manifest in without or () for row in read_manifest(manifest)])
    if not kept:
        raise ClapError(f"nothing is left of {len(rows)} rows: {out} was not written")
    write_manifest(kept, out)
    left = len(chosen) - len(kept)
    if as_json:
        typer.echo(json.dumps({"manifest": str(out), "rows": len(kept), "left_out": left}))
        return
    typer.echo(f"{out}: {len(kept)} rows, {left} left out")


def unheard(rows: Sequence[Row], others: Sequence[Row]) -> list[Row]:
    """The rows that share no recording, file or content with any of `others`, whatever the splits.

    Raises LeakError for a file that cannot be read.
    """
    if not others:
        return list(rows)
    heard = shared(rows, others)
    return [row for row, known in zip(rows, heard, strict=True) if not known]
