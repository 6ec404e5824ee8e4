"""One optimiser step after another, exactly resumable: everything follows from (seed, step)."""

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from m2d_clap.model.checkpoint import Checkpoint
from m2d_clap.model.clap import Clap, Precision
from m2d_clap.model.errors import ClapError
from m2d_clap.model.mel import normalise
from m2d_clap.model.tokenizer import Tokens
from m2d_clap.training import distributed
from m2d_clap.training.augment import mixtures, stretched, varied
from m2d_clap.training.captions import LABEL, CaptionBank
from m2d_clap.training.data import Batch, Plan, crop
from m2d_clap.training.inherit import inherit, initialised
from m2d_clap.training.lars import Lars
from m2d_clap.training.learner import Examples, Learner
from m2d_clap.training.lessons import Lessons
from m2d_clap.training.losses import clamp_logit_scale
from m2d_clap.training.masking import Mask, random_mask, structured_mask
from m2d_clap.training.optim import LearningRate, ema_decay, parameter_groups
from m2d_clap.training.stages import Stage


class TrainingDivergedError(ClapError):
    """The loss is no number; the last checkpoint is intact."""


@dataclass(frozen=True)
class TrainingSet:
    """sounds: raw log-mels (mels, frames) float16; bank: their captions; weights: visits.

    labels: (sounds, classes) float 0 or 1, for stages that learn classes, called class_names.
    lessons: texts of the teacher, for stages that have one.
    """

    sounds: Sequence[Tensor]
    bank: CaptionBank
    weights: tuple[float, ...] = ()
    labels: Tensor | None = None
    class_names: tuple[str, ...] = ()
    lessons: Lessons | None = None


class Trainer(nn.Module):
    """The learning state of a run: what learns, its optimiser, its averaged weights.

    parent: the checkpoint the stage starts from, where it has one.
    """

    def __init__(
        self,
        stage: Stage,
        data: TrainingSet,
        seed: int,
        device: str = "cpu",
        parent: Checkpoint | None = None,
        text: Mapping[str, Tensor] | None = None,
        precision: Precision = "bfloat16",
    ) -> None:
        super().__init__()
        torch.manual_seed(seed)
        if stage.losses.labels:
            stage = replace(stage, model=replace(stage.model, labels=data.class_names))
        self.stage, self.data, self.seed = stage, data, seed
        clap = initialised(Clap(stage.model))
        inherit(clap, stage, parent, text)
        self.learner = Learner(stage, clap, precision)
        if self.learner.m2d is not None:
            initialised(self.learner.m2d.predictor)
        self.learner.requires_grad_(False)
        learning = [p for n, p in self.learner.named_parameters() if _moves(n, stage)]
        for parameter in learning:
            parameter.requires_grad_()
        self.polyak = copy.deepcopy(clap).requires_grad_(False) if stage.polyak else clap
        self.to(device)
        named = [(n, p) for n, p in self.learner.named_parameters() if p.requires_grad]
        self.optimiser = _optimiser(stage, named)
        self.schedule = LearningRate(stage.rate, stage.epochs, stage.warm_up)
        self.step = 0
        self.lessons = _lesson_plan(stage, data, seed)
        self.plan = self.lessons if self.lessons and not stage.hears else _plan(stage, data, seed)
        self._epochs: dict[int, tuple[int, list[Batch]]] = {}
        # In a list, so that the wrapper's copies of the names are no part of the state.
        self._run: list[nn.Module] = [_together(self.learner)]

    @property
    def clap(self) -> Clap:
        """The model that learns; `polyak` is the one to be exported."""
        return self.learner.clap

    @property
    def steps(self) -> int:
        """Steps of the whole run."""
        return self.plan.steps * self.stage.epochs

    @property
    def epoch(self) -> float:
        return self.step / self.plan.steps

    def advance(self) -> dict[str, float]:
        """One step; returns what it measured. Raises TrainingDivergedError, state unchanged."""
        rate = self.schedule.at(self.epoch)
        for group in self.optimiser.param_groups:
            group["lr"] = rate
        examples = self.examples().share(distributed.rank(), distributed.world())
        terms = self._run[0](examples)
        loss = torch.stack([self._weights[name] * term for name, term in terms.items()]).sum()
        if not distributed.everywhere(bool(torch.isfinite(loss))):
            raise TrainingDivergedError(
                f"the loss became {loss.item()} at step {self.step}: the last checkpoint is "
                "intact; start again from it with a lower --base-rate"
            )
        self.optimiser.zero_grad(set_to_none=True)
        loss.backward()
        norm = torch.nn.utils.clip_grad_norm_(
            [p for g in self.optimiser.param_groups for p in g["params"]], self.stage.clip_norm
        )
        self.optimiser.step()
        clamp_logit_scale(self.clap.logit_scale)
        if self.learner.m2d is not None:
            self.learner.m2d.update_target(ema_decay(self.step, self.steps, *self.stage.ema))
        self._average()
        self.step += 1
        measured = {name: float(value.detach()) for name, value in terms.items()}
        return {
            **measured,
            "loss": float(loss.detach()),
            "rate": rate,
            "gradient_norm": float(norm),
            "logit_scale": float(self.clap.logit_scale.detach().exp()),
        }

    @property
    def _weights(self) -> dict[str, float]:
        losses = self.stage.losses
        return {
            "loss_m2d": losses.m2d,
            "loss_clap": losses.contrast,
            "loss_labels": losses.labels,
            "loss_distil": losses.distil,
        }

    def examples(self) -> Examples:
        """The whole batch of this step, whichever process asks: sounds cut, varied and masked."""
        rng = np.random.default_rng((self.seed, 1, self.step))
        examples = self._heard(rng) if self.stage.hears else Examples()
        lessons = self.data.lessons
        if self.lessons is None or lessons is None:
            return examples
        chosen = list(self._batch(self.lessons).members)
        return replace(
            examples,
            lesson=self._tokens([lessons.texts[number] for number in chosen]),
            targets=lessons.targets[chosen].to(self.clap.device),
        )

    def _heard(self, rng: np.random.Generator) -> Examples:
        stage, bank, device = self.stage, self.data.bank, self.clap.device
        batch = self._batch(self.plan)
        captions = torch.tensor([int(rng.choice(bank.of_sound[m])) for m in batch.members])
        sounds = self.sounds(batch, rng)
        sounds, partner, own = mixtures(sounds, stage.augmentation.mixed, rng)
        sounds = varied(sounds, stage.augmentation, rng)
        examples = Examples(
            images=normalise(sounds, stage.model.front_end).unsqueeze(1).to(device),
            mask=self.mask(len(sounds), batch.columns, rng),
        )
        if stage.losses.labels and self.data.labels is not None:
            labels = _mixed(self.data.labels[list(batch.members)], partner, own)
            examples = replace(examples, labels=labels.to(device))
        if not stage.losses.contrast:
            return examples
        if stage.contrast == "pairs":
            if stage.learns_text:
                texts = [bank.texts[0][c] for c in captions]
                return replace(examples, tokens=self._tokens(texts))
            return replace(examples, sentences=bank.wordings[0][captions].to(device))
        wording = int(rng.integers(len(bank.texts)))
        if stage.learns_text:  # reading the whole bank at every step would take too long
            texts, truth = bank.present(captions, wording, stage.by_label)
            examples = replace(examples, tokens=self._tokens(texts))
        else:
            truth = bank.truth(captions, wording, stage.by_label)
            examples = replace(examples, sentences=bank.wordings[wording].to(device))
        return replace(examples, truth=_mixed(truth, partner, own).to(device))

    def sounds(self, batch: Batch, rng: np.random.Generator) -> Tensor:
        """(batch, mels, frames) raw log-mels, cropped and varied."""
        frames = batch.columns * self.stage.model.encoder.patch_frames
        most = self.stage.augmentation.stretch
        cut = []
        for member in batch.members:
            factor = float(np.exp(rng.uniform(-np.log(most), np.log(most))))
            long = max(1, round(frames * factor))
            cut.append(stretched(crop(self.data.sounds[member], long, rng), frames))
        return torch.stack(cut)

    def mask(self, batch: int, columns: int, rng: np.random.Generator) -> Mask | None:
        """Which patches of a batch are seen; None for all."""
        masking, rows = self.stage.masking, self.clap.audio.backbone.rows
        if masking.kind == "none":
            return None
        generator = torch.Generator().manual_seed(int(rng.integers(2**62)))
        device = self.clap.device
        if masking.kind == "structured":
            return structured_mask(batch, rows, columns, masking.ratio, generator, device)
        return random_mask(batch, rows * columns, masking.ratio, generator, device)

    def _tokens(self, texts: Sequence[str]) -> Tokens:
        tokenizer = self.clap.text_encoder().tokenizer
        assert tokenizer is not None
        return tokenizer(texts).to(self.clap.device)

    def _batch(self, plan: Plan) -> Batch:
        """What this step takes of a plan."""
        number, place = divmod(self.step, plan.steps)
        known, batches = self._epochs.get(id(plan), (-1, []))
        if known != number:
            batches = plan.epoch(number)
            self._epochs[id(plan)] = (number, batches)
        return batches[place]

    @torch.no_grad()
    def _average(self) -> None:
        if not self.stage.polyak:
            return
        # Young averages would remember the random start for long.
        decay = min(self.stage.polyak, (1 + self.step) / (10 + self.step))
        fast = dict(self.clap.named_parameters())
        for name, slow in self.polyak.named_parameters():
            slow.lerp_(fast[name].detach(), 1 - decay)

    def snapshot(self) -> dict[str, Any]:
        """Everything a run needs to go on as if nothing had happened."""
        return {
            "step": self.step,
            "modules": self.state_dict(),
            "optimiser": self.optimiser.state_dict(),
        }

    def restore(self, snapshot: Mapping[str, Any]) -> None:
        self.load_state_dict(snapshot["modules"])
        self.optimiser.load_state_dict(snapshot["optimiser"])
        self.step = int(snapshot["step"])


def _moves(name: str, stage: Stage) -> bool:
    return name.startswith(stage.learns) and not name.endswith("pos_embed")


def _balanced(bank: CaptionBank, weights: Sequence[float], power: float) -> tuple[float, ...]:
    """Visits of sounds whose label has n sounds, weighted by n^-power; as many in all."""
    labels = [int(bank.groups[LABEL][captions[0]]) for captions in bank.of_sound]
    count = np.bincount(labels)[labels]
    drawn = np.asarray(weights) * count**-power
    return tuple((drawn * sum(weights) / drawn.sum()).tolist())


def _plan(stage: Stage, data: TrainingSet, seed: int) -> Plan:
    """Which sounds meet in which step."""
    columns = stage.model.encoder.patch_frames
    lengths = tuple(max(1, s.shape[1] // columns) for s in data.sounds)
    weights = data.weights
    if stage.balance:
        weights = _balanced(data.bank, weights or (1.0,) * len(lengths), stage.balance)
    if stage.visits:
        each = weights or (1.0,) * len(lengths)
        weights = tuple(w * stage.visits / sum(each) for w in each)
    return Plan(lengths, stage.batch, stage.frames // columns, seed, weights)


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


def _optimiser(stage: Stage, named: list[tuple[str, nn.Parameter]]) -> torch.optim.Optimizer:
    groups = parameter_groups(named, stage.weight_decay)
    if stage.optimiser == "lars":
        return Lars(groups)
    if stage.optimiser == "sgd":
        return torch.optim.SGD(groups, lr=0.0, momentum=0.9)
    return torch.optim.AdamW(groups, lr=0.0, betas=(0.9, 0.95))


def _together(learner: Learner) -> nn.Module:
    """The learner, its gradients averaged over the processes where there are several."""
    if distributed.world() == 1:
        return learner
    return nn.parallel.DistributedDataParallel(learner)
