"""The examples of every step, from (seed, step) alone: whoever asks, whenever, gets the same."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from m2d_clap.model.errors import ClapError
from m2d_clap.model.mel import normalise
from m2d_clap.model.tokenizer import Tokenizer, Tokens
from m2d_clap.training.augment import NO_AUGMENTATION, mixtures, stretched, varied
from m2d_clap.training.captions import LABEL, CaptionBank
from m2d_clap.training.data import Batch, Epoch, Plan, Weights, crop
from m2d_clap.training.examples import Examples
from m2d_clap.training.lessons import Lessons
from m2d_clap.training.masking import Mask, random_mask, structured_mask
from m2d_clap.training.shards import frames_of
from m2d_clap.training.stages import Stage


@dataclass(frozen=True)
class TrainingSet:
    """sounds: raw log-mels (mels, frames) float16; bank: their captions; weights: visits.

    labels: (sounds, classes) 0 or 1, for stages that learn classes, called class_names.
    lessons: texts of the teacher, for stages that have one.
    """

    sounds: Sequence[Tensor]
    bank: CaptionBank
    weights: Sequence[float] = ()
    labels: Tensor | None = None
    class_names: tuple[str, ...] = ()
    lessons: Lessons | None = None


class Batches:
    """What a stage makes of a training set. Several threads may ask.

    tokenizer: of the text encoder that learns, where the stage has one.
    """

    def __init__(
        self, stage: Stage, data: TrainingSet, seed: int, tokenizer: Tokenizer | None = None
    ) -> None:
        self.stage, self.data, self.seed = stage, data, seed
        self._tokenizer = tokenizer
        self.lessons = _lesson_plan(stage, data, seed)
        self.plan = self.lessons if self.lessons and not stage.hears else _plan(stage, data, seed)
        self._epochs: dict[int, tuple[int, Epoch]] = {}

    @property
    def smallest(self) -> int:
        """Sounds, or texts of a lesson, in the smallest batch."""
        return min(plan.visits // plan.steps for plan in (self.plan, self.lessons) if plan)

    def at(self, step: int, rank: int = 0, world: int = 1) -> Examples:
        """The share of one of `world` processes, on the CPU: sounds cut, varied and masked."""
        rng = np.random.default_rng((self.seed, 1, step))
        examples = self._heard(step, rng, rank, world) if self.stage.hears else Examples()
        lessons = self.data.lessons
        if self.lessons is None or lessons is None:
            return examples
        chosen = list(self._batch(self.lessons, step).members)
        taught = Examples(
            lesson=self._tokens([lessons.texts[number] for number in chosen]),
            targets=lessons.targets[chosen],
        ).share(rank, world)
        return replace(examples, lesson=taught.lesson, targets=taught.targets, taught=len(chosen))

    def _heard(self, step: int, rng: np.random.Generator, rank: int, world: int) -> Examples:
        stage, bank = self.stage, self.data.bank
        batch = self._batch(self.plan, step)
        captions = torch.tensor([int(rng.choice(bank.of_sound[m])) for m in batch.members])
        images, partner, own = self._images(batch, rng, slice(rank, None, world))
        examples = Examples(
            mask=self.mask(len(batch.members), batch.columns, rng), heard=len(batch.members)
        )
        if stage.losses.labels and self.data.labels is not None:
            labels = self.data.labels[list(batch.members)].float()
            examples = replace(examples, labels=_mixed(labels, partner, own))
        if stage.losses.contrast and stage.contrast == "pairs":
            if stage.learns_text:
                tokens = self._tokens([bank.texts[0][c] for c in captions])
                examples = replace(examples, tokens=tokens)
            else:
                examples = replace(examples, sentences=bank.wordings[0][captions])
        elif stage.losses.contrast:
            wording = int(rng.integers(len(bank.texts)))
            if stage.learns_text:  # reading the whole bank at every step would take too long
                texts, truth = bank.present(captions, wording, stage.by_label)
                examples = replace(examples, tokens=self._tokens(texts))
            else:
                truth = bank.truth(captions, wording, stage.by_label)
                examples = replace(examples, sentences=bank.wordings[wording])
            examples = replace(examples, truth=_mixed(truth, partner, own))
        return replace(examples.share(rank, world), images=images)

    def _images(
        self, batch: Batch, rng: np.random.Generator, share: slice
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Normalised log-mels of a share; of the whole batch each sound's partner and weight."""
        members = range(len(batch.members))
        augmentation = self.stage.augmentation
        if augmentation == NO_AUGMENTATION:  # sounds do not meet: the others' need not be made
            sounds = self.sounds(batch, rng, members[share])
            partner, own = torch.tensor(members), torch.ones(len(members))
        else:
            sounds, partner, own = mixtures(
                self.sounds(batch, rng, members), augmentation.mixed, rng
            )
            sounds = varied(sounds, augmentation, rng)[share]
        return normalise(sounds, self.stage.model.front_end).unsqueeze(1), partner, own

    def sounds(self, batch: Batch, rng: np.random.Generator, places: Sequence[int]) -> Tensor:
        """(places, mels, frames) raw log-mels of these places of a batch, cropped, stretched."""
        frames = batch.columns * self.stage.model.encoder.patch_frames
        most = self.stage.augmentation.stretch
        seeds = rng.integers(2**62, size=len(batch.members))
        cut = []
        for place in places:
            of_sound = np.random.default_rng(seeds[place])
            factor = float(np.exp(of_sound.uniform(-np.log(most), np.log(most))))
            long = max(1, round(frames * factor))
            sound = crop(self.data.sounds[batch.members[place]], long, of_sound, self.stage.fill)
            cut.append(stretched(sound, frames))
        return torch.stack(cut)

    def mask(self, batch: int, columns: int, rng: np.random.Generator) -> Mask | None:
        """Which patches of a batch are seen; None for all."""
        masking, rows = self.stage.masking, self.stage.model.grid_rows
        if masking.kind == "none":
            return None
        generator = torch.Generator().manual_seed(int(rng.integers(2**62)))
        if masking.kind == "structured":
            return structured_mask(batch, rows, columns, masking.ratio, generator)
        return random_mask(batch, rows * columns, masking.ratio, generator)

    def _tokens(self, texts: Sequence[str]) -> Tokens:
        assert self._tokenizer is not None
        return self._tokenizer(texts)

    def _batch(self, plan: Plan, step: int) -> Batch:
        """What this step takes of a plan."""
        number, place = divmod(step, plan.steps)
        known = self._epochs.get(id(plan))
        if known is None or known[0] != number:
            known = number, plan.epoch(number)
            self._epochs[id(plan)] = known
        return known[1][place]


def _plan(stage: Stage, data: TrainingSet, seed: int) -> Plan:
    """Which sounds meet in which step."""
    columns = stage.model.encoder.patch_frames
    lengths = np.maximum(1, frames_of(data.sounds) // columns)
    weights = np.asarray(data.weights, dtype=np.float64)
    if (stage.balance or stage.visits) and not len(weights):
        weights = np.ones(len(lengths))
    if stage.balance:
        weights = _balanced(data.bank, weights, stage.balance)
    if stage.visits:
        weights = weights * (min(stage.visits, len(lengths)) / weights.sum())
    most = stage.frames // columns
    return Plan(lengths, stage.batch, most, seed, weights, by_length=stage.cut == "common")


def _balanced(bank: CaptionBank, weights: Weights, power: float) -> Weights:
    """Visits of sounds whose label has n sounds, weighted by n^-power; as many in all."""
    labels = bank.groups[LABEL].numpy()[[captions[0] for captions in bank.of_sound]]
    drawn: Weights = weights * np.bincount(labels)[labels] ** -power
    drawn *= weights.sum() / drawn.sum()
    return drawn


def _lesson_plan(stage: Stage, data: TrainingSet, seed: int) -> Plan | None:
    """Which texts the teacher explains in which step, where the stage has one."""
    if not stage.losses.distil:
        return None
    if data.lessons is None:
        raise ClapError(f"stage {stage.name} learns from a teacher: it needs its lessons")
    dim = stage.model.clap_dim
    if data.lessons.targets.shape[1] != dim:
        raise ClapError(
            f"the teacher of stage {stage.name} has {data.lessons.targets.shape[1]} dimensions, "
            f"its CLAP embeddings {dim}"
        )
    lengths = tuple(len(text) + 1 for text in data.lessons.texts)
    return Plan(lengths, stage.lesson, max(lengths), seed, data.lessons.weights)


def _mixed(truth: Tensor, partner: Tensor, own: Tensor) -> Tensor:
    """(batch, classes): each sound's own, and its partner's by the partner's share."""
    return own[:, None] * truth + (1 - own[:, None]) * truth[partner]
