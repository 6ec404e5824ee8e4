"""A run: a folder that holds its settings, curves, pictures and checkpoints, and can be resumed.

settings.json     stage, manifest, seed: what `train` was asked for
curves.csv        one line a step that was logged
tensorboard/      the same for TensorBoard
samples/          masked inputs as pictures
state.pt          everything needed to go on exactly
last/, best/      checkpoints; best by mean average precision on the valid split
"""

import csv
import dataclasses
import json
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from m2d_clap.model.checkpoint import Checkpoint
from m2d_clap.model.errors import ClapError
from m2d_clap.training.evaluate import Evaluation, evaluate
from m2d_clap.training.loop import Trainer
from m2d_clap.training.manifest import Row
from m2d_clap.training.pictures import masked_picture


class RunError(ClapError):
    """A run folder that does not fit what was asked."""


@dataclass(frozen=True)
class Status:
    """Where a run stands, for the live view."""

    step: int
    steps: int
    epoch: float
    measured: dict[str, float]
    evaluation: Evaluation | None
    best: float


@dataclass(frozen=True)
class Validation:
    """The rows and raw log-mels that choose the best checkpoint, and which rows are zero-shot."""

    rows: Sequence[Row]
    sounds: Sequence[Tensor]
    zero_shot_of: Callable[[Row], bool]


def run(
    folder: Path,
    trainer: Trainer,
    settings: dict[str, Any],
    validation: Validation | None,
    show: Callable[[Status], None] = lambda _: None,
    every_epochs: int = 5,
    log_steps: int = 10,
) -> Path:
    """Trains to the end, from where `folder` left off; returns the best checkpoint's folder.

    Stopped at any moment, the same call goes on from the last saved epoch, with the same losses
    and the same final weights as an undisturbed run (CPU, same thread count).
    Raises RunError when the folder belongs to a run with other settings.
    """
    folder.mkdir(parents=True, exist_ok=True)
    _claim(folder, settings)
    best = _resume(folder, trainer)
    curves = _Curves(folder, trainer.step)
    try:
        while trainer.step < trainer.steps:
            measured = trainer.advance()
            ended = trainer.step % trainer.plan.steps == 0
            number = trainer.step // trainer.plan.steps
            scored = None
            if ended and (number % every_epochs == 0 or trainer.step == trainer.steps):
                if validation is not None:
                    scored = _score(trainer, validation)
                best = _save(folder, trainer, scored, best)
                masked_picture(trainer, folder / "samples" / f"epoch-{number:04d}.png")
            if scored is not None or trainer.step % log_steps == 0:
                curves.add(trainer.step, trainer.epoch, measured, scored)
            show(Status(trainer.step, trainer.steps, trainer.epoch, measured, scored, best))
    finally:
        curves.close()
    return folder / ("best" if (folder / "best").is_dir() else "last")


def _claim(folder: Path, settings: dict[str, Any]) -> None:
    file = folder / "settings.json"
    wanted = json.dumps(settings, indent=2, sort_keys=True) + "\n"
    if not file.exists():
        _write(file, wanted.encode())
    elif file.read_text() != wanted:
        raise RunError(f"{folder} holds a run with other settings: choose another --out")


def _resume(folder: Path, trainer: Trainer) -> float:
    """Restores the last saved state, if there is one; returns the best score so far."""
    file = folder / "state.pt"
    if not file.is_file():
        return -1.0
    snapshot = torch.load(file, map_location=trainer.clap.device, weights_only=True)
    trainer.restore(snapshot)
    return float(snapshot["best"])


def _save(folder: Path, trainer: Trainer, scored: Evaluation | None, best: float) -> float:
    checkpoint = Checkpoint.of(trainer.polyak, torch.float16)
    checkpoint.save(folder / "last")
    if scored is not None and scored.text_to_audio.mean_ap > best:
        best = scored.text_to_audio.mean_ap
        checkpoint.save(folder / "best")
    aside = folder / "state.part"
    torch.save({**trainer.snapshot(), "best": best}, aside)
    with aside.open("rb") as written:
        os.fsync(written.fileno())
    aside.replace(folder / "state.pt")
    return best


def _score(trainer: Trainer, validation: Validation) -> Evaluation:
    trainer.polyak.eval()
    try:
        return evaluate(trainer.polyak, validation.rows, validation.sounds, validation.zero_shot_of)
    finally:
        trainer.polyak.train()


def _write(file: Path, data: bytes) -> None:
    aside = file.with_name(file.name + ".part")
    aside.write_bytes(data)
    aside.replace(file)


class _Curves:
    """curves.csv and TensorBoard; rows behind the resumed step are dropped first."""

    def __init__(self, folder: Path, step: int) -> None:
        from torch.utils.tensorboard.writer import SummaryWriter

        self._file = folder / "curves.csv"
        kept: list[dict[str, str]] = []
        if self._file.is_file():
            with self._file.open(newline="") as old:
                kept = [row for row in csv.DictReader(old) if int(row["step"]) <= step]
        self._rows: list[dict[str, Any]] = list(kept)
        self._board = SummaryWriter(str(folder / "tensorboard"), purge_step=step)

    def add(
        self, step: int, epoch: float, measured: dict[str, float], scored: Evaluation | None
    ) -> None:
        values = dict(measured)
        if scored is not None:
            retrieval = dataclasses.asdict(scored.text_to_audio)
            values |= {f"valid_{name}": value for name, value in retrieval.items() if name != "n"}
            if scored.zero_shot is not None:
                values["valid_zero_shot"] = scored.zero_shot.accuracy
        for name, value in values.items():
            self._board.add_scalar(name, value, step)
        self._rows.append({"step": step, "epoch": round(epoch, 4), **values})
        if scored is not None:
            self._flush()

    def _flush(self) -> None:
        names = list(dict.fromkeys(name for row in self._rows for name in row))
        aside = self._file.with_suffix(".part")
        with aside.open("w", newline="") as out:
            writer = csv.DictWriter(out, names)
            writer.writeheader()
            writer.writerows(self._rows)
        aside.replace(self._file)

    def close(self) -> None:
        self._flush()
        self._board.close()
