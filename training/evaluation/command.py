"""The command `evaluate`: a checkpoint on a manifest, beside the published figures."""

import dataclasses
import json
import sys
from collections.abc import Callable
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import torch
import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

from m2d_clap.model import Checkpoint, Clap, ClapConfig, bundled
from m2d_clap.training.evaluate import Evaluation
from m2d_clap.training.evaluate import evaluate as own_measure
from m2d_clap.training.evaluation.datasets import DATASETS, Protocol, find_dataset, own_dataset
from m2d_clap.training.evaluation.protocols import Question, Scores, ask
from m2d_clap.training.evaluation.report import own_lines, table, values
from m2d_clap.training.evaluation.truth import class_names
from m2d_clap.training.manifest import Row, read_manifest
from m2d_clap.training.shards import load_log_mels

CACHE = Path("runs/cache")


class Asked(StrEnum):
    """`--protocol`: one of them, or all that suit the data."""

    OWN = "own"
    RETRIEVAL = "retrieval"
    ZERO_SHOT = "zero-shot"
    LINEAR = "linear"
    TAGGING = "tagging"
    ALL = "all"


def evaluate(
    manifest: Annotated[Path, typer.Argument(help="CSV: file, caption(s), label(s), split")],
    checkpoint: Annotated[Path | None, typer.Option(help="default: the bundled one")] = None,
    split: Annotated[str, typer.Option(help="which rows; with folds all of them")] = "test",
    protocol: Annotated[
        Asked, typer.Option(help="own: clips may share captions; the others as published")
    ] = Asked.OWN,
    dataset: Annotated[
        str | None, typer.Option(help="whose clip length, folds, prompts: " + ", ".join(DATASETS))
    ] = None,
    zero_shot_where: Annotated[
        str | None, typer.Option(help="COLUMN=START: rows that count for zero-shot")
    ] = None,
    min_train: Annotated[
        int, typer.Option(help="only labels with so many clips to train on", min=0)
    ] = 0,
    random_encoder: Annotated[
        int | None, typer.Option(help="SEED: linear with random weights, as a baseline")
    ] = None,
    device: Annotated[str, typer.Option(help="auto | cpu | cuda")] = "auto",
    cache: Annotated[Path, typer.Option(help="where log-mels are kept")] = CACHE,
    text_encoder_path: Annotated[
        Path | None, typer.Option(help="folder of the text encoder, where it is not inside")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="for machines")] = False,
) -> None:
    """Score a checkpoint on a manifest: retrieval, zero-shot, linear evaluation, tagging."""
    if random_encoder is not None and protocol != Asked.LINEAR:
        raise typer.BadParameter("--random-encoder goes with --protocol linear")
    counts = rows_where(zero_shot_where)
    rows = read_manifest(manifest)
    about = find_dataset(dataset) if dataset else own_dataset(manifest.stem, rows, split)
    question = Question(rows, about, split, counts, min_train)
    chosen = [Protocol(protocol)] if protocol != Asked.ALL else [Protocol.OWN, *about.protocols]
    scored = question.scored
    loaded = Checkpoint.load(checkpoint or bundled())
    on = ("cuda" if torch.cuda.is_available() else "cpu") if device == "auto" else device
    if random_encoder is None:
        clap = loaded.clap(on)
    else:
        clap = random_clap(loaded.config, random_encoder).to(on)
    clap.text_encoder_path = text_encoder_path
    own, scores = None, Scores()
    with _progress() as bar:
        if Protocol.OWN in chosen:
            own = _own(clap, question, scored, cache, bar)
        if set(chosen) != {Protocol.OWN}:
            scores = ask(clap, question, chosen, progress=_Tasks(bar))
    part = "all folds" if question.folded else split
    if as_json:
        said: dict[str, Any] = {"split": part}
        if own is not None:
            said |= dataclasses.asdict(own)
        if scores != Scores():
            said |= values(scores, about) | {"random_encoder": random_encoder}
        typer.echo(json.dumps(said))
        return
    if own is not None:
        typer.echo("\n".join(own_lines(part if question.folded else f"{split} split", own)))
    if scores != Scores():
        Console().print(table(scores, about))


def random_clap(config: ClapConfig, seed: int) -> Clap:
    """A model of these sizes that has learned nothing, the same for the same seed."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return Clap(config).eval()


def _own(
    clap: Clap, question: Question, scored: list[Row], cache: Path, bar: Progress
) -> Evaluation:
    allowed = question.classes

    def counts(row: Row) -> bool:
        known = allowed is None or set(class_names(row, question.dataset)) <= allowed
        return known and question.zero_shot_of(row)

    task = bar.add_task("log-mels", total=len(scored))
    sounds = load_log_mels(
        scored, clap.config.front_end, cache, lambda done: bar.update(task, completed=done)
    )
    bar.remove_task(task)
    return own_measure(clap, scored, sounds, counts)


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
