"""Fine-tuning: the encoder itself goes on learning, with a new head, and is scored on unseen clips.

The loop, its run folders and its exact resuming are those of `m2d-clap train`. Ours, where the
papers leave it open: with a split "valid" the weights that do best on it are scored, without one
the last; the test part chooses nothing. Of folds every one is trained on all the others.
"""

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np
import torch
from torch import Tensor

from m2d_clap.model.checkpoint import Checkpoint
from m2d_clap.model.files import whole
from m2d_clap.training.batches import TrainingSet
from m2d_clap.training.captions import caption_bank
from m2d_clap.training.classes import balanced_weights
from m2d_clap.training.evaluation.confidence import Interval
from m2d_clap.training.evaluation.datasets import Dataset, Metric
from m2d_clap.training.evaluation.folds import Part, parts
from m2d_clap.training.evaluation.recipes import clip_frames, fitted
from m2d_clap.training.evaluation.truth import Labelled
from m2d_clap.training.loop import Trainer
from m2d_clap.training.manifest import Row
from m2d_clap.training.metrics import accuracy, mean_average_precision
from m2d_clap.training.run import Status, run
from m2d_clap.training.shards import load_log_mels, told_by
from m2d_clap.training.silence import filled, shortened
from m2d_clap.training.stages import Stage
from m2d_clap.training.validation import by_labels, head_features, head_logits

CHECKS = 10
"""How often a run is saved, and scored on "valid" where there is such a split."""

Progress = Callable[[str, int, int], None]


@dataclass(frozen=True)
class FineTuneScore:
    """scores: one for each seed, the mean over the folds where there are folds.

    n: clips tested, of all folds together; train: clips learned from, a fold on average.
    half_width: the true mean is within ± it of `mean` (95 %); None for a single seed.
    """

    metric: Metric
    n: int
    train: int
    classes: int
    folds: int
    epochs: int
    seeds: tuple[int, ...]
    scores: tuple[float, ...]
    mean: float
    half_width: float | None


@dataclass(frozen=True)
class FineTuning:
    """stage: a recipe (recipes.py), whose model this replaces. seeds: one run each, of every fold.

    out: run folders, <data set>-<digest of everything asked>/<part>-seed-<n>/, where finished runs
    are found again and unfinished ones go on. cache: where log-mels are kept.
    """

    stage: Stage
    out: Path
    cache: Path
    seeds: tuple[int, ...] = (42,)
    device: str = "cpu"

    def score(
        self,
        parent: Checkpoint,
        labelled: Labelled,
        dataset: Dataset,
        split: str = "test",
        progress: Progress = lambda what, done, of: None,
    ) -> FineTuneScore:
        """Fine-tunes `parent` on the training rows and scores it on those of `split`, or by folds.

        labelled: rows of all splits. progress: (what is done, how much, of how much).
        Raises ClapError when a part is empty or lacks a class, AudioError for an unreadable clip,
        TrainingDivergedError when the rate was too high.
        """
        rounds = parts(labelled, dataset, split, draw=False)
        stage = fitted(self.stage, parent.config, dataset)
        sounds = self._sounds(labelled.rows, stage, progress)
        frames = None if dataset.seconds is None else clip_frames(stage.model, dataset.seconds)
        if frames is None:
            stage = shortened(stage, sounds)
        clips = _Clips(labelled, sounds, frames)
        asked = {
            "stage": asdict(stage),
            "parent": parent.fingerprint,
            "rows": [_identity(row) for row in labelled.rows],
            "split": split,
        }
        folder = self.out / f"{dataset.name}-{_digest(asked)}"
        scores: dict[int, list[float]] = {seed: [] for seed in self.seeds}
        for seed in self.seeds:
            for part in rounds:
                work = _Run(self, stage, parent, clips, part, folder, seed)
                scores[seed].append(work.score(progress))
        runs = tuple(fmean(scores[seed]) for seed in self.seeds)
        interval = Interval.of(runs) if len(runs) > 1 else None
        return FineTuneScore(
            metric="accuracy" if stage.labels == "one" else "mean_ap",
            n=sum(len(part.test) for part in rounds),
            train=round(fmean(len(part.train) for part in rounds)),
            classes=len(labelled.classes),
            folds=len(rounds) if len(rounds) > 1 else 0,
            epochs=stage.epochs,
            seeds=self.seeds,
            scores=runs,
            mean=fmean(runs),
            half_width=None if interval is None else interval.half_width,
        )

    def _sounds(self, rows: Sequence[Row], stage: Stage, progress: Progress) -> Sequence[Tensor]:
        """Raw log-mels of the rows; each split by itself, so that `prepare`'s shards are theirs."""
        of_row: dict[int, Tensor] = {}
        for split in dict.fromkeys(row.split for row in rows):
            numbers = [number for number, row in enumerate(rows) if row.split == split]
            part = [rows[number] for number in numbers]

            def told(done: int, before: int = len(of_row)) -> None:
                progress("log-mels", before + done, len(rows))

            sounds = load_log_mels(part, stage.model.front_end, self.cache, told)
            of_row.update(zip(numbers, sounds, strict=True))
        return [of_row[number] for number in range(len(rows))]


@dataclass(frozen=True)
class _Clips:
    """sounds: raw log-mels (mels, any length) of the rows; frames: of a clip, None for whole."""

    labelled: Labelled
    sounds: Sequence[Tensor]
    frames: int | None

    def learned(self, numbers: Sequence[int]) -> list[Tensor]:
        """As they are trained on: at least a clip long; the loop crops them at random."""
        return [filled(self.sounds[number], self.frames or 0) for number in numbers]

    def tested(self, numbers: Sequence[int]) -> list[Tensor]:
        """Each from its start, a clip long, or whole."""
        return [sound[:, : self.frames] for sound in self.learned(numbers)]

    def labels(self, numbers: Sequence[int]) -> Tensor:
        """(numbers, classes) float32."""
        return torch.from_numpy(self.labelled.targets[list(numbers)]).float()


@dataclass(frozen=True)
class _Run:
    """One part with one seed."""

    asked: FineTuning
    stage: Stage
    parent: Checkpoint
    clips: _Clips
    part: Part
    folder: Path
    seed: int

    def score(self, progress: Progress) -> float:
        """Of the test part: found where the run has been finished, else after training."""
        place = self.folder / f"{self.part.name}-seed-{self.seed}"
        done = place / "score.json"
        if done.is_file():
            return float(json.loads(done.read_text())["score"])
        checkpoint = self._trained(place, progress)
        found = self._measured(checkpoint)
        told = {"score": found, "n": len(self.part.test), "checkpoint": checkpoint.name}
        with whole(done) as aside:
            aside.write_text(json.dumps(told) + "\n")
        # The optimiser's memory, three times the model's size, is of no more use.
        (place / "state.pt").unlink(missing_ok=True)
        return found

    def _trained(self, place: Path, progress: Progress) -> Path:
        """The checkpoint of the whole run, which goes on where it was stopped."""
        stage, part = self.stage, self.part
        train, valid = part.train.tolist(), part.valid.tolist()
        rows = [self.clips.labelled.rows[number] for number in train]
        labels = self.clips.labels(train)
        weights = tuple(row.weight for row in rows)
        if stage.visits:
            weights = balanced_weights(labels, weights)
        if len(set(weights)) == 1:
            weights = ()
        bank = caption_bank(rows, stage.model.text, self.asked.cache, embedded=False)
        data = TrainingSet(
            self.clips.learned(train), bank, weights, labels, self.clips.labelled.classes
        )
        trainer = Trainer(stage, data, self.seed, self.asked.device, self.parent)
        validation = None
        if valid:
            tables = self.clips.labels(valid)
            validation = by_labels(self.clips.tested(valid), tables, stage.labels)

        def show(status: Status) -> None:
            progress(f"fine-tuning {part.name}, seed {self.seed}", status.step, status.steps)

        settings: dict[str, Any] = {"stage": asdict(stage), "seed": self.seed, "part": part.name}
        settings["parent"] = self.parent.fingerprint
        every = max(1, stage.epochs // CHECKS)
        return run(place, trainer, settings, validation, show, every)

    def _measured(self, checkpoint: Path) -> float:
        clap = Checkpoint.load(checkpoint).clap(self.asked.device)
        numbers = self.part.test.tolist()
        features = head_features(clap, self.clips.tested(numbers))
        logits = head_logits(clap, features).numpy()
        truth = self.clips.labelled.targets[numbers]
        if self.stage.labels == "one":
            return accuracy(logits, truth.argmax(axis=1).astype(np.int64))
        return mean_average_precision(logits, truth)


def _identity(row: Row) -> list[Any]:
    return [*told_by(row), row.split, row.weight, *row.labels]


def _digest(asked: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(asked, sort_keys=True).encode()).hexdigest()[:12]
