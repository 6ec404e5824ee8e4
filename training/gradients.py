"""The gradients of one step: of the whole batch, whether at once, in parts or in many processes.

Terms that are means over sounds or texts are weighted by each part's share of the batch. Terms that
compare all sounds of the batch (contrast, the head's batch norm) need all of them at once, but only
as embeddings: every part but the first is embedded without gradients, the terms give gradients of
the embeddings, and each part is then worked on again, to pass its own on (GradCache, arXiv
2101.06983). In one part nothing is done twice.
"""

import warnings
from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Tensor, nn

from m2d_clap.training import distributed
from m2d_clap.training.examples import Examples
from m2d_clap.training.learner import Learner, Rows


class Gradients:
    """weights: of every term in the loss. parts: how many a process's share is worked on in."""

    def __init__(self, learner: Learner, weights: Mapping[str, float], parts: int = 1) -> None:
        self._learner, self._weights, self._parts = learner, weights, parts
        self._run: nn.Module = learner
        if distributed.world() > 1:
            # What only `compare` uses has its gradient before the last part, whose graph lacks it.
            apart = parts > 1 and learner.compares
            with warnings.catch_warnings():  # later releases have another name for the option
                warnings.simplefilter("ignore", FutureWarning)
                self._run = nn.parallel.DistributedDataParallel(
                    learner, broadcast_buffers=False, find_unused_parameters=apart
                )

    def __call__(self, examples: Examples) -> dict[str, Tensor]:
        """Adds the loss's to every parameter's; returns the terms, equal in all processes.

        examples: this process's share, on its device, at least one sound (text) for every part.
        """
        first, *others = (examples.part(n, self._parts) for n in range(self._parts))
        seen = [_leaves(self._learner.preview(part)) for part in others]
        with self._synchronised(not others):
            rows, means = self._run(first)
            every = {
                name: distributed.gathered(
                    torch.cat([own, *(leaves[name] for leaves in seen)]), examples.heard
                )
                for name, own in rows.items()
            }
            terms = self._learner.compare(every, examples)
            loss = [self._mean(means, first), *(self._weights[n] * t for n, t in terms.items())]
            torch.stack(loss).sum().backward()
        shares = [_shares(means, first)]
        for number, (part, leaves) in enumerate(zip(others, seen, strict=True), start=2):
            with self._synchronised(number == self._parts):
                rows, means = self._run(part)
                ends = [rows[name] for name in rows if rows[name].requires_grad]
                pulls: list[Tensor | None] = [
                    leaves[name].grad for name in rows if rows[name].requires_grad
                ]
                if means:
                    ends, pulls = [*ends, self._mean(means, part)], [*pulls, None]
                torch.autograd.backward(ends, pulls)
            shares.append(_shares(means, part))
        found = {name: term.detach() for name, term in terms.items()}
        for name in means:
            found[name] = distributed.total(torch.stack([share[name] for share in shares]).sum())
        return found

    def _mean(self, means: Mapping[str, Tensor], part: Examples) -> Tensor:
        """This part of the loss's means; times the processes, whose gradients are averaged."""
        shares = part.weights
        weighted = [
            self._weights[n] * shares[n] * distributed.world() * m for n, m in means.items()
        ]
        return torch.stack(weighted).sum() if weighted else torch.zeros((), device=self._device)

    @property
    def _device(self) -> torch.device:
        return self._learner.clap.device

    def _synchronised(self, last: bool) -> AbstractContextManager[None]:
        if last or not isinstance(self._run, nn.parallel.DistributedDataParallel):
            return nullcontext()
        context: AbstractContextManager[None] = self._run.no_sync()
        return context


def _leaves(rows: Rows) -> Rows:
    return {name: row.detach().requires_grad_() for name, row in rows.items()}


def _shares(means: Mapping[str, Tensor], part: Examples) -> dict[str, Tensor]:
    return {name: mean.detach() * part.weights[name] for name, mean in means.items()}
