"""What learns, as one module: a batch in, the terms of the loss out.

Everything that has gradients runs inside `forward`, so that a distributed wrapper around this
module sees, and averages, all of it.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from m2d_clap.model.clap import Clap, Precision
from m2d_clap.model.tokenizer import Tokens
from m2d_clap.training.distributed import gathered
from m2d_clap.training.losses import caption_loss, contrastive_loss, distillation_loss
from m2d_clap.training.m2d import M2d
from m2d_clap.training.masking import Mask, take
from m2d_clap.training.stages import Stage


@dataclass(frozen=True)
class Examples:
    """One batch, on its device.

    images: (batch, 1, mels, frames) normalised log-mels. mask: None where all is seen.
    sentences: frozen embeddings, (batch, width) of each sound's caption, or of the whole bank
    with truth (batch, captions). tokens: the captions themselves, for a text encoder that learns,
    of each sound, or with truth (batch, captions) of all that occur in the batch.
    labels: (batch, classes) float, 0 … 1. images: None where the stage hears nothing.
    lesson: texts, and targets (texts, width): what the teacher makes of them.
    """

    images: Tensor | None = None
    mask: Mask | None = None
    sentences: Tensor | None = None
    truth: Tensor | None = None
    tokens: Tokens | None = None
    labels: Tensor | None = None
    lesson: Tokens | None = None
    targets: Tensor | None = None

    def share(self, rank: int, world: int) -> "Examples":
        """Every world-th sound and text from `rank` on; the bank is everybody's."""
        if world == 1:
            return self
        own = slice(rank, None, world)

        def cut(rows: Tensor | None) -> Tensor | None:
            return None if rows is None else rows[own]

        def cut_tokens(tokens: Tokens | None) -> Tokens | None:
            return tokens and Tokens(tokens.ids[own], tokens.mask[own])

        mask = self.mask and Mask(self.mask.shuffle[own], self.mask.restore[own], self.mask.keep)
        bank = self.truth is not None
        return Examples(
            images=cut(self.images),
            mask=mask,
            sentences=self.sentences if bank else cut(self.sentences),
            truth=cut(self.truth),
            tokens=self.tokens if bank else cut_tokens(self.tokens),
            labels=cut(self.labels),
            lesson=cut_tokens(self.lesson),
            targets=cut(self.targets),
        )


class Learner(nn.Module):
    """A Clap and, where masked patches are predicted, its predictor and target encoder."""

    def __init__(self, stage: Stage, clap: Clap, precision: Precision = "bfloat16") -> None:
        super().__init__()
        self.stage = stage
        self.precision = precision
        self.clap = clap
        self.m2d = M2d(clap.audio, stage.predictor) if stage.losses.m2d else None

    def forward(self, examples: Examples) -> dict[str, Tensor]:
        """The terms with a weight, each a scalar: loss_m2d, loss_clap, loss_labels, loss_distil."""
        terms = self._heard(examples) if examples.images is not None else {}
        if examples.lesson is not None and examples.targets is not None:
            with self._autocast():
                learned = self._embedded(examples.lesson)
            terms["loss_distil"] = distillation_loss(learned, examples.targets)
        return terms

    def _autocast(self) -> torch.autocast:
        low = self.precision == "bfloat16"
        return torch.autocast(self.clap.device.type, torch.bfloat16, enabled=low)

    def _heard(self, examples: Examples) -> dict[str, Tensor]:
        """The terms that sounds have a part in."""
        losses = self.stage.losses
        terms: dict[str, Tensor] = {}
        assert examples.images is not None
        with self._autocast():
            if self.m2d is not None:
                assert examples.mask is not None
                output = self.m2d(examples.images, examples.mask)
                tokens = output.latent[:, 1:]
            else:
                tokens = self._seen(examples.images, examples.mask)
            audio = self.clap.audio.audio_proj(tokens).float() if losses.contrast else None
            text = self._text(examples) if losses.contrast else None
            logits = self.clap.audio.logits(tokens.mean(dim=1)) if losses.labels else None
        if self.m2d is not None:
            terms["loss_m2d"] = output.loss
        if audio is not None and text is not None:
            terms["loss_clap"] = self._contrast(audio, text, examples.truth)
        if logits is not None and examples.labels is not None:
            terms["loss_labels"] = self._labels(logits.float(), examples.labels)
        return terms

    def _seen(self, images: Tensor, mask: Mask | None) -> Tensor:
        """Encoded patches (batch, visible, width), without the class token."""
        backbone = self.clap.audio.backbone
        with torch.set_grad_enabled(backbone.cls_token.requires_grad):
            patches = backbone.patches(images)
            if mask is not None:
                patches = take(patches, mask.visible)
            return backbone.transform(backbone.with_class_token(patches))[:, 1:]

    def _text(self, examples: Examples) -> Tensor:
        if examples.tokens is not None:
            return self._embedded(examples.tokens)
        assert examples.sentences is not None
        projected: Tensor = self.clap.text_projection(examples.sentences)
        return projected.float()

    def _embedded(self, tokens: Tokens) -> Tensor:
        """CLAP embeddings (texts, dim) of the text encoder that learns."""
        assert self.clap.text is not None
        projected: Tensor = self.clap.text_projection(self.clap.text(tokens))
        return projected.float()

    def _contrast(self, audio: Tensor, text: Tensor, truth: Tensor | None) -> Tensor:
        """Over the batches of all processes, so that its gradients are one process's."""
        scale = self.clap.logit_scale.exp()
        audio = gathered(audio)
        if truth is None:
            return contrastive_loss(audio, gathered(text), scale)
        return caption_loss(audio, text, gathered(truth), scale)

    def _labels(self, logits: Tensor, labels: Tensor) -> Tensor:
        if self.stage.labels == "one":
            return F.cross_entropy(logits, labels)
        return F.binary_cross_entropy_with_logits(logits, labels)
