"""Several models as one teacher of sounds: what they hear together is better than what each does."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from m2d_clap.model.checkpoint import Checkpoint
from m2d_clap.model.clap import Precision
from m2d_clap.model.config import ClapConfig
from m2d_clap.model.errors import ClapError


class Ensemble:
    """Frozen, and no part of what learns or is saved. Its text side is the first one's.

    Raises ClapError where there is no teacher, or one hears or is asked in other ways than the
    student: mean embeddings need one log-mel, one text encoder and one space.
    """

    def __init__(
        self,
        student: ClapConfig,
        teachers: Sequence[Checkpoint],
        device: str = "cpu",
        precision: Precision = "bfloat16",
    ) -> None:
        if not teachers:
            raise ClapError("this stage learns from other models: name each with --teacher")
        for other in (teacher.config for teacher in teachers):
            if (other.front_end, other.text, other.clap_dim) != (
                *(student.front_end, student.text, student.clap_dim),
            ):
                raise ClapError(
                    f"{other.name} cannot teach {student.name}: their log-mels, text encoders or "
                    "spaces differ"
                )
        self._claps = [teacher.clap(device).requires_grad_(False) for teacher in teachers]
        for clap in self._claps:
            clap.precision = precision

    def __call__(self, images: Tensor) -> Tensor:
        """(batch, 1, mels, frames) normalised → (batch, dim): means of unit embeddings."""
        sounds = list(images)
        each = [F.normalize(clap.project(clap.grids(sounds)), dim=-1) for clap in self._claps]
        return torch.stack(each).mean(dim=0).clone()
