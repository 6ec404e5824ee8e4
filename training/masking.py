"""Which patches the online encoder sees (M2D, arXiv 2210.14648, III-A)."""

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Mask:
    """shuffle, restore: (batch, patches) int64, inverse to each other; the first `keep` of
    `shuffle` are visible, the rest masked."""

    shuffle: Tensor
    restore: Tensor
    keep: int

    @property
    def visible(self) -> Tensor:
        return self.shuffle[:, : self.keep]

    @property
    def masked(self) -> Tensor:
        return self.shuffle[:, self.keep :]


def kept(patches: int, ratio: float) -> int:
    """How many patches stay visible; float rounding is the reference's (190 at 0.8 keeps 37)."""
    return int(patches * (1 - ratio))


def random_mask(
    batch: int,
    patches: int,
    ratio: float,
    generator: torch.Generator,
    device: torch.device | None = None,
) -> Mask:
    """Every patch is equally likely to be masked, independently for each sound."""
    noise = torch.rand(batch, patches, generator=generator).to(device or "cpu")
    shuffle = noise.argsort(dim=1)
    return Mask(shuffle, shuffle.argsort(dim=1), kept(patches, ratio))


def take(tokens: Tensor, places: Tensor) -> Tensor:
    """tokens (batch, patches, width) at places (batch, n) → (batch, n, width)."""
    return tokens.gather(1, places.unsqueeze(-1).expand(-1, -1, tokens.shape[-1]))
