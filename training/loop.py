"""One optimiser step after another, exactly resumable: everything follows from (seed, step)."""

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor, nn

from m2d_clap.model.clap import Clap
from m2d_clap.model.errors import ClapError
from m2d_clap.model.mel import normalise
from m2d_clap.training.augment import mixtures, stretched, varied
from m2d_clap.training.captions import CaptionBank
from m2d_clap.training.data import Batch, Plan, crop
from m2d_clap.training.losses import caption_loss, clamp_logit_scale, contrastive_loss
from m2d_clap.training.m2d import M2d
from m2d_clap.training.masking import random_mask
from m2d_clap.training.optim import LearningRate, ema_decay, parameter_groups
from m2d_clap.training.stages import Stage


class TrainingDivergedError(ClapError):
    """The loss is no number; the last checkpoint is intact."""


@dataclass(frozen=True)
class TrainingSet:
    """sounds: raw log-mels (mels, frames) float16; bank: their captions; weights: visits."""

    sounds: Sequence[Tensor]
    bank: CaptionBank
    weights: tuple[float, ...] = ()


class Trainer(nn.Module):
    """The learning state of a run: model, predictor, target encoder, optimiser, averaged weights."""

    def __init__(self, stage: Stage, data: TrainingSet, seed: int, device: str = "cpu") -> None:
        super().__init__()
        torch.manual_seed(seed)
        self.stage, self.data, self.seed = stage, data, seed
        self.clap = initialised(Clap(stage.model))
        self.m2d = M2d(self.clap.audio, stage.predictor)
        initialised(self.m2d.predictor)
        self.polyak = copy.deepcopy(self.clap).requires_grad_(False) if stage.polyak else self.clap
        self.to(device)
        named = [(n, p) for n, p in self.named_parameters() if not n.startswith("polyak.")]
        self.optimiser = torch.optim.AdamW(parameter_groups(named), lr=0.0, betas=(0.9, 0.95))
        self.schedule = LearningRate(stage.rate, stage.epochs, stage.warm_up)
        self.step = 0
        columns = stage.model.encoder.patch_frames
        lengths = tuple(max(1, s.shape[1] // columns) for s in data.sounds)
        most = stage.frames // columns
        self.plan = Plan(lengths, stage.batch, most, seed, data.weights)
        self._epoch: tuple[int, list[Batch]] = (-1, [])

    @property
    def steps(self) -> int:
        """Steps of the whole run."""
        return self.plan.steps * self.stage.epochs

    @property
    def epoch(self) -> float:
        return self.step / self.plan.steps

    def advance(self) -> dict[str, float]:
        """One step; returns what it measured. Raises TrainingDivergedError, state unchanged."""
        rng = np.random.default_rng((self.seed, 1, self.step))
        rate = self.schedule.at(self.epoch)
        for group in self.optimiser.param_groups:
            group["lr"] = rate
        terms = self._losses(self._next_batch(), rng)
        loss = (
            self.stage.m2d_weight * terms["loss_m2d"]
            + self.stage.contrast_weight * terms["loss_clap"]
        )
        if not torch.isfinite(loss):
            raise TrainingDivergedError(
                f"the loss became {loss.item()} at step {self.step}: the last checkpoint is "
                "intact; start again from it with a lower --rate"
            )
        self.optimiser.zero_grad(set_to_none=True)
        loss.backward()
        norm = torch.nn.utils.clip_grad_norm_(
            [p for g in self.optimiser.param_groups for p in g["params"]], self.stage.clip_norm
        )
        self.optimiser.step()
        clamp_logit_scale(self.clap.logit_scale)
        self.m2d.update_target(ema_decay(self.step, self.steps, *self.stage.ema))
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

    def _losses(self, batch: Batch, rng: np.random.Generator) -> dict[str, Tensor]:
        stage, bank = self.stage, self.data.bank
        device = self.clap.device
        captions = torch.tensor([int(rng.choice(bank.of_sound[m])) for m in batch.members])
        sounds = self.sounds(batch, rng)
        sounds, partner, own = mixtures(sounds, stage.augmentation.mixed, rng)
        sounds = varied(sounds, stage.augmentation, rng)
        images = normalise(sounds, stage.model.front_end).unsqueeze(1).to(device)
        patches = self.clap.audio.backbone.rows * batch.columns
        generator = torch.Generator().manual_seed(int(rng.integers(2**62)))
        mask = random_mask(len(images), patches, stage.mask_ratio, generator, device)
        wording = 0 if stage.contrast == "pairs" else int(rng.integers(len(bank.wordings)))
        with torch.autocast(device.type, torch.bfloat16):
            output = self.m2d(images, mask)
            audio = self.m2d.audio_embedding(output).float()
            sentences = self.clap.text_projection(bank.wordings[wording].to(device)).float()
        scale = self.clap.logit_scale.exp()
        if stage.contrast == "pairs":
            clap_loss = contrastive_loss(audio, sentences[captions.to(device)], scale)
        else:
            alone = bank.truth(captions, wording)
            truth = own[:, None] * alone + (1 - own[:, None]) * alone[partner]
            clap_loss = caption_loss(audio, sentences, truth.to(device), scale)
        return {"loss_m2d": output.loss, "loss_clap": clap_loss}

    def _next_batch(self) -> Batch:
        number, place = divmod(self.step, self.plan.steps)
        if self._epoch[0] != number:
            self._epoch = (number, self.plan.epoch(number))
        return self._epoch[1][place]

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


Module = TypeVar("Module", bound=nn.Module)


def initialised(module: Module) -> Module:
    """Xavier-uniform matrices, zero biases, tokens from N(0, 0.02)."""
    for name, parameter in module.named_parameters():
        if not parameter.requires_grad or name.endswith("logit_scale"):
            continue
        if name.endswith("token"):
            nn.init.normal_(parameter, std=0.02)
        elif parameter.ndim > 1:
            nn.init.xavier_uniform_(parameter.view(len(parameter), -1))
        elif name.endswith("bias"):
            nn.init.zeros_(parameter)
    return module
