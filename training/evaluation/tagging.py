"""Tagging: average precision of every class, from a checkpoint's head or its sentences."""

from dataclasses import dataclass
from typing import Literal

from m2d_clap.training.evaluation.clips import Listener, from_start
from m2d_clap.training.evaluation.datasets import Dataset
from m2d_clap.training.evaluation.truth import Labelled
from m2d_clap.training.evaluation.zero_shot import prompt_scores
from m2d_clap.training.metrics import average_precision


@dataclass(frozen=True)
class TaggingScore:
    """mean_ap: the mean over the classes (macro) of per_class. source: what gave the scores.

    left_out: classes that the head does not know; their clips count for no class.
    """

    source: Literal["head", "zero-shot"]
    n: int
    classes: int
    mean_ap: float
    per_class: dict[str, float]
    left_out: tuple[str, ...] = ()


def tagging(listener: Listener, labelled: Labelled, dataset: Dataset) -> TaggingScore:
    """By the head where the checkpoint has one, over the classes that it knows, else by prompts.

    Raises AudioError naming a file that cannot be heard, TextEncoderError where prompts cannot be
    embedded.
    """
    clap, clips = listener.clap, from_start(labelled.rows, dataset.seconds)
    head = {dataset.class_name(name): i for i, name in enumerate(clap.config.labels)}
    known = [column for column, name in enumerate(labelled.classes) if name in head]
    columns = known or list(range(len(labelled.classes)))
    names = [labelled.classes[column] for column in columns]
    if known:
        scores = listener.logits(clips).numpy()[:, [head[name] for name in names]]
    else:
        scores = prompt_scores(clap, listener.embed(clips).clap, labelled, dataset)
    each = average_precision(scores, labelled.targets[:, columns])
    return TaggingScore(
        source="head" if known else "zero-shot",
        n=len(scores),
        classes=len(each),
        mean_ap=float(each.mean()),
        per_class=dict(zip(names, each.tolist(), strict=True)),
        left_out=tuple(name for name in labelled.classes if name not in names),
    )
