"""The contrastive terms, by which sounds and captions find each other, and the teacher's."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor

MAX_LOGIT_SCALE = math.log(100)


def contrastive_loss(audio: Tensor, text: Tensor, scale: Tensor | float) -> Tensor:
    """Symmetric InfoNCE.

    audio, text: (batch, dim), un-normalised, row i of one belongs to row i of the other.
    scale: multiplies the cosines (exp of the learned logit scale).
    """
    logits = scale * F.normalize(audio, dim=-1) @ F.normalize(text, dim=-1).T
    truth = torch.arange(len(logits), device=logits.device)
    return (F.cross_entropy(logits, truth) + F.cross_entropy(logits.T, truth)) / 2


def caption_loss(audio: Tensor, bank: Tensor, truth: Tensor, scale: Tensor | float) -> Tensor:
    """Symmetric InfoNCE where sounds may share captions, and every caption known is a negative.

    audio: (batch, dim); bank: (captions, dim), both un-normalised. truth: (batch, captions),
    rows summing to 1. Sounds choose among all captions, captions with a sound in the batch among
    the sounds. With one caption a sound, all different, and no others, it is `contrastive_loss`.
    """
    logits = scale * F.normalize(audio, dim=-1) @ F.normalize(bank, dim=-1).T
    by_sound = F.cross_entropy(logits, truth)
    mass = truth.sum(dim=0)
    asked = mass > 0
    by_caption = F.cross_entropy(logits.T[asked], (truth / mass.clamp_min(1e-12)).T[asked])
    return (by_sound + by_caption) / 2


def distillation_loss(learned: Tensor, targets: Tensor) -> Tensor:
    """1 − cosine of what is learned to what the teacher says, both (batch, dim), on average."""
    return 1 - F.cosine_similarity(learned, targets, dim=-1).mean()


@torch.no_grad()
def clamp_logit_scale(logit_scale: Tensor) -> None:
    """Keeps the learned scale between 1 and 100, after every step."""
    logit_scale.clamp_(0, MAX_LOGIT_SCALE)
