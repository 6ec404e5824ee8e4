"""What a checkpoint does on the rows of a split: the same figures as its evaluation, and why."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from torch import Tensor

from m2d_clap.model.clap import Clap
from m2d_clap.training.classes import class_table
from m2d_clap.training.evaluate import Evaluation, compare, figures, prompt
from m2d_clap.training.manifest import Row
from m2d_clap.training.metrics import mean_average_precision
from m2d_clap.training.report.embedding_map import Map, lay_out
from m2d_clap.training.report.examples import Group, groups
from m2d_clap.training.report.per_class import Classes, per_class
from m2d_clap.training.validation import head_features, head_logits


@dataclass(frozen=True)
class Retrieved:
    """Both ways: queries of by_text are captions, their items clips; of by_sound the reverse."""

    evaluation: Evaluation
    captions: tuple[str, ...]
    by_text: tuple[Group, ...]
    by_sound: tuple[Group, ...]


@dataclass(frozen=True)
class Findings:
    """rows, sounds: what was heard. retrieved: None for a head's stages.

    overall: the head's accuracy or mAP, or the accuracy of zero-shot; None without labels.
    """

    rows: tuple[Row, ...]
    sounds: tuple[Tensor, ...]
    retrieved: Retrieved | None
    classes: Classes | None
    overall: float | None
    map: Map


def find_by_captions(
    clap: Clap, rows: Sequence[Row], sounds: Sequence[Tensor], zero_shot_of: Callable[[Row], bool]
) -> Findings:
    """For stages that learn from captions. rows: at least one."""
    compared = compare(clap, rows, sounds)
    prompted = prompt(clap, rows, compared.audio, zero_shot_of)
    evaluation = figures(compared, prompted)
    label_of = {c: row.label for row in rows for c in row.captions}
    by_text = groups(
        compared.scores.T, compared.right.T, [label_of[c] or c for c in compared.captions]
    )
    by_sound = groups(compared.scores, compared.right, [r.label or r.captions[0] for r in rows])
    classes = None
    if prompted is not None:
        truth = np.arange(len(prompted.labels)) == prompted.classes[:, None]
        classes = per_class(prompted.labels, prompted.scores, truth, "accuracy")
    return Findings(
        rows=tuple(rows),
        sounds=tuple(sounds),
        retrieved=Retrieved(evaluation, compared.captions, tuple(by_text), tuple(by_sound)),
        classes=classes,
        overall=None if evaluation.zero_shot is None else evaluation.zero_shot.accuracy,
        map=lay_out(compared.audio.cpu().numpy(), _labels(rows)),
    )


def find_by_labels(
    clap: Clap, rows: Sequence[Row], sounds: Sequence[Tensor], one: bool
) -> Findings:
    """For stages that learn classes. rows: at least one; all their labels are the head's.

    Raises LabelError where one is wanted and a row has none or several.
    """
    names = clap.config.labels
    features = head_features(clap, sounds)
    scores = head_logits(clap, features).numpy()
    truth = class_table(rows, names, one).numpy() > 0
    classes, overall = None, None
    if truth.any():
        classes = per_class(names, scores, truth, "accuracy" if one else "average precision")
        right = truth[np.arange(len(truth)), scores.argmax(axis=1)]
        overall = float(right.mean()) if one else mean_average_precision(scores, truth)
    return Findings(
        rows=tuple(rows),
        sounds=tuple(sounds),
        retrieved=None,
        classes=classes,
        overall=overall,
        map=lay_out(features.cpu().numpy(), _labels(rows)),
    )


def _labels(rows: Sequence[Row]) -> list[str]:
    """The one label a point on the map is coloured by."""
    return [row.label or next(iter(row.labels), "") for row in rows]
