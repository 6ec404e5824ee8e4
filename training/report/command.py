"""The command `report`: what a run came to, as one page."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import torch
import typer
from torch import Tensor

from m2d_clap.model.checkpoint import Checkpoint
from m2d_clap.training.evaluation.command import rows_where
from m2d_clap.training.manifest import Row, licensed, read_manifest
from m2d_clap.training.report.folder import RunFolder
from m2d_clap.training.report.writing import write_report
from m2d_clap.training.shards import load_log_mels
from m2d_clap.training.view import View

CACHE = Path("runs/cache")


def report(
    run: Annotated[Path, typer.Argument(help="a run folder, finished or not")],
    manifest: Annotated[Path, typer.Argument(help="CSV: file, caption(s), label(s), split")],
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
    folder = RunFolder.read(run)
    rows = licensed(read_manifest(manifest), folder.without_licence)
    on = ("cuda" if torch.cuda.is_available() else "cpu") if device == "auto" else device
    with View() as view:

        def load(checkpoint: Checkpoint, chosen: Sequence[Row]) -> Sequence[Tensor]:
            count = view.counting("log-mels", len(chosen))
            return load_log_mels(chosen, checkpoint.config.front_end, cache, count)

        chosen = [row for row in rows if row.split == split]
        written = write_report(folder, split, chosen, load, counts, on, text_encoder_path)
    typer.echo(json.dumps({"report": str(written)}) if as_json else f"report: {written}")
