"""A captioner's steps, exactly resumable: everything follows from (seed, step)."""

import copy
from collections.abc import Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from m2d_clap.model.caption_file import CaptionerPart
from m2d_clap.model.captioner import PAD, CaptionDecoder
from m2d_clap.model.captioning import Captioner
from m2d_clap.model.checkpoint import Checkpoint
from m2d_clap.model.tokenizer import Tokenizer
from m2d_clap.training.captioning.lessons import CaptionLessons, Clips, Lesson
from m2d_clap.training.captioning.recipe import CaptionStage
from m2d_clap.training.data import Plan
from m2d_clap.training.loop import TrainingDivergedError
from m2d_clap.training.manifest import Row
from m2d_clap.training.optim import LearningRate, average, parameter_groups


class CaptionTrainer(nn.Module):
    """The learning state of a run: the captioner, its optimiser, its averaged weights.

    vocabulary: a tokenizer.json; heard: what the parent's encoder hears in `rows`.
    """

    def __init__(
        self,
        stage: CaptionStage,
        parent: Checkpoint,
        vocabulary: str,
        rows: Sequence[Row],
        heard: Clips,
        seed: int,
        device: str = "cpu",
    ) -> None:
        super().__init__()
        torch.manual_seed(seed)
        self.stage, self._parent = stage, parent
        words = len(Tokenizer(vocabulary, stage.max_tokens).words)
        self.captioner = Captioner(stage.sizes(parent.config, words), vocabulary)
        self.polyak = copy.deepcopy(self.captioner).requires_grad_(False)
        self.to(device)
        named = list(self.captioner.named_parameters())
        self.optimiser = torch.optim.AdamW(
            parameter_groups(named, stage.weight_decay), lr=0.0, betas=(0.9, 0.98)
        )
        self.schedule = LearningRate(stage.rate, stage.epochs, stage.warm_up)
        self.lessons = CaptionLessons(stage, rows, heard, self.captioner.tokenizer, seed)
        self.step = 0

    @property
    def plan(self) -> Plan:
        return self.lessons.plan

    @property
    def device(self) -> torch.device:
        return self.captioner.decoder.bias.device

    @property
    def steps(self) -> int:
        """Steps of the whole run."""
        return self.plan.steps * self.stage.epochs

    @property
    def epoch(self) -> float:
        return self.step / self.plan.steps

    def advance(self) -> dict[str, float]:
        """One step; returns what it measured. Raises TrainingDivergedError, no weight changed."""
        self.optimiser.zero_grad(set_to_none=True)
        lesson = self.lessons.at(self.step).to(self.device)
        loss = caption_loss(self.captioner.decoder, lesson, self.stage.label_smoothing)
        loss.backward()
        rate = self.schedule.at(self.epoch)
        for group in self.optimiser.param_groups:
            group["lr"] = rate
        norm = nn.utils.clip_grad_norm_(self.captioner.parameters(), self.stage.clip_norm)
        if not bool(torch.isfinite(loss) & torch.isfinite(norm)):
            raise TrainingDivergedError(self.step, loss.item(), norm.item())
        self.optimiser.step()
        average(self.polyak, self.captioner, self.stage.polyak, self.step)
        self.step += 1
        return {"loss": float(loss.detach()), "rate": rate, "gradient_norm": float(norm)}

    def checkpoint(self) -> Checkpoint:
        """The parent, word for word, with the averaged captioner."""
        parent = self._parent
        part = CaptionerPart.of(self.polyak, parent.hearing, torch.float16)
        return Checkpoint(parent.config, parent.weights, parent.tokenizer, part)

    def close(self) -> None:
        """There is nothing to end."""

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


def caption_loss(decoder: CaptionDecoder, lesson: Lesson, smoothing: float = 0.0) -> Tensor:
    """Cross-entropy of every next word, a mean over the words of both sentences of all clips, each
    sentence by its weight."""
    memory = decoder.memory(lesson.clap, lesson.patches)
    logits = decoder.logits(lesson.said, memory)
    of_words = F.cross_entropy(
        logits.transpose(1, 2),
        lesson.wanted,
        ignore_index=PAD,
        reduction="none",
        label_smoothing=smoothing,
    )
    counted = (lesson.wanted != PAD) * lesson.weights[:, None]
    return (of_words * counted).sum() / counted.sum()
