"""One Linear layer on frozen features, trained as EVAR's linear evaluation does."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from m2d_clap.training.metrics import mean_average_precision


@dataclass(frozen=True)
class HeadRecipe:
    """Adam's settings, the batch (all clips where they are fewer), and when to stop.

    patience: epochs without a validation score at least the best.
    """

    rate: float = 3e-5
    betas: tuple[float, float] = (0.9, 0.999)
    eps: float = 1e-8
    weight_decay: float = 1e-8
    batch: int = 200
    epochs: int = 200
    patience: int = 20


LINEAR = HeadRecipe()


class Patience:
    """Follows validation scores; a score equal to the best counts as better."""

    def __init__(self, epochs: int) -> None:
        self.best = float("-inf")
        self._epochs, self._waited = epochs, 0

    def better(self, score: float) -> bool:
        """Takes the next epoch's score: whether its weights are the ones to keep."""
        better = score >= self.best
        if better:
            self.best, self._waited = score, 0
        else:
            self._waited += 1
        return better

    @property
    def over(self) -> bool:
        return self._waited >= self._epochs


@dataclass(frozen=True)
class Labels:
    """Standardised features (clips, width) and multi-hot truth (clips, classes) on one device."""

    features: Tensor
    targets: Tensor


@dataclass(frozen=True)
class Head:
    """weight (classes, width), bias (classes,); valid: its score; epochs: how many were run."""

    weight: Tensor
    bias: Tensor
    valid: float
    epochs: int

    def logits(self, features: Tensor) -> Tensor:
        """(clips, width) → (clips, classes)."""
        return F.linear(features, self.weight, self.bias)


def fit_head(
    train: Labels,
    valid: Labels,
    one_label: bool,
    seed: int,
    recipe: HeadRecipe = LINEAR,
    scorer: Callable[[Tensor, Tensor, bool], float] | None = None,
) -> Head:
    """The head of the best epoch on `valid`.

    One label a clip: cross-entropy divided by the number of classes, judged by accuracy; several:
    binary cross-entropy, judged by macro average precision (`scorer` stands in for both).
    """
    scorer = scorer or score
    clips, width = train.features.shape
    classes = train.targets.shape[1]
    device = train.features.device
    # Everything random is drawn on the CPU, so that a seed means the same on every device.
    generator = torch.Generator().manual_seed(seed)
    bound = width**-0.5
    weight = torch.empty(classes, width).uniform_(-bound, bound, generator=generator).to(device)
    bias = torch.empty(classes).uniform_(-bound, bound, generator=generator).to(device)
    wanted = train.targets.int().argmax(dim=1) if one_label else train.targets.float()
    learned = [weight.requires_grad_(), bias.requires_grad_()]
    adam = torch.optim.Adam(
        learned,
        lr=recipe.rate,
        betas=recipe.betas,
        eps=recipe.eps,
        weight_decay=recipe.weight_decay,
        fused=True,
    )
    patience, kept, epoch = Patience(recipe.patience), (weight, bias), 0
    while epoch < recipe.epochs and not patience.over:
        epoch += 1
        order = torch.randperm(clips, generator=generator).to(device)
        for chosen in order.split(min(recipe.batch, clips)):
            logits = F.linear(train.features[chosen], weight, bias)
            if one_label:
                loss = F.cross_entropy(logits, wanted[chosen]) / classes
            else:
                loss = F.binary_cross_entropy_with_logits(logits, wanted[chosen])
            weight.grad, bias.grad = torch.autograd.grad(loss, learned)
            adam.step()
        with torch.no_grad():
            found = scorer(F.linear(valid.features, weight, bias), valid.targets, one_label)
        if patience.better(found):
            kept = (weight.detach().clone(), bias.detach().clone())
    return Head(*kept, valid=patience.best, epochs=epoch)


def score(logits: Tensor, targets: Tensor, one_label: bool) -> float:
    """Accuracy, or macro average precision, of (clips, classes) logits."""
    if one_label:
        right = targets.gather(1, logits.argmax(dim=1, keepdim=True))
        return float(right.float().mean())
    return mean_average_precision(logits.float().cpu().numpy(), targets.cpu().numpy())
