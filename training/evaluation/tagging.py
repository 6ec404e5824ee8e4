"""Tagging: average precision of every class, from a checkpoint's head or its sentences."""

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from m2d_clap.model.clap import Clap
from m2d_clap.training.evaluation.clips import Embedded
from m2d_clap.training.evaluation.datasets import Dataset
from m2d_clap.training.evaluation.truth import Labelled
from m2d_clap.training.evaluation.zero_shot import prompt_scores
from m2d_clap.training.metrics import Scores, average_precision


@dataclass(frozen=True)
class TaggingScore:
    """mean_ap: the mean over the classes (macro) of per_class. source: what gave the scores."""

    source: Literal["head", "zero-shot"]
    n: int
    classes: int
    mean_ap: float
    per_class: dict[str, float]


def tagging(clap: Clap, heard: Embedded, labelled: Labelled, dataset: Dataset) -> TaggingScore:
    """By the head where the checkpoint has one that knows every class here, else by prompts.

    heard: one line for each row. Raises TextEncoderError where prompts cannot be embedded.
    """
    head = {dataset.class_name(name): i for i, name in enumerate(clap.config.labels)}
    by_head = all(name in head for name in labelled.classes)
    if by_head:
        scores = _logits(clap, heard.features)[:, [head[name] for name in labelled.classes]]
    else:
        scores = prompt_scores(clap, heard.clap, labelled, dataset)
    each = average_precision(scores, labelled.targets)
    return TaggingScore(
        source="head" if by_head else "zero-shot",
        n=len(scores),
        classes=len(each),
        mean_ap=float(each.mean()),
        per_class=dict(zip(labelled.classes, each.tolist(), strict=True)),
    )


@torch.inference_mode()
def _logits(clap: Clap, stacked: Tensor) -> Scores:
    """(rows, rows · width) clip features → (rows, classes)."""
    features = stacked
    if not clap.audio.head_is_stacked:
        # The mean over frequency of features that stand side by side: those of all tokens.
        features = stacked.unflatten(1, (clap.config.grid_rows, -1)).mean(dim=1)
    logits: Scores = clap.audio.logits(features.to(clap.device)).float().cpu().numpy()
    return logits
