"""Which patches the encoder sees: M2D's random ones (arXiv 2210.14648, III-A), or a structured
subset (whole time columns and frequency rows left out) in the later stages."""

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor


@dataclass(frozen=True)
class Masking:
    """How patches are hidden, and which share of them, 0 … 1."""

    kind: Literal["none", "random", "structured"] = "none"
    ratio: float = 0.0


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
    return Mask(shuffle, shuffle.argsort(dim=1), max(1, kept(patches, ratio)))


def structured_mask(
    batch: int,
    rows: int,
    columns: int,
    ratio: float,
    generator: torch.Generator,
    device: torch.device | None = None,
) -> Mask:
    """Hides whole frequency rows and time columns, other ones for each sound.

    Rows and columns give up like shares, sqrt(1 − ratio) of each staying, as far as the few rows
    allow; columns make up the rest, so that about (1 − ratio) of all patches stay.
    """
    rows_kept = max(1, round(rows * (1 - ratio) ** 0.5))
    columns_kept = min(columns, max(1, round(rows * columns * (1 - ratio) / rows_kept)))
    row = torch.rand(batch, rows, generator=generator).argsort(dim=1)[:, :rows_kept]
    column = torch.rand(batch, columns, generator=generator).argsort(dim=1)[:, :columns_kept]
    hidden = torch.ones(batch, rows, columns)
    sound = torch.arange(batch)
    hidden[sound[:, None, None], row[:, :, None], column[:, None, :]] = 0
    shuffle = hidden.flatten(1).argsort(dim=1, stable=True).to(device or "cpu")
    return Mask(shuffle, shuffle.argsort(dim=1), rows_kept * columns_kept)


def take(tokens: Tensor, places: Tensor) -> Tensor:
    """tokens (batch, patches, width) at places (batch, n) → (batch, n, width)."""
    return tokens.gather(1, places.unsqueeze(-1).expand(-1, -1, tokens.shape[-1]))
