"""The transformer of M2D: patches, fixed positions, pre-norm blocks (ViT, arXiv 2010.11929).

Module names equal the keys of the published weight files, so that loading is strict.
"""

from collections.abc import Callable

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from m2d_clap.model.config import ClapConfig


class Attention(nn.Module):
    """Multi-head self-attention with one matrix for queries, keys and values."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(width, 3 * width)
        self.proj = nn.Linear(width, width)

    def forward(self, x: Tensor, seen: Tensor | None = None) -> Tensor:
        """(batch, tokens, width) → the same. seen: bool, broadcast to (batch, heads, from, to)."""
        batch, tokens, width = x.shape
        qkv = self.qkv(x).view(batch, tokens, 3, self.heads, width // self.heads)
        q, k, v = qkv.permute(2, 0, 3, 1, 4)
        if seen is not None or (x.requires_grad and x.device.type == "cpu"):
            # There the fused kernel's backward pass is slower than its parts', and on texts of ten
            # tokens the kernel takes seven times as long.
            scores = (q * q.shape[-1] ** -0.5) @ k.transpose(-2, -1)
            if seen is not None:
                scores = scores.masked_fill(~seen, -torch.inf)
            attended = scores.softmax(dim=-1).to(v.dtype) @ v
        else:
            attended = F.scaled_dot_product_attention(q, k, v)
        out: Tensor = self.proj(attended.transpose(1, 2).reshape(batch, tokens, width))
        return out


class Mlp(nn.Module):
    """Linear–GELU–Linear."""

    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(width, hidden)
        self.fc2 = nn.Linear(hidden, width)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.fc2(F.gelu(self.fc1(x)))
        return out


class Block(nn.Module):
    """Pre-norm transformer block."""

    def __init__(self, width: int, heads: int, mlp_ratio: float, eps: float) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(width, eps=eps)
        self.attn = Attention(width, heads)
        self.norm2 = nn.LayerNorm(width, eps=eps)
        self.mlp = Mlp(width, int(width * mlp_ratio))

    def forward(self, x: Tensor, seen: Tensor | None = None) -> Tensor:
        """(batch, tokens, width) → the same. seen: as of Attention, None for all."""
        x = x + self.attn(self.norm1(x), seen)
        out: Tensor = x + self.mlp(self.norm2(x))
        return out


class PatchEmbed(nn.Module):
    """Non-overlapping patches through one strided convolution."""

    def __init__(self, patch_mels: int, patch_frames: int, width: int) -> None:
        super().__init__()
        size = (patch_mels, patch_frames)
        self.proj = nn.Conv2d(1, width, kernel_size=size, stride=size)

    def forward(self, log_mel: Tensor) -> Tensor:
        """(batch, 1, mels, frames) → (batch, rows, columns, width); leftover frames are dropped."""
        out: Tensor = self.proj(log_mel)
        return out.permute(0, 2, 3, 1)


class VisionTransformer(nn.Module):
    """Encoder of one window of log-mel. Frequency is the slow axis of the token order."""

    EPS = 1e-6

    def __init__(self, config: ClapConfig) -> None:
        super().__init__()
        size = config.encoder
        self.rows, self.columns = config.grid_rows, size.columns
        self.patch_embed = PatchEmbed(size.patch_mels, size.patch_frames, size.width)
        self.cls_token = nn.Parameter(torch.zeros(1, 1, size.width))
        table = sin_cos_positions(size.width, self.rows, self.columns)
        # A parameter so that published tables load; never learned.
        self.pos_embed = nn.Parameter(table.unsqueeze(0), requires_grad=False)
        self.blocks = nn.ModuleList(
            Block(size.width, size.heads, size.mlp_ratio, self.EPS) for _ in range(size.depth)
        )
        self.norm = nn.LayerNorm(size.width, eps=self.EPS)
        self.engine: Callable[[Tensor], Tensor] | None = None
        """What runs the blocks in torch's stead when features are computed, never in training."""

    def patches(self, log_mel: Tensor) -> Tensor:
        """Patch embeddings plus positions.

        log_mel: (batch, 1, mels, frames), at most `columns` patches wide; a shorter window uses
        the first columns of every frequency row. Returns (batch, rows · columns, width).
        """
        grid = self.patch_embed(log_mel)
        batch, rows, columns, width = grid.shape
        positions = self.pos_embed[:, 1:].view(1, self.rows, self.columns, width)
        placed: Tensor = grid + positions[:, :, :columns]
        return placed.reshape(batch, rows * columns, width)

    def with_class_token(self, tokens: Tensor) -> Tensor:
        """Puts the class token (and its position, a zero row) in front."""
        cls = (self.cls_token + self.pos_embed[:, :1]).expand(len(tokens), -1, -1)
        return torch.cat([cls.to(tokens.dtype), tokens], dim=1)

    def transform(self, tokens: Tensor) -> Tensor:
        """Blocks and final norm, (batch, tokens, width) → the same."""
        for block in self.blocks:
            tokens = block(tokens)
        out: Tensor = self.norm(tokens)
        return out

    def forward(self, log_mel: Tensor) -> Tensor:
        """(batch, 1, mels, frames) normalised → (batch, rows · columns, width), class dropped."""
        transform = self.engine or self.transform
        return transform(self.with_class_token(self.patches(log_mel)))[:, 1:]


def sin_cos_positions(width: int, rows: int, columns: int) -> Tensor:
    """Fixed 2-D positions, (1 + rows · columns, width) float32, the first row (class) zero.

    The first half of the width encodes the column (time), the second the row (frequency).
    """
    row, column = np.mgrid[:rows, :columns].reshape(2, -1).astype(np.float64)
    table = np.concatenate([_sin_cos(width // 2, column), _sin_cos(width // 2, row)], axis=1)
    table = np.concatenate([np.zeros((1, width)), table])
    return torch.from_numpy(table.astype(np.float32))


def _sin_cos(width: int, position: NDArray[np.float64]) -> NDArray[np.float64]:
    frequency = 1.0 / 10000 ** (np.arange(width // 2) / (width / 2))
    angle = np.outer(position, frequency)
    return np.concatenate([np.sin(angle), np.cos(angle)], axis=1)
