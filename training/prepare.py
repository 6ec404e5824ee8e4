"""The command `prepare`: a manifest's sounds and captions, ready for many runs."""

import json
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from m2d_clap.training.captions import caption_bank
from m2d_clap.training.distributed import device_of
from m2d_clap.training.leaks import refuse_leaks_of
from m2d_clap.training.manifest import check_files, licensed, read_manifest
from m2d_clap.training.shards import load_log_mels, verify
from m2d_clap.training.stages import STAGES


def prepare(
    manifest: Annotated[Path, typer.Argument(help="CSV: file, caption(s), label(s), split")],
    out: Annotated[Path, typer.Argument(help="the folder of shards; train takes it as --cache")],
    stage: Annotated[str, typer.Option(help="whose front end and captions' encoder")] = "1-mini",
    without_licence: Annotated[
        list[str] | None, typer.Option(help="leave out rows as the same option of train does")
    ] = None,
    text_encoder_path: Annotated[
        Path | None, typer.Option(help="folder of the captions' encoder")
    ] = None,
    device: Annotated[
        str, typer.Option(help="of the captions' encoder: auto | cpu | cuda")
    ] = "auto",
    as_json: Annotated[bool, typer.Option("--json", help="for machines")] = False,
) -> None:
    """Compute log-mels and caption embeddings once; again, to go on or to check every shard."""
    if stage not in STAGES:
        raise typer.BadParameter(f"--stage is one of {', '.join(STAGES)}")
    recipe = STAGES[stage]
    every = read_manifest(manifest)
    rows = licensed(every, without_licence or [])
    check_files(rows)
    refuse_leaks_of(rows, every)
    columns = (
        *(TextColumn("{task.description}"), BarColumn()),
        *(MofNCompleteColumn(), TimeRemainingColumn()),
    )
    shards = 0
    with Progress(*columns, console=Console(stderr=True)) as bar:
        task = bar.add_task("log-mels", total=len(rows))
        done = 0
        for split in dict.fromkeys(row.split for row in rows):
            part = [row for row in rows if row.split == split]
            load_log_mels(
                part,
                recipe.model.front_end,
                out,
                lambda n, before=done: bar.update(task, completed=before + n),  # type: ignore[misc]
            )
            shards += verify(part, recipe.model.front_end, out)
            done += len(part)
        learning = [row for row in rows if row.split == "train"]
        if recipe.losses.contrast and not recipe.learns_text:
            captions = len({(text, row.label) for row in learning for text in row.captions})
            task = bar.add_task("captions", total=captions)
            caption_bank(
                *(learning, recipe.model.text, out, True, text_encoder_path, recipe.wordings),
                device_of(device),
                lambda n: bar.update(task, completed=n),
            )
    if as_json:
        typer.echo(json.dumps({"sounds": len(rows), "shards": shards, "cache": str(out)}))
        return
    typer.echo(f"{out}: {len(rows)} sounds in {shards} shards, every checksum right")
    typer.echo(f"train on them with: m2d-clap train {manifest} --stage {stage} --cache {out}")
