"""The command `evaluate`: a checkpoint on a manifest, beside the published figures."""

import dataclasses
import json
import sys
from collections.abc import Callable, Sequence
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import torch
import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

from m2d_clap.model import Checkpoint, Clap, ClapConfig, bundled
from m2d_clap.model.description import is_checkpoint
from m2d_clap.model.errors import ClapError
from m2d_clap.training import distributed, panels
from m2d_clap.training.evaluate import embed_sounds
from m2d_clap.training.evaluate import evaluate as own_measure
from m2d_clap.training.evaluation.captions import (
    CaptionEvaluation,
    caption_lines,
    evaluate_captions,
)
from m2d_clap.training.evaluation.datasets import DATASETS, Protocol, find_dataset, own_dataset
from m2d_clap.training.evaluation.fine_tune import FineTuneScore, FineTuning
from m2d_clap.training.evaluation.protocols import Question, Scores, ask
from m2d_clap.training.evaluation.queries import answer, read_queries
from m2d_clap.training.evaluation.recipes import recipe_of
from m2d_clap.training.evaluation.report import own_lines, query_line, table, values
from m2d_clap.training.evaluation.truth import Labelled, class_names
from m2d_clap.training.leaks import LeakError, refuse_leaks
from m2d_clap.training.manifest import Row, check_files, is_fold, licensed, read_manifest
from m2d_clap.training.panels import grouped
from m2d_clap.training.shards import load_log_mels

CACHE = Path("runs/cache")
RUNS = Path("runs/fine-tune")


class Asked(StrEnum):
    """`--protocol`: one of them, or all that suit the data."""

    OWN = "own"
    RETRIEVAL = "retrieval"
    ZERO_SHOT = "zero-shot"
    LINEAR = "linear"
    TAGGING = "tagging"
    FINE_TUNE = "fine-tune"
    CAPTIONS = "captions"
    ALL = "all"


@grouped(panels.EVALUATE)
def evaluate(
    places: Annotated[
        list[Path],
        typer.Argument(
            metavar="[CHECKPOINT] MANIFEST",
            help="a checkpoint's folder, if not the bundled one; a CSV: file, caption(s), label(s), "
            "split",
        ),
    ],
    checkpoint: Annotated[
        Path | None, typer.Option(help="CHECKPOINT, named instead of put first")
    ] = None,
    split: Annotated[str, typer.Option(help="which rows; with folds all of them")] = "test",
    protocol: Annotated[
        Asked,
        typer.Option(
            help="own: clips may share captions; the others as published; captions: of the "
            "checkpoint's captioner; all: all that suit the data but captions, and fine-tune, which "
            "takes hours"
        ),
    ] = Asked.OWN,
    dataset: Annotated[
        str | None, typer.Option(help="whose clip length, folds, prompts: " + ", ".join(DATASETS))
    ] = None,
    zero_shot_where: Annotated[
        str | None, typer.Option(help="COLUMN=START: rows that count for zero-shot")
    ] = None,
    queries: Annotated[
        Path | None, typer.Option(help="CSV query, label: also score these (protocol own)")
    ] = None,
    min_train: Annotated[
        int, typer.Option(help="only labels with so many clips to train on", min=0)
    ] = 0,
    random_encoder: Annotated[
        int | None, typer.Option(help="SEED: linear or fine-tune with random weights: a baseline")
    ] = None,
    without_licence: Annotated[
        list[str] | None,
        typer.Option(help="rows the captioner did not learn from, as `train` was told; repeatable"),
    ] = None,
    procedural: Annotated[
        int, typer.Option(help="made-up sounds of every kind that it learned from", min=0)
    ] = 0,
    epochs: Annotated[int | None, typer.Option(help="instead of the recipe's", min=1)] = None,
    batch: Annotated[int | None, typer.Option(help="instead of the recipe's", min=4)] = None,
    base_rate: Annotated[float | None, typer.Option(help="instead of the recipe's")] = None,
    seeds: Annotated[
        int, typer.Option(help="runs, from seed 42 on; of several the interval is given", min=1)
    ] = 1,
    out: Annotated[
        Path, typer.Option(help="run folders; stopped, the same command goes on")
    ] = RUNS,
    device: Annotated[str, typer.Option(help="auto | cpu | cuda")] = "auto",
    cache: Annotated[Path, typer.Option(help="where log-mels are kept")] = CACHE,
    text_encoder_path: Annotated[
        Path | None, typer.Option(help="folder of the text encoder, where it is not inside")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="for machines")] = False,
) -> None:
    """Score a checkpoint on a manifest: retrieval, zero-shot, linear, tagging, fine-tuning.

    m2d-clap evaluate runs/mine/best pairs.csv

    m2d-clap evaluate clap-2025 esc50.csv --dataset esc-50 --protocol all

    m2d-clap evaluate clap-2025 esc50.csv --dataset esc-50 --protocol fine-tune --device cuda

    m2d-clap evaluate runs/captions/best pairs.csv --protocol captions

    Step by step: m2d-clap guide train | paper | fine-tune
    """
    manifest, checkpoint = _told_apart(places, checkpoint)
    if random_encoder is not None and protocol not in (Asked.LINEAR, Asked.FINE_TUNE):
        raise typer.BadParameter("--random-encoder goes with --protocol linear or fine-tune")
    if (epochs, batch, base_rate, seeds) != (None, None, None, 1) and protocol != Asked.FINE_TUNE:
        raise typer.BadParameter(
            "--epochs, --batch, --base-rate and --seeds go with --protocol fine-tune"
        )
    if (without_licence or procedural) and protocol != Asked.CAPTIONS:
        raise typer.BadParameter("--without-licence, --procedural go with --protocol captions")
    if queries is not None and protocol not in (Asked.OWN, Asked.ALL):
        raise typer.BadParameter("--queries goes with --protocol own")
    if base_rate is not None and base_rate <= 0:
        raise typer.BadParameter("--base-rate is above 0")
    if zero_shot_where is not None and protocol not in (Asked.OWN, Asked.ZERO_SHOT, Asked.ALL):
        raise typer.BadParameter("--zero-shot-where goes with --protocol own, zero-shot or all")
    if min_train and protocol in (Asked.RETRIEVAL, Asked.CAPTIONS):
        raise typer.BadParameter("--min-train goes with protocols that score labels")
    on = distributed.device_of(device)
    if protocol == Asked.FINE_TUNE and distributed.started() > 1:
        raise ClapError("--protocol fine-tune trains in one process: start it without torchrun")
    asked = read_queries(queries) if queries is not None else None
    counts = rows_where(zero_shot_where)
    rows = read_manifest(manifest)
    about = find_dataset(dataset) if dataset else own_dataset(manifest.stem, rows, split)
    if about.folds and not any(is_fold(row.split) for row in rows):
        about = dataclasses.replace(about, folds=0, published=(), clips=())  # cut in one's own way
    elif split != "test" and not about.folds:
        about = dataclasses.replace(about, published=(), clips=())
    if zero_shot_where is not None or min_train:
        about = dataclasses.replace(about, published=(), clips=())  # not what the papers scored
    question = Question(rows, about, split, counts, min_train)
    chosen = [Protocol(protocol)] if protocol != Asked.ALL else [Protocol.OWN, *about.protocols]
    scored = question.scored
    learns = any(p in (Protocol.LINEAR, Protocol.FINE_TUNE) for p in chosen)
    check_files(question.used if learns else scored)
    if learns:
        _guard(question, published=dataset is not None)
    loaded = Checkpoint.load(checkpoint or bundled())
    if random_encoder is None:
        clap = loaded.clap(on)
    else:
        clap = random_clap(loaded.config, random_encoder).to(on)
    clap.text_encoder_path = text_encoder_path
    if protocol == Asked.CAPTIONS:
        known = _known(question, without_licence or [], procedural, cache, loaded.config)
        captions = evaluate_captions(loaded, scored, known, cache, on)
        _print_captions(question, captions, as_json)
        return
    own, answers, scores = None, None, Scores()
    with _progress() as bar:
        if Protocol.OWN in chosen:
            sounds = _log_mels(clap, scored, cache, bar)
            own = own_measure(clap, scored, sounds, _counts(question))
            if asked is not None:
                answers = answer(clap, asked, scored, embed_sounds(clap, sounds))
        if Protocol.FINE_TUNE in chosen:
            recipe = recipe_of(about, epochs, batch, base_rate)
            tuning = FineTuning(recipe, out, cache, tuple(range(42, 42 + seeds)), on)
            scores = Scores(fine_tune=_fine_tuned(tuning, Checkpoint.of(clap), question, bar))
        elif set(chosen) != {Protocol.OWN}:
            scores = ask(clap, question, chosen, progress=_Tasks(bar))
    part = "all folds" if question.folded else split
    if as_json:
        said: dict[str, Any] = {"split": part}
        if own is not None:
            said |= dataclasses.asdict(own)
        if answers is not None:
            said["queries"] = dataclasses.asdict(answers)
        if scores != Scores():
            said |= values(scores, about) | {"random_encoder": random_encoder}
        typer.echo(json.dumps(said))
        return
    if own is not None:
        typer.echo("\n".join(own_lines(part if question.folded else f"{split} split", own)))
    if answers is not None:
        typer.echo(query_line(answers))
    if scores != Scores():
        Console().print(table(scores, about, part))


def _told_apart(places: Sequence[Path], checkpoint: Path | None) -> tuple[Path, Path | None]:
    """(manifest, checkpoint): of two places the folder is the checkpoint."""
    if len(places) == 1 and not is_checkpoint(places[0]):
        return places[0], checkpoint
    if len(places) != 2:
        raise typer.BadParameter("give a MANIFEST, alone or behind a CHECKPOINT")
    if checkpoint is not None:
        raise typer.BadParameter("the checkpoint is given twice: first and by --checkpoint")
    first, manifest = places
    if not is_checkpoint(first):
        raise typer.BadParameter(f"{first} is no checkpoint: a folder that holds config.json")
    return manifest, first


def _guard(question: Question, published: bool) -> None:
    """A manifest of one's own with leaks is refused; a published one is what it is."""
    try:
        if question.folded:
            refuse_leaks(question.used)
        else:
            refuse_leaks(question.used, ("train",), ("valid", question.split))
            refuse_leaks(question.used, ("valid",), (question.split,))
    except LeakError as error:
        if not published:
            raise
        typer.echo(f"warning: {error}", err=True)


def _known(
    question: Question,
    without_licence: list[str],
    procedural: int,
    cache: Path,
    config: ClapConfig,
) -> list[Row]:
    """The training part, as the captioner met it."""
    rows = [row for row in licensed(question.rows, without_licence) if row.split == "train"]
    check_files(rows)
    if procedural:
        from m2d_clap.training.procedural import procedural_rows  # a second to import

        rows += procedural_rows(cache, procedural, config.front_end.sample_rate)
    return rows


def _print_captions(question: Question, found: CaptionEvaluation, as_json: bool) -> None:
    part = "all folds" if question.folded else f"{question.split} split"
    figures = [p for p in question.dataset.published if p.protocol == Protocol.CAPTIONS]
    if as_json:
        said: dict[str, object] = {
            "split": question.split,
            "captions": dataclasses.asdict(found),
            "published": [dataclasses.asdict(figure) for figure in figures],
        }
        typer.echo(json.dumps(said))
        return
    papers = [f"CIDEr {figure.value:.3f}  published: {figure.model}" for figure in figures]
    typer.echo("\n".join(caption_lines(part, found, papers)))


def _fine_tuned(
    tuning: FineTuning, parent: Checkpoint, question: Question, bar: Progress
) -> FineTuneScore:
    about = question.dataset
    labelled = Labelled.of(question.used, about, question.classes)
    try:
        return tuning.score(parent, labelled, about, question.split, _Tasks(bar))
    except KeyboardInterrupt:
        bar.stop()
        typer.echo("stopped; the same command goes on from the last save", err=True)
        raise typer.Exit(130) from None


def random_clap(config: ClapConfig, seed: int) -> Clap:
    """A model of these sizes that has learned nothing, the same for the same seed."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return Clap(config).eval()


def _counts(question: Question) -> Callable[[Row], bool]:
    allowed = question.classes

    def counts(row: Row) -> bool:
        known = allowed is None or set(class_names(row, question.dataset)) <= allowed
        return known and question.zero_shot_of(row)

    return counts


def _log_mels(clap: Clap, scored: list[Row], cache: Path, bar: Progress) -> Sequence[torch.Tensor]:
    task = bar.add_task("log-mels", total=len(scored))
    sounds = load_log_mels(
        scored, clap.config.front_end, cache, lambda done: bar.update(task, completed=done)
    )
    bar.remove_task(task)
    return sounds


def rows_where(condition: str | None) -> Callable[[Row], bool]:
    """COLUMN=START: rows whose column starts so; None: those with a label."""
    if condition is None:
        return lambda row: bool(row.labels)
    column, equals, start = condition.partition("=")
    if not equals:
        raise typer.BadParameter("--zero-shot-where is COLUMN=START")
    return lambda row: row.columns.get(column, "").startswith(start)


def _progress() -> Progress:
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.completed}/{task.total}"),
        TimeElapsedColumn(),
        console=Console(file=sys.stderr),
    )


class _Tasks:
    """One bar for each kind of work."""

    def __init__(self, bar: Progress) -> None:
        self._bar = bar
        self._known: dict[str, TaskID] = {}

    def __call__(self, what: str, done: int, of: int) -> None:
        if what not in self._known:
            self._known[what] = self._bar.add_task(what, total=of)
        self._bar.update(self._known[what], completed=done, total=of)
