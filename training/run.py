"""A run: a folder that holds its settings, curves, pictures and checkpoints, and can be resumed.

settings.json     stage, manifest, seed: what `train` was asked for
curves.csv        one line a step that was logged
tensorboard/      the same for TensorBoard
samples/          masked inputs as pictures
state.pt          everything needed to go on exactly, from any step
last/, best/      checkpoints; best by its score on the valid split
report.html       written last, or by `m2d-clap report`
"""

import contextlib
import csv
import dataclasses
import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import torch
from safetensors import SafetensorError
from torch import nn

from m2d_clap.model.checkpoint import Checkpoint
from m2d_clap.model.errors import ClapError
from m2d_clap.model.files import whole
from m2d_clap.training import distributed
from m2d_clap.training.data import Plan
from m2d_clap.training.loop import Trainer
from m2d_clap.training.pictures import masked_picture
from m2d_clap.training.settings import differences
from m2d_clap.training.stopping import Stop
from m2d_clap.training.validation import Score


class Learning(Protocol):
    """What a run trains, step by step. polyak: the averaged model, which is validated."""

    step: int
    polyak: Any

    @property
    def plan(self) -> Plan: ...
    @property
    def steps(self) -> int: ...
    @property
    def epoch(self) -> float: ...
    @property
    def device(self) -> torch.device: ...
    def advance(self) -> dict[str, float]: ...
    def checkpoint(self) -> Checkpoint: ...
    def snapshot(self) -> dict[str, Any]: ...
    def restore(self, snapshot: Mapping[str, Any]) -> None: ...
    def close(self) -> None: ...


class RunError(ClapError):
    """A run folder that does not fit what was asked."""


@dataclass(frozen=True)
class Status:
    """Where a run stands, for the live view.

    best: the score that chose the best checkpoint; valid: the latest of this process.
    """

    step: int
    steps: int
    epoch: float
    measured: dict[str, float]
    best: Score | None
    valid: Score | None = None


@dataclass(frozen=True)
class Best:
    """The highest score so far, and the step it was reached at."""

    score: Score | None = None
    step: int = 0

    def or_(self, scored: Score | None, step: int) -> "Best":
        if scored is None or (self.score and not scored.chooses > self.score.chooses):
            return self
        return Best(scored, step)


def run(
    folder: Path,
    trainer: Learning,
    settings: dict[str, Any],
    validation: Callable[[Any], Score] | None,
    show: Callable[[Status], None] = lambda _: None,
    every_epochs: int = 5,
    log_steps: int = 10,
    patience: int = 0,
) -> Path:
    """Trains to the end, from where `folder` left off; returns the best checkpoint's folder. The end
    also is where the score has not risen for `patience` epochs, unless that is 0.

    Stopped at any moment, the same call goes on from the last save, with the same losses and the
    same final weights as an undisturbed run (CPU, same thread count). Saved are epochs, and the
    step in which the process was asked to end, by SIGTERM or Ctrl-C: then it raises
    KeyboardInterrupt. Of several processes the first one writes.
    Raises RunError when the folder belongs to a run with other settings or cannot be written.
    """
    writes = distributed.rank() == 0
    if writes:
        folder.mkdir(parents=True, exist_ok=True)
        _claim(folder, settings)
    distributed.barrier()
    best = _resume(folder, trainer)
    curves = _Curves(folder, trainer.step) if writes else None
    latest: Score | None = None
    try:
        with Stop() as stop:
            while trainer.step < trainer.steps and not _hopeless(trainer, best, patience):
                measured = trainer.advance()
                number, within = divmod(trainer.step, trainer.plan.steps)
                due = not within and (number % every_epochs == 0 or trainer.step == trainer.steps)
                if curves is not None:
                    scored = None
                    if due:
                        scored = _score(trainer, validation) if validation is not None else None
                        best = _save(folder, trainer, best.or_(scored, trainer.step))
                    with _writing(folder):
                        if due and isinstance(trainer, Trainer) and trainer.stage.hears:
                            picture = folder / "samples" / f"epoch-{number:04d}.png"
                            masked_picture(trainer, picture)
                        if due or trainer.step % log_steps == 0:
                            curves.add(trainer.step, trainer.epoch, measured, scored, due)
                    latest = scored or latest
                    step, epoch = trainer.step, trainer.epoch
                    show(Status(step, trainer.steps, epoch, measured, best.score, latest))
                if due:
                    distributed.barrier()
                if stop.asked() and trainer.step < trainer.steps:
                    if curves is not None and not due:
                        _save(folder, trainer, best)
                    distributed.barrier()
                    raise KeyboardInterrupt
    except BaseException:
        if curves is not None:
            with contextlib.suppress(OSError):
                curves.close()
        raise
    finally:
        trainer.close()
    if curves is not None:
        with _writing(folder):
            curves.close()
    return folder / ("best" if (folder / "best").is_dir() else "last")


def _claim(folder: Path, settings: dict[str, Any]) -> None:
    file = folder / "settings.json"
    wanted = json.dumps(settings, indent=2, sort_keys=True) + "\n"
    if not file.exists():
        _write(file, wanted.encode())
        return
    there = file.read_text()
    if there != wanted:
        raise RunError(
            f"{folder} holds a run with other settings: choose another --out, or go on as it was "
            "begun. What differs, there → now:\n" + "\n".join(differences(there, wanted))
        )


def _hopeless(trainer: Learning, best: Best, patience: int) -> bool:
    """Whether the score has not risen for so many epochs. All processes ask; the first one knows."""
    if not patience:
        return False
    waited = (trainer.step - best.step) / trainer.plan.steps
    knows = distributed.rank() == 0 and best.score is not None
    return not distributed.everywhere(not knows or waited < patience)


def _resume(folder: Path, trainer: Learning) -> Best:
    """Restores the last saved state, if there is one; returns the best so far."""
    file = folder / "state.pt"
    if not file.is_file():
        return Best()
    snapshot = torch.load(file, map_location="cpu", weights_only=True)  # each part goes where it is
    trainer.restore(snapshot)
    if snapshot["best"] is None:
        return Best()
    return Best(Score(**snapshot["best"]), snapshot.get("best_step", trainer.step))


def _save(folder: Path, trainer: Learning, best: Best) -> Best:
    """Writes last/, best/ where that was reached in this step, and state.pt, each aside and then in
    one rename; returns `best`."""
    checkpoint = trainer.checkpoint()
    with _writing(folder):
        checkpoint.save(folder / "last")
        if best.score is not None and best.step == trainer.step:
            checkpoint.save(folder / "best")
        kept = None if best.score is None else dataclasses.asdict(best.score)
        with whole(folder / "state.pt") as aside:
            torch.save({**trainer.snapshot(), "best": kept, "best_step": best.step}, aside)
    return best


@contextlib.contextmanager
def _writing(folder: Path) -> Iterator[None]:
    try:
        yield
    except (OSError, SafetensorError, RuntimeError) as error:  # torch.save raises the last
        raise RunError(
            f"{folder} cannot be written ({error}). What was saved before is intact: make room and "
            "give the same command again"
        ) from error


def _score(trainer: Learning, validation: Callable[[Any], Score]) -> Score:
    model: nn.Module = trainer.polyak
    # Each module back to its own mode: a text encoder that learns stays in evaluation mode.
    modes = {module: module.training for module in model.modules()}
    model.eval()
    try:
        return validation(model)
    finally:
        for module, training in modes.items():
            module.training = training


def _write(file: Path, data: bytes) -> None:
    with whole(file) as aside:
        aside.write_bytes(data)


class _Curves:
    """curves.csv and TensorBoard; rows behind the resumed step are dropped first."""

    def __init__(self, folder: Path, step: int) -> None:
        try:
            from torch.utils.tensorboard.writer import SummaryWriter
        except ImportError as error:
            raise RunError(
                f"{error.name or error} is not installed: pip install 'm2d-clap[train]'"
            ) from error
        self._file = folder / "curves.csv"
        kept: list[dict[str, str]] = []
        if self._file.is_file():
            with self._file.open(newline="") as old:
                kept = [row for row in csv.DictReader(old) if int(row["step"]) <= step]
        self._rows: list[dict[str, Any]] = list(kept)
        self._board = SummaryWriter(str(folder / "tensorboard"), purge_step=step)

    def add(
        self,
        step: int,
        epoch: float,
        measured: dict[str, float],
        scored: Score | None,
        flush: bool,
    ) -> None:
        values = dict(measured)
        if scored is not None:
            values |= {f"valid_{name}": value for name, value in scored.measured.items()}
        for name, value in values.items():
            self._board.add_scalar(name, value, step)
        self._rows.append({"step": step, "epoch": round(epoch, 4), **values})
        if flush:
            self._flush()

    def _flush(self) -> None:
        names = list(dict.fromkeys(name for row in self._rows for name in row))
        with whole(self._file) as aside, aside.open("w", newline="") as out:
            writer = csv.DictWriter(out, names)
            writer.writeheader()
            writer.writerows(self._rows)

    def close(self) -> None:
        try:
            self._flush()
        finally:
            self._board.close()
