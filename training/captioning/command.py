"""What `train --stage caption…` does: a captioner on a checkpoint's frozen encoder."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from m2d_clap.model.checkpoint import Checkpoint
from m2d_clap.model.config import TextConfig
from m2d_clap.model.errors import CheckpointError, ClapError
from m2d_clap.model.text_encoder import find_tokenizer
from m2d_clap.training import distributed
from m2d_clap.training.captioning.heard import hear
from m2d_clap.training.captioning.recipe import CaptionStage
from m2d_clap.training.captioning.trainer import CaptionTrainer
from m2d_clap.training.captioning.validation import by_captions
from m2d_clap.training.captioning.vocabulary import caption_vocabulary
from m2d_clap.training.manifest import Row
from m2d_clap.training.run import run
from m2d_clap.training.view import View


def train_captioner(
    stage: CaptionStage,
    parent: Checkpoint | None,
    learning: Sequence[Row],
    valid: Sequence[Row],
    out: Path,
    cache: Path,
    seed: int,
    device: str,
    every: int,
    settings: dict[str, Any],
    text_encoder_path: Path | None = None,
) -> Path:
    """Trains to the end, from where `out` left off; returns the best checkpoint's folder: the
    parent, unchanged, and its captioner.

    settings: what else the run was asked for. Raises CheckpointError without a parent.
    """
    if parent is None:
        raise CheckpointError(
            f"stage {stage.name} learns what a checkpoint's encoder hears: name it with --parent"
        )
    if distributed.started() > 1:
        raise ClapError(f"stage {stage.name} trains in one process: start it without torchrun")
    definition = find_tokenizer(TextConfig("minilm"), text_encoder_path).definition
    texts = list(dict.fromkeys(caption for row in learning for caption in row.captions))
    with View() as view:
        heard = hear(learning, parent, cache, device, view.counting("clips", len(learning)))
        trainer = CaptionTrainer(
            stage, parent, caption_vocabulary(texts, definition), learning, heard, seed, device
        )
        validation = None
        if valid:
            validation = by_captions(valid, hear(valid, parent, cache, device), stage.how)
        view.begin(stage.name, stage.epochs, trainer.plan.visits / trainer.plan.steps)
        whole = {**settings, "stage": dataclasses.asdict(stage), "seed": seed}
        return run(out, trainer, whole, validation, view.show, every)
