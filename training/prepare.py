"""The command `prepare`: a manifest's sounds and captions, ready for many runs."""

import json
import shlex
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from m2d_clap.model.checkpoint import Checkpoint
from m2d_clap.training.captions import caption_bank
from m2d_clap.training.distributed import device_of
from m2d_clap.training.inherit import following
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
    parent: Annotated[
        Path | None, typer.Option(help="checkpoint that train will get: its front end is taken")
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
    on = device_of(device)
    if parent is not None:
        if recipe.parent is None:
            raise typer.BadParameter(f"stage {stage} starts from nothing: it knows no --parent")
        recipe = following(recipe, Checkpoint.load(parent).config)
    every = read_manifest(manifest)
    rows = licensed(every, without_licence or [])
    check_files(rows)
    refuse_leaks_of(rows, every)
    columns = (
        *(TextColumn("{task.description}"), BarColumn()),
        *(MofNCompleteColumn(), TimeRemainingColumn()),
    )
    shards = made = 0
    with Progress(*columns, console=Console(stderr=True)) as bar:
        task = bar.add_task("log-mels", total=len(rows))
        done = 0
        for split in dict.fromkeys(row.split for row in rows):
            part = [row for row in rows if row.split == split]
            found = load_log_mels(
                part,
                recipe.model.front_end,
                out,
                lambda n, before=done: bar.update(task, completed=before + n),  # type: ignore[misc]
            )
            made += found.made
            shards += verify(part, recipe.model.front_end, out)
            done += len(part)
        learning = [row for row in rows if row.split == "train"]
        if recipe.embeds_captions:
            captions = len({(text, row.label) for row in learning for text in row.captions})
            task = bar.add_task("captions", total=captions)
            caption_bank(
                *(learning, recipe.model.text, out, True, text_encoder_path, recipe.wordings),
                on,
                lambda n: bar.update(task, completed=n),
            )
    if as_json:
        told = {"sounds": len(rows), "shards": shards, "made": made, "cache": str(out)}
        typer.echo(json.dumps(told))
        return
    typer.echo(
        f"{out}: {len(rows)} sounds in {shards} shards, {made} made anew, every checksum right"
    )
    given: list[tuple[str, Path | str | None]] = [
        ("--parent", parent or ("CHECKPOINT" if recipe.parent is not None else None)),
        *(("--without-licence", word) for word in without_licence or ()),
        ("--text-encoder-path", text_encoder_path),
        ("--device", device if device != "auto" else None),
        ("--cache", out),
    ]
    words = ["m2d-clap", "train", str(manifest), "--stage", stage]
    words += [word for option, value in given if value for word in (option, str(value))]
    typer.echo(f"train on them with: {shlex.join(words)}")
