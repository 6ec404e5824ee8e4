"""The examples of every captioning step, from (seed, step) alone."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from m2d_clap.model.captioner import HIDDEN, PAD
from m2d_clap.model.tokenizer import Tokenizer
from m2d_clap.training.captioning.recipe import CaptionStage
from m2d_clap.training.data import Plan
from m2d_clap.training.manifest import Row


class Clips(Protocol):
    """What an encoder heard in clips."""

    @property
    def clap(self) -> Tensor: ...
    def __len__(self) -> int: ...
    def patches(self, number: int) -> Tensor: ...


@dataclass(frozen=True)
class Lesson:
    """clap: (clips, dim); patches: of each clip (tokens, width). Two sentences a clip, its own and
    its partner's: said (2 · clips, words) what the decoder sees, wanted: what comes next, PAD where
    nothing does; weights (2 · clips,): 0 for the partner of a clip that is not mixed."""

    clap: Tensor
    patches: tuple[Tensor, ...]
    said: Tensor
    wanted: Tensor
    weights: Tensor

    def to(self, device: torch.device) -> "Lesson":
        return Lesson(
            self.clap.to(device),
            tuple(tokens.to(device) for tokens in self.patches),
            self.said.to(device),
            self.wanted.to(device),
            self.weights.to(device),
        )


class CaptionLessons:
    """What a stage makes of clips and their captions.

    Captions longer than the stage's max_tokens are cut.
    """

    def __init__(
        self,
        stage: CaptionStage,
        rows: Sequence[Row],
        heard: Clips,
        tokenizer: Tokenizer,
        seed: int,
    ) -> None:
        self._stage, self._heard, self._seed = stage, heard, seed
        self._captions = [
            [ids[mask.bool()] for ids, mask in zip(tokens.ids, tokens.mask, strict=True)]
            for tokens in (tokenizer(row.captions) for row in rows)
        ]
        weights = np.array([row.weight for row in rows])
        if stage.balance:
            count = Counter(row.captions[0] for row in rows)
            weights = weights * [count[row.captions[0]] ** -stage.balance for row in rows]
            weights *= len(rows) / weights.sum()
        even = bool(np.allclose(weights, 1))
        self.plan = Plan(
            np.ones(len(rows), np.int64), stage.batch, 1, seed, () if even else weights
        )

    def at(self, step: int) -> Lesson:
        """On the CPU."""
        number, place = divmod(step, self.plan.steps)
        members = self.plan.epoch(number)[place].members
        rng = np.random.default_rng((self._seed, 1, step))
        clap = self._clap(members, rng)
        patches = [self._patches(member, rng) for member in members]
        captions = [
            self._captions[member][rng.integers(len(self._captions[member]))] for member in members
        ]
        partner = rng.permutation(len(members))
        own = np.where(
            rng.random(len(members)) < self._stage.mixed, rng.uniform(0.5, 1, len(members)), 1.0
        )
        share = torch.from_numpy(own).float()[:, None]
        mixed = [
            tokens if one == 1 else _mixed(tokens, patches[other], float(one))
            for tokens, other, one in zip(patches, partner, own, strict=True)
        ]
        both = [
            ids for one, other in enumerate(partner) for ids in (captions[one], captions[other])
        ]
        ids = torch.nn.utils.rnn.pad_sequence(both, batch_first=True, padding_value=PAD)
        said = ids[:, :-1].clone()
        hidden = torch.from_numpy(rng.random(said.shape) < self._stage.hidden_words)
        hidden[:, 0] = False
        said[hidden & (said != PAD)] = HIDDEN
        return Lesson(
            clap=share * clap + (1 - share) * clap[torch.from_numpy(partner)],
            patches=tuple(mixed),
            said=said,
            wanted=ids[:, 1:],
            weights=torch.cat([share, 1 - share], dim=1).flatten(),
        )

    def _clap(self, members: Sequence[int], rng: np.random.Generator) -> Tensor:
        """Unit length, then noise."""
        clap = F.normalize(self._heard.clap[list(members)].float(), dim=1)
        noise = torch.from_numpy(rng.standard_normal(clap.shape)).float()
        noisy: Tensor = clap + self._stage.noise * clap.shape[1] ** -0.5 * noise
        return noisy

    def _patches(self, member: int, rng: np.random.Generator) -> Tensor:
        tokens = self._heard.patches(member)
        if len(tokens) > self._stage.patches:
            tokens = tokens[torch.from_numpy(rng.permutation(len(tokens))[: self._stage.patches])]
        return tokens.float()


def _mixed(a: Tensor, b: Tensor, share: float) -> Tensor:
    """As many tokens as both have, each a mean of two."""
    common = min(len(a), len(b))
    return share * a[:common] + (1 - share) * b[:common]
