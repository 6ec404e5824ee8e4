"""The command `average`: checkpoints of one model become one, the mean of their weights.

Of a model and what it was fine-tuned to, the mean keeps much of what the first knew (WiSE-FT, arXiv
2109.01903); of runs from one parent it is often better than each (model soups, arXiv 2203.05482).
"""

import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import torch
import typer

from m2d_clap.model.checkpoint import Checkpoint
from m2d_clap.model.errors import CheckpointError


def average(
    checkpoints: Annotated[list[Path], typer.Argument(help="two folders or more")],
    out: Annotated[Path, typer.Option("--out", help="the checkpoint folder to write")] = ...,  # type: ignore[assignment]
    share: Annotated[
        list[float] | None, typer.Option(help="one for each checkpoint; default: the same", min=0)
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="for machines")] = False,
) -> None:
    """Make one checkpoint of several of the same model: the mean of their weights.

    m2d-clap average clap-2025 runs/mine/best --share 1 --share 2 --out clap-mine
    """
    if len(checkpoints) < 2:
        raise typer.BadParameter("name two checkpoints or more")
    shares = share or [1.0] * len(checkpoints)
    if len(shares) != len(checkpoints) or not sum(shares):
        raise typer.BadParameter("--share is given once for each checkpoint, and not 0 for all")
    mean = mean_of([Checkpoint.load(folder) for folder in checkpoints], shares)
    mean.save(out)
    if as_json:
        typer.echo(json.dumps({"checkpoint": str(out), "fingerprint": mean.fingerprint}))
        return
    typer.echo(f"{out}: {mean.config.name}, fingerprint {mean.fingerprint[:12]}")


def mean_of(checkpoints: Sequence[Checkpoint], shares: Sequence[float]) -> Checkpoint:
    """With the first one's name and number formats, under all their licences, without captioners,
    which know one encoder only.

    Raises CheckpointError naming the settings in which they differ.
    """
    first = checkpoints[0]
    for other in checkpoints[1:]:
        differ = [
            field.name
            for field in dataclasses.fields(first.config)
            if field.name not in ("name", "licence")
            and getattr(first.config, field.name) != getattr(other.config, field.name)
        ]
        if first.tokenizer != other.tokenizer:
            differ.append("tokenizer")
        if differ:
            raise CheckpointError(
                f"these are different models, which have no mean: {first.config.name} and "
                f"{other.config.name} differ in {', '.join(differ)}"
            )
    whole = sum(shares)
    weights = {}
    for name, weight in first.weights.items():
        parts = [
            checkpoint.weights[name].double() * (share / whole)
            for checkpoint, share in zip(checkpoints, shares, strict=True)
        ]
        weights[name] = torch.stack(parts).sum(dim=0).to(weight.dtype)
    licences = dict.fromkeys(checkpoint.config.licence for checkpoint in checkpoints)
    config = dataclasses.replace(first.config, licence=" and ".join(licences))
    return Checkpoint(config, weights, first.tokenizer)
