"""Schedules and parameter groups of the recipe (arXiv 2503.22104, table of stages)."""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn


@dataclass(frozen=True)
class LearningRate:
    """Linear warm-up, then half a cosine down to `least`. Epochs may be fractional."""

    peak: float
    epochs: float
    warm_up: float = 0.0
    least: float = 0.0

    def at(self, epoch: float) -> float:
        if epoch < self.warm_up:
            return self.peak * epoch / self.warm_up
        progress = (epoch - self.warm_up) / (self.epochs - self.warm_up)
        return self.least + (self.peak - self.least) * 0.5 * (1 + math.cos(math.pi * progress))


def ema_decay(step: int, steps: int, first: float = 0.99995, last: float = 0.99999) -> float:
    """The target encoder's decay at `step` of `steps`, rising linearly."""
    return first + (last - first) * step / max(1, steps - 1)


@torch.no_grad()
def average(slow: nn.Module, fast: nn.Module, decay: float, step: int) -> None:
    """Moves the averaged weights `slow` towards `fast`, the same modules, after `step` (from 0).
    Buffers, such as a batch norm's running means, are averages already: they are copied."""
    # Young averages would remember the random start for long.
    decay = min(decay, (1 + step) / (10 + step))
    learned = dict(fast.named_parameters())
    for name, weight in slow.named_parameters():
        weight.lerp_(learned[name].detach(), 1 - decay)
    counted = dict(fast.named_buffers())
    for name, buffer in slow.named_buffers():
        buffer.copy_(counted[name])


def parameter_groups(
    named: Iterable[tuple[str, nn.Parameter]], weight_decay: float = 0.05
) -> list[dict[str, Any]]:
    """AdamW groups: no decay for biases and 1-D tensors; the 0-d logit scale is decayed."""
    learning = [(name, p) for name, p in named if p.requires_grad]
    spared = [p for name, p in learning if p.ndim == 1 or name.endswith(".bias")]
    decayed = [p for name, p in learning if not (p.ndim == 1 or name.endswith(".bias"))]
    return [
        {"params": decayed, "weight_decay": weight_decay},
        {"params": spared, "weight_decay": 0.0},
    ]
