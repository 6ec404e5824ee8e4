"""What learns, as one module: part of a batch in, what the loss is made of out."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from m2d_clap.model.clap import Clap, Precision
from m2d_clap.model.tokenizer import Tokens
from m2d_clap.training.ensemble import Ensemble
from m2d_clap.training.examples import Examples
from m2d_clap.training.losses import caption_loss, contrastive_loss, distillation_loss
from m2d_clap.training.m2d import M2d
from m2d_clap.training.masking import Mask, take
from m2d_clap.training.stages import Stage

Rows = dict[str, Tensor]
"""What the terms over the whole batch need of every sound, float32: audio and text (batch, dim),
CLAP embeddings; features (batch, width), what the head is given."""


class Learner(nn.Module):
    """A Clap and, where masked patches are predicted, its predictor and target encoder.

    `forward` sees a part of the batch, `compare` what it left of all parts. An included text
    encoder stays in evaluation mode: it learns without dropout, so that a step follows from its
    examples alone, however many parts and processes work on them.
    """

    def __init__(
        self,
        stage: Stage,
        clap: Clap,
        precision: Precision = "bfloat16",
        ensemble: Ensemble | None = None,
    ) -> None:
        super().__init__()
        self.stage = stage
        self.precision = precision
        self.clap = clap
        self.ensemble = ensemble
        self.m2d = M2d(clap.audio, stage.predictor) if stage.losses.m2d else None

    @property
    def compares(self) -> bool:
        """Whether there are terms over the whole batch."""
        return bool(self.stage.losses.contrast or self.stage.losses.labels)

    def forward(self, examples: Examples) -> tuple[Rows, dict[str, Tensor]]:
        """Rows for `compare`, and the terms that are means over this part's own sounds or texts:
        loss_m2d, loss_distil, loss_ensemble."""
        rows: Rows = {}
        terms: dict[str, Tensor] = {}
        if examples.images is not None:
            with self._autocast():
                if self.m2d is not None:
                    assert examples.mask is not None
                    output = self.m2d(examples.images, examples.mask)
                    terms["loss_m2d"], tokens = output.loss, output.latent[:, 1:]
                else:
                    tokens = self._seen(examples.images, examples.mask)
                rows = self._rows(tokens, examples)
                if self.ensemble is not None:
                    heard = self.clap.audio.audio_proj(tokens).float()
                    targets = self.ensemble(examples.images)
                    terms["loss_ensemble"] = distillation_loss(heard, targets)
        if examples.lesson is not None and examples.targets is not None:
            with self._autocast():
                learned = self._embedded(examples.lesson)
            terms["loss_distil"] = distillation_loss(learned, examples.targets)
        return rows, terms

    @torch.no_grad()
    def preview(self, examples: Examples) -> Rows:
        """The rows of `forward` alone, without gradients."""
        if examples.images is None or not self.compares:
            return {}
        with self._autocast():
            return self._rows(self._seen(examples.images, examples.mask), examples)

    def compare(self, rows: Rows, examples: Examples) -> dict[str, Tensor]:
        """The terms over the whole batch, whose rows these are: loss_clap, loss_labels."""
        terms: dict[str, Tensor] = {}
        if "audio" in rows:
            with self._autocast():
                text = rows["text"] if "text" in rows else self._text(examples)
            scale = self.clap.logit_scale.exp()
            if examples.truth is None:
                terms["loss_clap"] = contrastive_loss(rows["audio"], text, scale)
            else:
                terms["loss_clap"] = caption_loss(rows["audio"], text, examples.truth, scale)
        if "features" in rows and examples.labels is not None:
            with self._autocast():
                logits = self.clap.audio.logits(rows["features"])
            terms["loss_labels"] = self._labels(logits.float(), examples.labels)
        return terms

    def _autocast(self) -> torch.autocast:
        low = self.precision == "bfloat16"
        return torch.autocast(self.clap.device.type, torch.bfloat16, enabled=low)

    def _rows(self, tokens: Tensor, examples: Examples) -> Rows:
        """tokens: (batch, visible, width) encoded patches."""
        rows: Rows = {}
        if self.stage.losses.contrast:
            rows["audio"] = self.clap.audio.audio_proj(tokens).float()
            if examples.truth is None:
                rows["text"] = self._text(examples)
        if self.stage.losses.labels:
            rows["features"] = tokens.mean(dim=1).float()
        return rows

    def _seen(self, images: Tensor, mask: Mask | None) -> Tensor:
        """Encoded patches (batch, visible, width), without the class token."""
        backbone = self.clap.audio.backbone
        learns = torch.is_grad_enabled() and backbone.cls_token.requires_grad
        with torch.set_grad_enabled(learns):
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

    def _labels(self, logits: Tensor, labels: Tensor) -> Tensor:
        if self.stage.labels == "one":
            return F.cross_entropy(logits, labels)
        return F.binary_cross_entropy_with_logits(logits, labels)
