"""What chooses the best checkpoint of a run: a score on the valid split."""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from m2d_clap.model.clap import Clap
from m2d_clap.model.mel import normalise
from m2d_clap.training.classes import class_table
from m2d_clap.training.evaluate import CLIPS_AT_ONCE, evaluate
from m2d_clap.training.manifest import Row
from m2d_clap.training.metrics import mean_average_precision
from m2d_clap.training.stages import Stage


@dataclass(frozen=True)
class Score:
    """chooses: higher is better, called `name`; measured: all there is to be plotted."""

    name: str
    chooses: float
    measured: dict[str, float]


Validation = Callable[[Clap], Score]


def by_retrieval(
    rows: Sequence[Row], sounds: Sequence[Tensor], zero_shot_of: Callable[[Row], bool]
) -> Validation:
    """Mean average precision of text → audio; zero-shot accuracy over the rows that pass."""

    def score(clap: Clap) -> Score:
        found = evaluate(clap, rows, sounds, zero_shot_of)
        measured = asdict(found.text_to_audio)
        del measured["n"]
        if found.zero_shot is not None:
            measured["zero_shot"] = found.zero_shot.accuracy
        return Score("mAP", found.text_to_audio.mean_ap, measured)

    return score


def by_labels(sounds: Sequence[Tensor], labels: Tensor, kind: Literal["many", "one"]) -> Validation:
    """Accuracy of the head where a sound has one class, else its mAP over classes that occur."""
    truth = labels.numpy() > 0

    def score(clap: Clap) -> Score:
        logits = head_logits(clap, head_features(clap, sounds)).numpy()
        if kind == "one":
            accuracy = float(truth[np.arange(len(truth)), logits.argmax(axis=1)].mean())
            return Score("accuracy", accuracy, {"accuracy": accuracy})
        mean_ap = mean_average_precision(logits, truth)
        return Score("label mAP", mean_ap, {"label_mean_ap": mean_ap})

    return score


def validation_of(
    stage: Stage,
    rows: Sequence[Row],
    heard: Sequence[Tensor],
    classes: Sequence[str],
    counts: Callable[[Row], bool],
) -> Validation | None:
    """What chooses the best checkpoint; None without rows."""
    if not rows:
        return None
    if not stage.losses.labels:
        return by_retrieval(rows, heard, counts)
    table = class_table(rows, classes, stage.labels == "one")
    return by_labels(heard, table, stage.labels)


@torch.inference_mode()
def head_features(clap: Clap, sounds: Sequence[Tensor]) -> Tensor:
    """(sounds, width), what the head is given, of raw log-mels (mels, n), whole sounds."""
    front_end = clap.config.front_end
    parts = []
    for start in range(0, len(sounds), CLIPS_AT_ONCE):
        chosen = [s.float().unsqueeze(0) for s in sounds[start : start + CLIPS_AT_ONCE]]
        images = [clap.filled(normalise(sound, front_end)).to(clap.device) for sound in chosen]
        parts.append(torch.stack([grid.flat().mean(dim=0) for grid in clap.grids(images)]))
    return torch.cat(parts).float()


@torch.inference_mode()
def head_logits(clap: Clap, features: Tensor) -> Tensor:
    """(sounds, width) → (sounds, classes), on the CPU."""
    return clap.audio.logits(features).float().cpu()
