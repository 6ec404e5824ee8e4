"""What the options of `train` make of a stage, and which of them it does not know."""

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TypeVar

import typer

from m2d_clap.training.captioning.recipe import CaptionStage
from m2d_clap.training.stages import Stage

Recipe = TypeVar("Recipe", Stage, CaptionStage)


def changed(recipe: Recipe, epochs: int | None, batch: int | None, rate: float | None) -> Recipe:
    """rate: per 256 sounds, as `base_rate`. None leaves what the recipe says."""
    return dataclasses.replace(
        recipe,
        epochs=epochs or recipe.epochs,
        warm_up=min(recipe.warm_up, (epochs or recipe.epochs) // 2),
        batch=batch or recipe.batch,
        base_rate=rate or recipe.base_rate,
    )


def refuse_all(stage: str, options: Mapping[str, object]) -> None:
    """Raises BadParameter where any of these options is given."""
    for option, given in options.items():
        if given:
            raise typer.BadParameter(f"stage {stage} knows no {option}")


def refuse_unknown(
    stage: Stage,
    parent: Path | None,
    texts: Sequence[Path] | None,
    teacher: Sequence[Path] | None,
    zero_shot_where: str | None,
) -> None:
    """Raises BadParameter for what the stage would not look at."""
    name = stage.name
    if parent is not None and stage.parent is None:
        raise typer.BadParameter(
            f"stage {name} starts from nothing: it knows no --parent (stages that go on from a "
            "checkpoint: m2d-clap train --list --json)"
        )
    if texts and stage.teacher is None:
        raise typer.BadParameter(f"stage {name} has no teacher to explain --texts")
    if zero_shot_where and stage.losses.labels:
        raise typer.BadParameter(f"stage {name} is scored by its classes: no --zero-shot-where")
    if teacher and not stage.losses.ensemble:
        raise typer.BadParameter(f"stage {name} learns from no --teacher")
