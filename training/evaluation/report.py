"""Scores beside the published figures: a table for people, plain values for machines."""

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from rich.table import Table

from m2d_clap.training.evaluate import Evaluation
from m2d_clap.training.evaluation.datasets import Dataset, Protocol
from m2d_clap.training.evaluation.protocols import Scores
from m2d_clap.training.evaluation.queries import Answers
from m2d_clap.training.evaluation.retrieval import CaptionRetrieval
from m2d_clap.training.manifest import SHOWN

Direction = Literal["", "text_to_audio", "audio_to_text"]
ARROWS: dict[Direction, str] = {
    "": "",
    "text_to_audio": " text→audio",
    "audio_to_text": " audio→text",
}
NAMES = {"accuracy": "accuracy", "mean_ap": "mAP"}


@dataclass(frozen=True)
class Line:
    """One measured figure, a share. n: queries or clips; note: whatever else bears on it."""

    protocol: Protocol
    metric: str
    value: float
    n: int
    direction: Direction = ""
    half_width: float | None = None
    note: str = ""
    comparable: bool = True
    """Whether the papers print this very figure."""


def lines(scores: Scores) -> list[Line]:
    """The figures of every protocol that was asked for."""
    found: list[Line] = []
    if scores.retrieval is not None:
        found += _retrieval(scores.retrieval)
    if (z := scores.zero_shot) is not None:
        found.append(
            Line(Protocol.ZERO_SHOT, NAMES[z.metric], z.score, z.n, note=f"{z.classes} classes")
        )
    if (r := scores.linear) is not None:
        note = f"{r.classes} classes, {r.train} clips trained on"
        note += f", {r.folds} folds" if r.folds else ""
        found.append(
            Line(Protocol.LINEAR, NAMES[r.metric], r.mean, r.n, half_width=r.half_width, note=note)
        )
    if (f := scores.fine_tune) is not None:
        note = f"{f.classes} classes, {f.train} clips trained on for {f.epochs} epochs"
        note += f", {f.folds} folds" if f.folds else ""
        note += f", seed{'s' if len(f.seeds) > 1 else ''} {', '.join(map(str, f.seeds))}"
        metric = NAMES[f.metric]
        found.append(
            Line(Protocol.FINE_TUNE, metric, f.mean, f.n, half_width=f.half_width, note=note)
        )
    if (t := scores.tagging) is not None:
        note = f"{t.classes} classes, by " + ("the head" if t.source == "head" else "prompts")
        if t.left_out:
            more = f" and {len(t.left_out) - SHOWN} more" if len(t.left_out) > SHOWN else ""
            note += f"; left out, unknown to it: {', '.join(t.left_out[:SHOWN])}{more}"
        comparable = t.source == "head" and not t.left_out
        found.append(
            Line(Protocol.TAGGING, "mAP", t.mean_ap, t.n, note=note, comparable=comparable)
        )
    return found


def _retrieval(found: CaptionRetrieval) -> list[Line]:
    lines: list[Line] = []
    directions: tuple[Direction, ...] = ("text_to_audio", "audio_to_text")
    for direction in directions:
        ranking = getattr(found, direction)
        for metric, value in (
            ("R@1", ranking.recall_1),
            ("R@5", ranking.recall_5),
            ("R@10", ranking.recall_10),
            ("mAP@10", ranking.map_10),
        ):
            first = metric == "R@1"
            note = f"median rank {ranking.median_rank:g}, {found.clips} clips" if first else ""
            lines.append(
                Line(Protocol.RETRIEVAL, metric, value, ranking.n, direction, None, note, first)
            )
    return lines


def published(line: Line, dataset: Dataset) -> dict[str, float]:
    """Model → the share a paper prints for this figure."""
    if not line.comparable:
        return {}
    return {
        figure.model: figure.value
        for figure in dataset.published
        if (figure.protocol, figure.direction) == (line.protocol, line.direction)
    }


def table(scores: Scores, dataset: Dataset, part: str) -> Table:
    """Shares in percent, with N and what the papers report. part: which rows were scored."""
    title = f"{dataset.title}, {part}"
    if dataset.clips:
        title += f" (published on {' or '.join(map(str, dataset.clips))} clips)"
    drawn = Table(title=title, title_justify="left")
    for name in ("protocol", "metric"):
        drawn.add_column(name, no_wrap=True)
    for name in ("measured", "N"):
        drawn.add_column(name, justify="right", no_wrap=True)
    for name in ("published", "remarks"):
        drawn.add_column(name)
    for line in lines(scores):
        value = f"{100 * line.value:.1f}"
        if line.half_width is not None:
            value += f" ± {100 * line.half_width:.1f}"
        known = [f"{m} {100 * v:.1f}" for m, v in published(line, dataset).items()]
        drawn.add_row(
            line.protocol.value + ARROWS[line.direction],
            line.metric,
            value,
            str(line.n),
            "\n".join(known),
            line.note,
        )
    return drawn


def values(scores: Scores, dataset: Dataset) -> dict[str, Any]:
    """JSON: the asked protocols by name (`zero_shot` as in Python), the data set and figures."""
    found = dataclasses.asdict(scores)
    return {
        "dataset": dataset.name,
        "protocols": {name: value for name, value in found.items() if value is not None},
        "published": [dataclasses.asdict(figure) for figure in dataset.published],
        "published_clips": list(dataset.clips),
    }


def own_lines(part: str, result: Evaluation) -> Sequence[str]:
    """This project's own measure, for people."""
    said = [f"{part}, {result.clips} clips"]
    for name, r in (("text→audio", result.text_to_audio), ("audio→text", result.audio_to_text)):
        said.append(
            f"  {name}: R@1 {r.recall_1:.3f}  R@5 {r.recall_5:.3f}  R@10 {r.recall_10:.3f}  "
            f"median rank {r.median_rank:g}  mAP {r.mean_ap:.3f}  mAP@10 {r.map_10:.3f}  (N {r.n})"
        )
    if result.zero_shot is not None:
        z = result.zero_shot
        said.append(f"  zero-shot: accuracy {z.accuracy:.3f} over {z.classes} classes (N {z.n})")
    return said


def query_line(answers: Answers) -> str:
    """Answers to queries of the user's own, for people."""
    r = answers.text_to_audio
    return (
        f"  queries: R@1 {r.recall_1:.3f}  R@5 {r.recall_5:.3f}  R@10 {r.recall_10:.3f}  "
        f"median rank {r.median_rank:g}  mAP {r.mean_ap:.3f}  (N {r.n} of {answers.of})"
    )
