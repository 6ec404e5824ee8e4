"""Mixing two sounds as log-mels, as if their powers added."""

import torch
from torch import Tensor

from m2d_clap.model.mel import EPSILON


def mix_log_mels(a: Tensor, b: Tensor, share: float) -> Tensor:
    """log(share · exp(a) + (1 − share) · exp(b)), raw log-mels of equal shape."""
    return torch.log((share * a.exp() + (1 - share) * b.exp()).clamp_min(EPSILON))
