"""What the encoder sees, as a picture."""

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch

if TYPE_CHECKING:
    from m2d_clap.training.loop import Trainer


def masked_picture(trainer: "Trainer", file: Path, sounds: int = 6) -> None:
    """Writes a PNG: for a few training sounds, the log-mel above, its visible patches below."""
    from PIL import Image

    stage = trainer.stage
    rng = np.random.default_rng((trainer.seed, 2, trainer.step))
    batches = trainer.batches
    batch = batches.plan.epoch(0)[0]
    images = batches.sounds(batch, rng, range(min(sounds, len(batch.members))))
    size = stage.model.encoder
    rows, columns = stage.model.grid_rows, batch.columns
    mask = batches.mask(len(images), columns, rng)
    visible = torch.ones(len(images), rows * columns)
    if mask is not None:
        visible.scatter_(1, mask.masked.cpu(), 0.0)
    patches = visible.view(-1, rows, columns)
    patches = patches.repeat_interleave(size.patch_mels, 1)
    patches = patches.repeat_interleave(size.patch_frames, 2)
    low, high = images.amin(), images.amax()
    grey = ((images - low) / (high - low).clamp_min(1e-6) * 255).flip(1)
    pairs = torch.cat([grey, grey * patches.flip(1)], dim=1)
    strip = torch.cat(list(pairs), dim=1).byte().numpy()
    file.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(strip).save(file)
