"""Linear evaluation (EVAR): how much one Linear layer reads out of frozen features."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import fmean

import torch
from torch import Tensor

from m2d_clap.training.evaluation.clips import Listener, at_random, from_start
from m2d_clap.training.evaluation.confidence import Interval
from m2d_clap.training.evaluation.datasets import Dataset, Metric
from m2d_clap.training.evaluation.folds import Numbers, Part, parts
from m2d_clap.training.evaluation.head import LINEAR, HeadRecipe, Labels, fit_head, score
from m2d_clap.training.evaluation.truth import Labelled

SEEDS = (42, 43, 44)
CROP_SEED = 42


@dataclass(frozen=True)
class LinearScore:
    """scores: one for each seed, over all folds; the true mean is within ± half_width (95 %).

    n: clips tested, of all folds together; train: clips the heads learned from, a fold on average.
    """

    metric: Metric
    n: int
    train: int
    classes: int
    folds: int
    seeds: tuple[int, ...]
    scores: tuple[float, ...]
    mean: float
    half_width: float


@dataclass(frozen=True)
class Spread:
    """Mean and standard deviation (width,) of the features of the clips trained on."""

    mean: Tensor
    deviation: Tensor

    @classmethod
    def of(cls, features: Tensor) -> "Spread":
        """features: (clips, width). What never changes keeps its scale."""
        mean = features.mean(dim=0)
        deviation = features.std(dim=0, correction=0)
        # A constant has no deviation but the rounding of its mean.
        constant = deviation <= 1e-6 * mean.abs().clamp_min(1e-6)
        return cls(mean, torch.where(constant, 1.0, deviation))

    def standardise(self, features: Tensor) -> Tensor:
        """(clips, width) → the same, mean 0 and deviation 1 over the training clips."""
        return (features - self.mean) / self.deviation


def linear_evaluation(
    listener: Listener,
    labelled: Labelled,
    dataset: Dataset,
    split: str,
    recipe: HeadRecipe = LINEAR,
    seeds: Sequence[int] = SEEDS,
    progress: Callable[[int, int], None] = lambda done, of: None,
) -> LinearScore:
    """Every clip is embedded once as it is trained on and, with folds, once as it is tested.

    labelled: rows of all splits. progress: (heads trained, all).
    Raises ClapError when a part is empty or lacks a class, AudioError for an unreadable clip.
    """
    rounds = parts(labelled, dataset, split)
    rows = labelled.rows
    tested = from_start(rows, dataset.seconds)
    cropped = at_random(rows, dataset.seconds, CROP_SEED)
    if dataset.folds:
        both = listener.embed([*cropped, *tested]).features
        learned, heard = both[: len(rows)], both[len(rows) :]
    else:
        pairs = zip(rows, tested, cropped, strict=True)
        used = [whole if row.split == split else crop for row, whole, crop in pairs]
        learned = heard = listener.embed(used).features
    return score_heads(
        learned,
        heard,
        torch.from_numpy(labelled.targets),
        rounds,
        one_label=dataset.task == "single-label",
        device=listener.clap.device,
        recipe=recipe,
        seeds=seeds,
        progress=progress,
    )


def score_heads(
    learned: Tensor,
    tested: Tensor,
    targets: Tensor,
    rounds: Sequence[Part],
    one_label: bool,
    device: torch.device,
    recipe: HeadRecipe = LINEAR,
    seeds: Sequence[int] = SEEDS,
    progress: Callable[[int, int], None] = lambda done, of: None,
) -> LinearScore:
    """learned, tested: (rows, width) features of every row as it is trained on and tested;
    targets: (rows, classes) bool."""
    scores: dict[int, list[float]] = {seed: [] for seed in seeds}
    for number, part in enumerate(rounds):
        spread = Spread.of(learned[part.train])

        def prepared(features: Tensor, rows: Numbers, spread: Spread = spread) -> Labels:
            return Labels(spread.standardise(features[rows]).to(device), targets[rows].to(device))

        train, valid = prepared(learned, part.train), prepared(learned, part.valid)
        test = prepared(tested, part.test)
        for place, seed in enumerate(seeds):
            head = fit_head(train, valid, one_label, seed, recipe)
            scores[seed].append(score(head.logits(test.features), test.targets, one_label))
            progress(number * len(seeds) + place + 1, len(rounds) * len(seeds))
    runs = tuple(fmean(scores[seed]) for seed in seeds)
    interval = Interval.of(runs)
    return LinearScore(
        metric="accuracy" if one_label else "mean_ap",
        n=sum(len(part.test) for part in rounds),
        train=round(fmean(len(part.train) for part in rounds)),
        classes=targets.shape[1],
        folds=len(rounds) if len(rounds) > 1 else 0,
        seeds=tuple(seeds),
        scores=runs,
        mean=interval.mean,
        half_width=interval.half_width,
    )
