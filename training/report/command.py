"""The command `report`: what a run came to, as one page."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer
from torch import Tensor

from m2d_clap.model.checkpoint import Checkpoint
from m2d_clap.training.distributed import device_of
from m2d_clap.training.evaluation.command import rows_where
from m2d_clap.training.manifest import Row, licensed, read_manifest
from m2d_clap.training.report.folder import RunFolder
from m2d_clap.training.report.writing import write_report
from m2d_clap.training.shards import load_log_mels
from m2d_clap.training.view import View

CACHE = Path("runs/cache")


def report(
    run: Annotated[Path, typer.Argument(help="a run folder, finished or not")],
    manifest: Annotated[
        Path | None,
        typer.Argument(help="CSV: file, caption(s), label(s), split; not for a captioner's run"),
    ] = None,
    split: Annotated[str, typer.Option(help="which rows are scored")] = "valid",
    zero_shot_where: Annotated[
        str | None, typer.Option(help="COLUMN=START: rows that count for zero-shot")
    ] = None,
    device: Annotated[str, typer.Option(help="auto | cpu | cuda")] = "auto",
    cache: Annotated[Path, typer.Option(help="where log-mels are kept")] = CACHE,
    text_encoder_path: Annotated[
        Path | None, typer.Option(help="folder of the text encoder, where it is not inside")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="for machines")] = False,
) -> None:
    """Write RUN/report.html: curves, retrieval, classes, confusions and a map, in one file."""
    counts = rows_where(zero_shot_where)
    on = device_of(device)
    folder = RunFolder.read(run)
    if manifest is None and not folder.captions:
        raise typer.BadParameter("give the MANIFEST whose rows are scored, behind the run folder")
    every = read_manifest(manifest) if manifest is not None else []
    rows = licensed(every, folder.without_licence)
    with View() as view:

        def load(checkpoint: Checkpoint, chosen: Sequence[Row]) -> Sequence[Tensor]:
            count = view.counting("log-mels", len(chosen))
            return load_log_mels(chosen, checkpoint.config.front_end, cache, count)

        chosen = [row for row in rows if row.split == split]
        written = write_report(folder, split, chosen, load, counts, on, text_encoder_path)
    typer.echo(json.dumps({"report": str(written)}) if as_json else f"report: {written}")
