"""Short sounds of stages that learn classes: silence follows them. `Clap.filled` does the same
wherever the head is asked later."""

from collections.abc import Sequence
from dataclasses import replace

import torch.nn.functional as F
from torch import Tensor

from m2d_clap.model.mel import SILENCE
from m2d_clap.training.shards import frames_of
from m2d_clap.training.stages import Stage


def shortened(stage: Stage, sounds: Sequence[Tensor]) -> Stage:
    """The stage with no more frames than the longest of these sounds fills, where it fills up with
    silence: more would be silence in every one. At least two patches wide."""
    if not stage.filled_frames or not len(sounds):
        return stage
    patch = stage.model.encoder.patch_frames
    longest = -(-int(frames_of(sounds).max()) // patch) * patch
    return replace(stage, frames=min(stage.frames, max(2 * patch, longest)))


def filled(sound: Tensor, frames: int) -> Tensor:
    """(mels, n) raw log-mel → at least so many frames, as zero samples behind it would give them."""
    missing = frames - sound.shape[1]
    return F.pad(sound, (0, missing), value=SILENCE) if missing > 0 else sound
