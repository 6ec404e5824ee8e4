"""Masked Modeling Duo: predict what a slow copy of the encoder says of the hidden patches.

arXiv 2210.14648: the online encoder sees the visible patches only, the target encoder (an
exponential moving average of the online blocks and norm) the masked ones only.
"""

import copy
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from m2d_clap.model.audio_encoder import AudioEncoder
from m2d_clap.model.vit import Block, VisionTransformer, sin_cos_positions
from m2d_clap.training.masking import Mask, take


@dataclass(frozen=True)
class PredictorConfig:
    """The predictor ("decoder"): 512 wide, 8 blocks, 16 heads in the papers."""

    width: int = 512
    depth: int = 8
    heads: int = 16


@dataclass(frozen=True)
class M2dOutput:
    """One forward pass.

    latent: (batch, 1 + visible, width), the online encoder's, class token first.
    predicted, target: (batch, masked, width) in the order of `Mask.masked`.
    """

    latent: Tensor
    predicted: Tensor
    target: Tensor

    @property
    def loss(self) -> Tensor:
        return prediction_loss(self.predicted.float(), self.target.float())


class Predictor(nn.Module):
    """Fills mask tokens in, adds its own positions, predicts one vector a patch."""

    def __init__(self, backbone: VisionTransformer, config: PredictorConfig) -> None:
        super().__init__()
        width = backbone.cls_token.shape[-1]
        self.rows, self.columns = backbone.rows, backbone.columns
        table = sin_cos_positions(config.width, backbone.rows, backbone.columns)
        self.mask_token = nn.Parameter(torch.zeros(1, 1, config.width))
        self.decoder_pos_embed = nn.Parameter(table.unsqueeze(0), requires_grad=False)
        self.decoder_embed = nn.Linear(width, config.width)
        self.decoder_blocks = nn.ModuleList(
            Block(config.width, config.heads, 4.0, backbone.EPS) for _ in range(config.depth)
        )
        self.decoder_norm = nn.LayerNorm(config.width, eps=backbone.EPS)
        self.decoder_pred = nn.Linear(config.width, width)

    def forward(self, latent: Tensor, mask: Mask) -> Tensor:
        """latent (batch, 1 + visible, width) → predictions (batch, masked, width)."""
        embedded = self.decoder_embed(latent)
        cls, visible = embedded[:, :1], embedded[:, 1:]
        holes = self.mask_token.expand(len(visible), mask.masked.shape[1], -1)
        patches = take(torch.cat([visible, holes.to(visible.dtype)], dim=1), mask.restore)
        tokens = torch.cat([cls, patches], dim=1) + self._positions(patches.shape[1])
        for block in self.decoder_blocks:
            tokens = block(tokens)
        predicted: Tensor = self.decoder_pred(self.decoder_norm(tokens))
        return take(predicted[:, 1:], mask.masked)

    def _positions(self, patches: int) -> Tensor:
        """(1, 1 + patches, width): the first columns of every frequency row."""
        cls, grid = self.decoder_pos_embed[:, :1], self.decoder_pos_embed[:, 1:]
        grid = grid.unflatten(1, (self.rows, self.columns))[:, :, : patches // self.rows]
        return torch.cat([cls, grid.flatten(1, 2)], dim=1)


class M2d(nn.Module):
    """An audio encoder with what it needs to learn without labels."""

    def __init__(self, online: AudioEncoder, predictor: PredictorConfig) -> None:
        super().__init__()
        self.online = online
        self.predictor = Predictor(online.backbone, predictor)
        self.target_blocks = copy.deepcopy(online.backbone.blocks).requires_grad_(False)
        self.target_norm = copy.deepcopy(online.backbone.norm).requires_grad_(False)

    def forward(self, log_mel: Tensor, mask: Mask) -> M2dOutput:
        """log_mel: (batch, 1, mels, frames) normalised, at most a window wide."""
        backbone = self.online.backbone
        patches = backbone.patches(log_mel)
        visible = backbone.with_class_token(take(patches, mask.visible))
        latent = backbone.transform(visible)
        with torch.no_grad():
            hidden = backbone.with_class_token(take(patches, mask.masked))
            for block in self.target_blocks:
                hidden = block(hidden)
            target = self.target_norm(hidden)[:, 1:]
        return M2dOutput(latent, self.predictor(latent, mask), target)

    @torch.no_grad()
    def update_target(self, decay: float) -> None:
        """target ← decay · target + (1 − decay) · online, once an optimiser step."""
        online = [
            *self.online.backbone.blocks.parameters(),
            *self.online.backbone.norm.parameters(),
        ]
        target = [*self.target_blocks.parameters(), *self.target_norm.parameters()]
        for slow, fast in zip(target, online, strict=True):
            slow.mul_(decay).add_(fast, alpha=1 - decay)


def prediction_loss(predicted: Tensor, target: Tensor) -> Tensor:
    """2 − 2·cosine to the target standardised patch by patch, averaged over masked patches."""
    mean, variance = target.mean(dim=-1, keepdim=True), target.var(dim=-1, keepdim=True)
    standardised = (target - mean) / (variance + 1e-6).sqrt()
    cosine = (F.normalize(predicted, dim=-1) * F.normalize(standardised, dim=-1)).sum(dim=-1)
    return (2 - 2 * cosine).mean()
