"""Commands about learning: `train` and `evaluate`."""

import dataclasses
import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated

import torch
import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from m2d_clap.model import Checkpoint, Clap, bundled
from m2d_clap.model.config import FrontEndConfig
from m2d_clap.model.errors import ClapError
from m2d_clap.training.captions import caption_bank
from m2d_clap.training.data import load_log_mels
from m2d_clap.training.evaluate import evaluate as score
from m2d_clap.training.loop import Trainer, TrainingSet
from m2d_clap.training.manifest import Row, read_manifest
from m2d_clap.training.procedural import procedural_rows
from m2d_clap.training.run import Status, Validation, run
from m2d_clap.training.stages import STAGES

CACHE = Path("runs/cache")


def register(app: typer.Typer) -> None:
    """Adds this package's commands to the `m2d-clap` script."""
    app.command()(train)
    app.command()(evaluate)


def train(
    manifest: Annotated[
        Path | None, typer.Argument(help="CSV: file, caption(s), label, split")
    ] = None,
    out: Annotated[Path, typer.Option("--out", help="the run folder")] = Path("runs/run"),
    stage: Annotated[str, typer.Option(help=" | ".join(STAGES))] = "1-mini",
    seed: Annotated[int, typer.Option(help="of everything random")] = 0,
    epochs: Annotated[int | None, typer.Option(help="instead of the stage's", min=1)] = None,
    batch: Annotated[int | None, typer.Option(help="instead of the stage's", min=2)] = None,
    base_rate: Annotated[float | None, typer.Option(help="instead of the stage's")] = None,
    without_licence: Annotated[
        list[str] | None,
        typer.Option(help="leave out rows whose licence column has this word; repeatable"),
    ] = None,
    procedural: Annotated[
        int, typer.Option(help="add so many made-up sounds of every kind", min=0)
    ] = 0,
    zero_shot_where: Annotated[
        str | None, typer.Option(help="COLUMN=START: rows that count for zero-shot")
    ] = None,
    every: Annotated[int, typer.Option(help="epochs between checkpoints", min=1)] = 5,
    device: Annotated[str, typer.Option(help="auto | cpu | cuda")] = "auto",
    threads: Annotated[
        int | None, typer.Option(help="CPU threads; part of exactness", min=1)
    ] = None,
    cache: Annotated[Path, typer.Option(help="where log-mels and captions are kept")] = CACHE,
    list_stages: Annotated[bool, typer.Option("--list", help="list the stages")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="for machines")] = False,
) -> None:
    """Train on your own audio-text pairs; the same command goes on where it was stopped."""
    if list_stages:
        _list(as_json)
        return
    if manifest is None:
        raise typer.BadParameter("give a MANIFEST, or --list")
    if stage not in STAGES:
        raise typer.BadParameter(f"--stage is one of {', '.join(STAGES)}")
    if threads:
        torch.set_num_threads(threads)
    recipe = STAGES[stage]
    recipe = dataclasses.replace(
        recipe,
        epochs=epochs or recipe.epochs,
        batch=batch or recipe.batch,
        base_rate=base_rate or recipe.base_rate,
    )
    rows = _licensed(read_manifest(manifest), without_licence or [])
    learning = [row for row in rows if row.split == "train"]
    valid = [row for row in rows if row.split == "valid"]
    if not learning:
        raise ClapError(f"{manifest} has no row in the split 'train' (that may be used)")
    if procedural:
        learning += procedural_rows(cache, procedural, recipe.model.front_end.sample_rate)
    with _progress() as bar:
        sounds = _sounds(learning, recipe.model.front_end, cache, bar)
        bank = caption_bank(learning, recipe.model.text, cache)
        trainer = Trainer(recipe, TrainingSet(sounds, bank), seed, _device(device))
        validation = None
        if valid:
            heard = _sounds(valid, recipe.model.front_end, cache, bar)
            validation = Validation(valid, heard, _where(zero_shot_where))
        task = bar.add_task(f"stage {stage}", total=trainer.steps, note="")

        def show(status: Status) -> None:
            note = f"epoch {status.epoch:.1f}  loss {status.measured['loss']:.3f}"
            if status.best >= 0:
                note += f"  best valid mAP {status.best:.3f}"
            bar.update(task, completed=status.step, note=note)

        settings = {
            "stage": dataclasses.asdict(recipe),
            "seed": seed,
            "sounds": len(learning),
            "without_licence": sorted(without_licence or []),
            "procedural": procedural,
        }
        try:
            best = run(out, trainer, settings, validation, show, every)
        except KeyboardInterrupt:
            typer.echo("stopped; the same command goes on from the last checkpoint", err=True)
            sys.exit(1)
    typer.echo(json.dumps({"checkpoint": str(best)}) if as_json else f"checkpoint: {best}")


def evaluate(
    manifest: Annotated[Path, typer.Argument(help="CSV: file, caption(s), label, split")],
    checkpoint: Annotated[Path | None, typer.Option(help="default: the bundled one")] = None,
    split: Annotated[str, typer.Option(help="which rows")] = "test",
    zero_shot_where: Annotated[
        str | None, typer.Option(help="COLUMN=START: rows that count for zero-shot")
    ] = None,
    cache: Annotated[Path, typer.Option(help="where log-mels are kept")] = CACHE,
    text_encoder_path: Annotated[
        Path | None, typer.Option(help="folder of the text encoder, where it is not inside")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="for machines")] = False,
) -> None:
    """Score a checkpoint on a manifest: retrieval both ways and zero-shot accuracy."""
    clap: Clap = Checkpoint.load(checkpoint or bundled()).clap()
    clap.text_encoder_path = text_encoder_path
    rows = [row for row in read_manifest(manifest) if row.split == split]
    with _progress() as bar:
        sounds = _sounds(rows, clap.config.front_end, cache, bar)
    result = score(clap, rows, sounds, _where(zero_shot_where))
    if as_json:
        typer.echo(json.dumps({"split": split, **dataclasses.asdict(result)}))
        return
    typer.echo(f"{split} split, {result.clips} clips")
    for name, r in (("text→audio", result.text_to_audio), ("audio→text", result.audio_to_text)):
        typer.echo(
            f"  {name}: R@1 {r.recall_1:.3f}  R@5 {r.recall_5:.3f}  R@10 {r.recall_10:.3f}  "
            f"median rank {r.median_rank:g}  mAP {r.mean_ap:.3f}  mAP@10 {r.map_10:.3f}  (N {r.n})"
        )
    if result.zero_shot is not None:
        z = result.zero_shot
        typer.echo(f"  zero-shot: accuracy {z.accuracy:.3f} over {z.classes} classes (N {z.n})")


def _list(as_json: bool) -> None:
    if as_json:
        typer.echo(json.dumps({"stages": [dataclasses.asdict(s) for s in STAGES.values()]}))
        return
    for stage in STAGES.values():
        typer.echo(f"{stage.name}: {stage.epochs} epochs, batch {stage.batch}, {stage.model.name}")


def _licensed(rows: Sequence[Row], words: Sequence[str]) -> list[Row]:
    return [r for r in rows if not any(w in r.columns.get("licence", "") for w in words)]


def _where(condition: str | None) -> Callable[[Row], bool]:
    if condition is None:
        return lambda row: bool(row.label)
    column, equals, start = condition.partition("=")
    if not equals:
        raise typer.BadParameter("--zero-shot-where is COLUMN=START")
    return lambda row: row.columns.get(column, "").startswith(start)


def _device(name: str) -> str:
    return ("cuda" if torch.cuda.is_available() else "cpu") if name == "auto" else name


def _progress() -> Progress:
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.completed}/{task.total}  {task.fields[note]}"),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        console=Console(stderr=True),
    )


def _sounds(
    rows: Sequence[Row], front_end: FrontEndConfig, cache: Path, bar: Progress
) -> list[torch.Tensor]:
    task = bar.add_task("log-mels", total=len(rows), note="")
    try:
        return load_log_mels(rows, front_end, cache, lambda n: bar.update(task, completed=n))
    finally:
        bar.remove_task(task)
