"""Commands about learning: `train`, and those of the packages below it."""

import contextlib
import dataclasses
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, cast, get_args

import torch
import typer

from m2d_clap.model import Checkpoint, Precision, fastest_precision
from m2d_clap.model.config import FrontEndConfig
from m2d_clap.model.errors import ClapError
from m2d_clap.model.text_encoder import find_tokenizer
from m2d_clap.training import distributed, panels
from m2d_clap.training.batches import TrainingSet
from m2d_clap.training.captioning.command import train_captioner
from m2d_clap.training.captioning.recipe import CAPTION_STAGES, CaptionStage
from m2d_clap.training.captions import Progress, caption_bank
from m2d_clap.training.classes import (
    balanced_weights,
    class_names,
    class_table,
    known_rows,
    unknown_labels,
)
from m2d_clap.training.evaluation.command import rows_where
from m2d_clap.training.execution import Execution, within_memory
from m2d_clap.training.inherit import following, taught, text_weights
from m2d_clap.training.leaks import refuse_leaks_of
from m2d_clap.training.lessons import lessons
from m2d_clap.training.loop import Trainer
from m2d_clap.training.manifest import Row, check_files, identity, licensed, read_manifest
from m2d_clap.training.options import changed, refuse_all, refuse_unknown
from m2d_clap.training.panels import grouped
from m2d_clap.training.report.writing import report_of_run
from m2d_clap.training.run import run
from m2d_clap.training.shards import load_log_mels
from m2d_clap.training.silence import shortened
from m2d_clap.training.stages import STAGES, Stage
from m2d_clap.training.student import student_weights
from m2d_clap.training.validation import validation_of
from m2d_clap.training.view import View

CACHE = Path("runs/cache")
AHEAD_OF_CUDA = 4
"""Steps whose examples are made in advance: a thread makes about 3,000 crops a second."""


@grouped(panels.TRAIN)
def train(
    manifest: Annotated[
        Path | None, typer.Argument(help="CSV: file, caption(s), label, split")
    ] = None,
    out: Annotated[Path, typer.Option("--out", help="the run folder")] = Path("runs/run"),
    stage: Annotated[str, typer.Option(help=" | ".join((*STAGES, *CAPTION_STAGES)))] = "1-mini",
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
    patience: Annotated[
        int,
        typer.Option(
            help="end when the valid score has not risen for so many epochs; 0: never", min=0
        ),
    ] = 0,
    texts: Annotated[
        list[Path] | None,
        typer.Option(help=".txt, .csv or .json of texts a teacher explains besides; repeatable"),
    ] = None,
    parent: Annotated[
        Path | None, typer.Option(help="checkpoint of the stage before, for stages that have one")
    ] = None,
    teacher: Annotated[
        list[Path] | None,
        typer.Option(help="checkpoint that a stage with an ensemble learns from; repeatable"),
    ] = None,
    text_encoder_path: Annotated[
        Path | None, typer.Option(help="folder of the text encoder the captions go through")
    ] = None,
    device: Annotated[str, typer.Option(help="auto | cpu | cuda")] = "auto",
    precision: Annotated[
        str, typer.Option(help="auto (bfloat16 where the device has it) | float32 | bfloat16")
    ] = "auto",
    threads: Annotated[
        int | None, typer.Option(help="CPU threads; part of exactness", min=1)
    ] = None,
    accumulate: Annotated[
        int, typer.Option(help="work on a batch in so many parts, to fit a small device", min=1)
    ] = 1,
    checkpoint_activations: Annotated[
        bool, typer.Option(help="compute activations twice rather than keep them")
    ] = False,
    compiled: Annotated[
        bool | None,
        typer.Option("--compile/--no-compile", help="torch.compile the blocks (default: on CUDA)"),
    ] = None,
    cache: Annotated[Path, typer.Option(help="where log-mels and captions are kept")] = CACHE,
    list_stages: Annotated[bool, typer.Option("--list", help="list the stages")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="for machines")] = False,
) -> None:
    """Train on your own audio-text pairs; the same command goes on where it was stopped.

    m2d-clap train pairs.csv --out runs/mine

    m2d-clap train pairs.csv --stage 2.1 --parent clap-2025 --epochs 5 --batch 256 --out runs/pairs

    m2d-clap train pairs.csv --stage caption-mini --parent runs/mine/best --out runs/captions

    torchrun --nproc-per-node 4 .venv/bin/m2d-clap train pairs.csv --stage 1 --out runs/1

    Step by step: m2d-clap guide train | paper | fine-tune
    """
    if list_stages:
        _list(as_json)
        return
    if manifest is None:
        raise typer.BadParameter("give a MANIFEST, or --list")
    if stage not in (*STAGES, *CAPTION_STAGES):
        raise typer.BadParameter(f"--stage is one of {', '.join((*STAGES, *CAPTION_STAGES))}")
    if precision not in ("auto", *get_args(Precision)):
        raise typer.BadParameter("--precision is auto, float32 or bfloat16")
    if base_rate is not None and base_rate <= 0:
        raise typer.BadParameter("--base-rate is above 0")
    if threads:
        torch.set_num_threads(threads)
    if stage in CAPTION_STAGES:
        strange = {
            "--teacher": teacher, "--texts": texts, "--zero-shot-where": zero_shot_where,
            "--precision": precision != "auto", "--accumulate": accumulate > 1,
            "--checkpoint-activations": checkpoint_activations, "--compile": compiled,
            "--patience": patience,
        }  # fmt: skip
        refuse_all(stage, strange)
        speaking = changed(CAPTION_STAGES[stage], epochs, batch, base_rate)
        _captions(
            speaking, manifest, out, parent, seed, without_licence or [], procedural, every,
            text_encoder_path, device, cache, as_json,
        )  # fmt: skip
        return
    recipe = changed(STAGES[stage], epochs, batch, base_rate)
    counts = rows_where(zero_shot_where)
    on = distributed.device_of(device)
    exact = fastest_precision(on) if precision == "auto" else cast(Precision, precision)
    distributed.join(on)
    fast = on.startswith("cuda")
    execution = Execution(
        accumulate=accumulate,
        checkpoint_activations=checkpoint_activations,
        compiled=fast if compiled is None else compiled,
        ahead=AHEAD_OF_CUDA if fast else 1,
    )
    refuse_unknown(recipe, parent, texts, teacher, zero_shot_where)
    first = Checkpoint.load(parent) if parent is not None else None
    teachers = [Checkpoint.load(path) for path in teacher or []]
    if first is not None:
        recipe = following(recipe, first.config)
    if teachers:
        recipe = taught(recipe, [teacher.config for teacher in teachers])
    learning, valid = _rows(
        manifest, without_licence or [], procedural, cache, recipe.model.front_end.sample_rate
    )
    settings: dict[str, Any] = {
        "seed": seed,
        "sounds": len(learning),
        "data": identity([*learning, *valid]),
        "without_licence": sorted(without_licence or []),
        "procedural": procedural,
        "parent": first and first.fingerprint,
        "teachers": [each.fingerprint for each in teachers],
        "processes": distributed.world(),
        "precision": exact,
        **execution.settings,
    }
    with View(shown=distributed.rank() == 0) as view, within_memory():
        sounds = _sounds(learning, recipe.model.front_end, cache, view) if recipe.hears else []
        recipe = shortened(recipe, sounds)
        settings["stage"] = dataclasses.asdict(recipe)
        captions = view.counting("captions", sum(len(row.captions) for row in learning))
        data = _training_set(
            recipe, learning, sounds, cache, text_encoder_path, texts or [], on, captions
        )
        if data.lessons is not None:
            settings["lessons"] = data.lessons.identity
        text = _first_text(recipe, data, text_encoder_path)
        trainer = Trainer(recipe, data, seed, on, first, text, exact, execution, teachers)
        trainer.polyak.text_encoder_path = text_encoder_path  # it is asked texts when it is scored
        if recipe.losses.labels:
            valid = _scored_by_labels(valid, data.class_names, view)
        heard = _sounds(valid, recipe.model.front_end, cache, view) if valid else []
        validation = validation_of(recipe, valid, heard, data.class_names, counts)
        view.begin(stage, recipe.epochs, trainer.plan.visits / trainer.plan.steps)
        with _stoppable():
            best = run(out, trainer, settings, validation, view.show, every, patience=patience)
        if trainer.step < trainer.steps:
            view.tell(f"ended: no better score on valid for {patience} epochs")
    if distributed.rank() == 0:
        page = report_of_run(out, valid, heard, counts, on, text_encoder_path)
        _say({"checkpoint": best, "report": page}, as_json)


@contextlib.contextmanager
def _stoppable() -> Iterator[None]:
    try:
        yield
    except KeyboardInterrupt:
        typer.echo("stopped; the same command goes on from the last checkpoint", err=True)
        raise typer.Exit(130) from None


def _say(said: Mapping[str, Path | None], as_json: bool) -> None:
    if as_json:
        typer.echo(json.dumps({name: path and str(path) for name, path in said.items()}))
    else:
        typer.echo("\n".join(f"{name}: {path}" for name, path in said.items() if path))


def _first_text(
    stage: Stage, data: TrainingSet, text_encoder_path: Path | None
) -> dict[str, torch.Tensor] | None:
    """The weights that a text encoder which learns begins with; None where it has its parent's."""
    if not _begins_text(stage):
        return None
    if stage.teacher is not None and data.lessons is not None:
        return student_weights(stage.model.text, stage.teacher, data.lessons, text_encoder_path)
    return text_weights(stage.model.text, text_encoder_path)


def _scored_by_labels(rows: list[Row], classes: Sequence[str], view: View) -> list[Row]:
    """Those whose labels are all learned; of the others is told."""
    known = known_rows(rows, classes)
    if len(known) < len(rows):
        view.tell(unknown_labels(rows, classes))
    return known


def _rows(
    manifest: Path, without_licence: list[str], procedural: int, cache: Path, rate: int
) -> tuple[list[Row], list[Row]]:
    """(train, valid), checked; made-up sounds are learned from only."""
    every = read_manifest(manifest)
    rows = licensed(every, without_licence)
    check_files(rows)
    distributed.once(lambda: refuse_leaks_of(rows, every))
    learning = [row for row in rows if row.split == "train"]
    if not learning:
        raise ClapError(f"{manifest} has no row in the split 'train' (that may be used)")
    if procedural:
        from m2d_clap.training.procedural import procedural_rows  # a second to import

        learning += procedural_rows(cache, procedural, rate)
    return learning, [row for row in rows if row.split == "valid"]


def _captions(
    stage: CaptionStage,
    manifest: Path,
    out: Path,
    parent: Path | None,
    seed: int,
    without_licence: list[str],
    procedural: int,
    every: int,
    text_encoder_path: Path | None,
    device: str,
    cache: Path,
    as_json: bool,
) -> None:
    first = Checkpoint.load(parent) if parent is not None else None
    rate = first.config.front_end.sample_rate if first is not None else 16000
    learning, valid = _rows(manifest, without_licence, procedural, cache, rate)
    settings = {
        "sounds": len(learning),
        "data": identity([*learning, *valid]),
        "without_licence": sorted(without_licence),
        "procedural": procedural,
        "parent": first and first.fingerprint,
    }
    with _stoppable():
        best = train_captioner(
            stage, first, learning, valid, out, cache, seed, distributed.device_of(device), every,
            settings, text_encoder_path,
        )  # fmt: skip
    _say({"checkpoint": best}, as_json)


def _training_set(
    stage: Stage,
    rows: Sequence[Row],
    sounds: Sequence[torch.Tensor],
    cache: Path,
    text_encoder_path: Path | None,
    texts: Sequence[Path],
    device: str,
    progress: Progress,
) -> TrainingSet:
    explained = None
    if stage.teacher is not None:
        words = find_tokenizer(stage.model.text, text_encoder_path).words
        explained = lessons(rows, texts, words, stage.teacher, cache, text_encoder_path)
    bank = caption_bank(
        *(rows, stage.model.text, cache, stage.embeds_captions, text_encoder_path, stage.wordings),
        device,
        progress,
    )
    weights = tuple(row.weight for row in rows)
    if len(set(weights)) == 1:
        weights = ()
    if not stage.losses.labels:
        return TrainingSet(sounds, bank, weights, lessons=explained)
    names = class_names(rows)
    table = class_table(rows, names, stage.labels == "one")
    if stage.visits:
        weights = balanced_weights(table, weights)
    return TrainingSet(sounds, bank, weights, table, names, explained)


def _begins_text(stage: Stage) -> bool:
    """Whether the text encoder starts from its published weights, not from the parent's."""
    return "text.".startswith(stage.fresh) if stage.fresh and stage.learns_text else False


def _list(as_json: bool) -> None:
    if as_json:
        listed = [dataclasses.asdict(stage) for stage in STAGES.values()]
        listed += [dataclasses.asdict(stage) for stage in CAPTION_STAGES.values()]
        typer.echo(json.dumps({"stages": listed}))
        return
    for stage in STAGES.values():
        typer.echo(f"{stage.name}: {stage.epochs} epochs, batch {stage.batch}, {stage.model.name}")
    for captions in CAPTION_STAGES.values():
        typer.echo(f"{captions.name}: {captions.epochs} epochs, batch {captions.batch}, captions")


def _sounds(
    rows: Sequence[Row], front_end: FrontEndConfig, cache: Path, view: View
) -> Sequence[torch.Tensor]:
    found = load_log_mels(rows, front_end, cache, view.counting("log-mels", len(rows)))
    if found.made:
        view.tell(f"log-mels: {found.made} of {found.shards} shards were made anew in {cache}")
    return found
