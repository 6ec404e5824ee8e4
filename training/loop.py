"""One optimiser step after another, exactly resumable: everything follows from (seed, step)."""

import copy
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from m2d_clap.model.checkpoint import Checkpoint
from m2d_clap.model.clap import Clap, Precision, fastest_precision
from m2d_clap.model.errors import ClapError
from m2d_clap.training import distributed
from m2d_clap.training.batches import Batches, TrainingSet
from m2d_clap.training.data import Plan
from m2d_clap.training.ensemble import Ensemble
from m2d_clap.training.examples import Examples
from m2d_clap.training.execution import USUAL, Execution, checkpoint_blocks, compile_blocks
from m2d_clap.training.gradients import Gradients
from m2d_clap.training.inherit import inherit, initialised
from m2d_clap.training.lars import Lars
from m2d_clap.training.learner import Learner
from m2d_clap.training.losses import clamp_logit_scale
from m2d_clap.training.optim import LearningRate, average, ema_decay, parameter_groups
from m2d_clap.training.prefetch import Prefetch
from m2d_clap.training.stages import Stage


class TrainingDivergedError(ClapError):
    """The loss is no number; what was saved before is intact."""

    def __init__(self, step: int, loss: float, norm: float) -> None:
        super().__init__(
            f"the loss became {loss}, its gradients' norm {norm} at step {step}; the last "
            "checkpoint is intact. Train anew with a lower --base-rate, in another --out: a run "
            "goes on with the rate it was begun with"
        )


class Trainer(nn.Module):
    """The learning state of a run: what learns, its optimiser, its averaged weights.

    parent: the checkpoint the stage starts from, where it has one; teachers: those it learns from;
    precision: by default the fastest of the device.
    """

    def __init__(
        self,
        stage: Stage,
        data: TrainingSet,
        seed: int,
        device: str = "cpu",
        parent: Checkpoint | None = None,
        text: Mapping[str, Tensor] | None = None,
        precision: Precision | None = None,
        execution: Execution = USUAL,
        teachers: Sequence[Checkpoint] = (),
    ) -> None:
        super().__init__()
        torch.manual_seed(seed)
        if stage.losses.labels:
            labels, frames = data.class_names, stage.filled_frames
            stage = replace(stage, model=replace(stage.model, labels=labels, head_frames=frames))
        precision = precision or fastest_precision(device)
        self.stage, self.data, self.seed, self.execution = stage, data, seed, execution
        clap = initialised(Clap(stage.model))
        inherit(clap, stage, parent, text)
        ensemble = (
            Ensemble(stage.model, teachers, device, precision) if stage.losses.ensemble else None
        )
        self.learner = Learner(stage, clap, precision, ensemble)
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
        tokenizer = clap.text_encoder().tokenizer if stage.learns_text else None
        self.batches = Batches(stage, data, seed, tokenizer)
        parts = execution.accumulate * distributed.world()
        if self.batches.smallest < parts:
            raise ClapError(
                f"{self.batches.smallest} sounds a step cannot be shared among {parts} (processes "
                "× --accumulate): take a larger --batch or fewer parts"
            )
        if execution.compiled:
            compile_blocks(self.learner)
        if execution.checkpoint_activations:
            checkpoint_blocks(self.learner)
        self._gradients = Gradients(self.learner, stage.losses.weights, execution.accumulate)
        self._coming = Prefetch(self._make, self.steps, execution.ahead)

    @property
    def plan(self) -> Plan:
        return self.batches.plan

    @property
    def clap(self) -> Clap:
        """The model that learns; `polyak` is the one to be exported."""
        return self.learner.clap

    @property
    def device(self) -> torch.device:
        return self.clap.device

    def checkpoint(self) -> Checkpoint:
        """The averaged weights, as they are exported."""
        return Checkpoint.of(self.polyak, torch.float16)

    @property
    def steps(self) -> int:
        """Steps of the whole run."""
        return self.plan.steps * self.stage.epochs

    @property
    def epoch(self) -> float:
        return self.step / self.plan.steps

    def advance(self) -> dict[str, float]:
        """One step; returns what it measured. Raises TrainingDivergedError, no weight changed."""
        return self.update(self.gradients(self.take()))

    def take(self) -> Examples:
        """This process's share of the step's examples, on the device."""
        return self._coming.take(self.step).to(self.clap.device)

    def gradients(self, examples: Examples) -> dict[str, Tensor]:
        """Makes every parameter's gradient anew; returns the terms of the loss."""
        self.optimiser.zero_grad(set_to_none=True)
        return self._gradients(examples)

    def update(self, terms: Mapping[str, Tensor]) -> dict[str, float]:
        """Moves the weights along their gradients; returns what the step measured."""
        rate = self.schedule.at(self.epoch)
        for group in self.optimiser.param_groups:
            group["lr"] = rate
        weights = self.stage.losses.weights
        loss = torch.stack([weights[name] * term for name, term in terms.items()]).sum()
        norm = torch.nn.utils.clip_grad_norm_(
            [p for g in self.optimiser.param_groups for p in g["params"]], self.stage.clip_norm
        )
        if not distributed.everywhere(bool(torch.isfinite(loss) & torch.isfinite(norm))):
            raise TrainingDivergedError(self.step, loss.item(), norm.item())
        self.optimiser.step()
        clamp_logit_scale(self.clap.logit_scale)
        if self.learner.m2d is not None:
            self.learner.m2d.update_target(ema_decay(self.step, self.steps, *self.stage.ema))
        if self.stage.polyak:
            average(self.polyak, self.clap, self.stage.polyak, self.step)
        self.step += 1
        measured = {name: float(value) for name, value in terms.items()}
        return {
            **measured,
            "loss": float(loss),
            "rate": rate,
            "gradient_norm": float(norm),
            "logit_scale": float(self.clap.logit_scale.detach().exp()),
        }

    def close(self) -> None:
        """Ends the threads that make examples; training can go on nevertheless."""
        self._coming.close()

    def _make(self, step: int) -> Examples:
        examples = self.batches.at(step, distributed.rank(), distributed.world())
        return examples.pinned() if self.clap.device.type == "cuda" else examples

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
        self.close()
        self.step = int(snapshot["step"])


def _moves(name: str, stage: Stage) -> bool:
    return name.startswith(stage.learns) and not name.endswith("pos_embed")


def _optimiser(stage: Stage, named: list[tuple[str, nn.Parameter]]) -> torch.optim.Optimizer:
    groups = parameter_groups(named, stage.weight_decay)
    if stage.optimiser == "lars":
        return Lars(groups)
    if stage.optimiser == "sgd":
        return torch.optim.SGD(groups, lr=0.0, momentum=0.9)
    return torch.optim.AdamW(groups, lr=0.0, betas=(0.9, 0.95))
