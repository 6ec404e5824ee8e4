"""Patch tokens → CLAP embedding: the projectors of the 2024 and 2025 papers, and of captions."""

import torch
from torch import Tensor, nn

from m2d_clap.model.config import ProjectorConfig, TextConfig
from m2d_clap.model.vit import Block


class MeanProjector(nn.Module):
    """No projector: the mean over tokens."""

    def forward(self, tokens: Tensor) -> Tensor:
        """(batch, tokens, width) → (batch, width)."""
        return tokens.mean(dim=1)


class MlpProjector(nn.Sequential):
    """Mean over tokens, then Linear–ReLU–Linear (arXiv 2406.02032)."""

    def __init__(self, width: int, hidden: int, dim: int) -> None:
        super().__init__(nn.Linear(width, hidden), nn.ReLU(), nn.Linear(hidden, dim))

    def forward(self, tokens: Tensor) -> Tensor:
        """(batch, tokens, width) → (batch, dim)."""
        pooled = tokens.mean(dim=1)
        for layer in self:
            pooled = layer(pooled)
        return pooled


class SemanticProjector(nn.Module):
    """A learned token gathers the patch tokens in transformer blocks (arXiv 2503.22104, II-B)."""

    EPS = 1e-5

    def __init__(self, width: int, config: ProjectorConfig) -> None:
        super().__init__()
        self.sem_token = nn.Parameter(torch.zeros(1, 1, width))
        self.sem_blocks = nn.ModuleList(
            Block(width, config.heads, config.mlp_ratio, self.EPS) for _ in range(config.blocks)
        )
        self.norm = nn.LayerNorm(width, eps=self.EPS)
        self.to_dim = nn.Identity() if config.dim == width else nn.Linear(width, config.dim)

    def forward(self, tokens: Tensor) -> Tensor:
        """(batch, tokens, width) → (batch, dim)."""
        semantic = self.sem_token.expand(len(tokens), -1, -1).to(tokens.dtype)
        tokens = torch.cat([semantic, tokens], dim=1)
        for block in self.sem_blocks:
            tokens = block(tokens)
        out: Tensor = self.to_dim(self.norm(tokens[:, 0]))
        return out


def build_projector(width: int, config: ProjectorConfig) -> nn.Module:
    """The audio projector a checkpoint names."""
    if config.kind == "mlp":
        return MlpProjector(width, config.hidden, config.dim)
    if config.kind == "semantic":
        return SemanticProjector(width, config)
    return MeanProjector()


def build_text_projection(config: TextConfig, dim: int) -> nn.Module:
    """Sentence embedding → CLAP width: nothing, one Linear, or Linear–ReLU–Linear."""
    if config.projection == "linear":
        return nn.Linear(config.projection_in, dim)
    if config.projection == "mlp":
        return nn.Sequential(
            nn.Linear(config.projection_in, config.projection_hidden),
            nn.ReLU(),
            nn.Linear(config.projection_hidden, dim),
        )
    return nn.Identity()
