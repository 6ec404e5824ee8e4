"""Log-mel → features: windows of any length through the ViT, then projector and tagging head."""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from m2d_clap.model.config import ClapConfig
from m2d_clap.model.projector import build_projector
from m2d_clap.model.vit import VisionTransformer

BATCH_TOKENS = 4096
"""Tokens encoded together at most; more gains nothing on a CPU."""


@dataclass(frozen=True)
class TokenGrid:
    """The encoder's output for one sound, frequency kept apart from time.

    tokens: (time columns, frequency rows, width). `columns` is the width of a full window.
    """

    tokens: Tensor
    columns: int

    def flat(self) -> Tensor:
        """(rows · time, width): every patch token, in the reference's order.

        Frequency-major inside a window, windows one after another.
        """
        windows = self.tokens.split(self.columns)
        return torch.cat([w.transpose(0, 1).flatten(0, 1) for w in windows])

    def stacked(self) -> Tensor:
        """(time, rows · width): conventional features, frequency patches side by side."""
        return self.tokens.flatten(1)

    def frames(self, stacked: bool = True) -> Tensor:
        """Features per time step: (time, rows · width), or (time, width) when not stacked."""
        return self.stacked() if stacked else self.tokens.mean(dim=1)

    def clip(self, stacked: bool = True) -> Tensor:
        """Features of the whole sound: the mean over time of `frames`."""
        return self.frames(stacked).mean(dim=0)

    def timestamps(self, seconds: float) -> Tensor:
        """(time,) start of every time step in milliseconds, i · duration / T."""
        steps = len(self.tokens)
        return torch.arange(steps, dtype=torch.float32) * (seconds * 1000.0 / steps)


class Head(nn.Module):
    """Multi-label classifier: BatchNorm without affine, then Linear (AudioSet fine-tuning)."""

    def __init__(self, width: int, classes: int) -> None:
        super().__init__()
        self.norm = nn.BatchNorm1d(width, affine=False)
        self.linear = nn.Linear(width, classes)

    def forward(self, features: Tensor) -> Tensor:
        """(batch, width) → logits (batch, classes); sigmoid gives probabilities."""
        out: Tensor = self.linear(self.norm(features))
        return out


class AudioEncoder(nn.Module):
    """Backbone, audio projector and, where a checkpoint has labels, the tagging head."""

    def __init__(self, config: ClapConfig) -> None:
        super().__init__()
        self.config = config
        self.backbone = VisionTransformer(config)
        self.audio_proj = build_projector(config.encoder.width, config.projector)
        self.head = Head(config.head_input, len(config.labels)) if config.labels else None

    def windows(self, log_mel: Tensor) -> list[Tensor]:
        """Cuts (1, mels, frames) normalised log-mel into consecutive windows.

        The last is padded with zeros to a multiple of the patch width; a full window drops the
        frames that make no whole patch.
        """
        size = self.config.encoder
        used = size.columns * size.patch_frames
        return [
            F.pad(window, (0, -window.shape[-1] % size.patch_frames))[..., :used]
            for window in log_mel.split(size.frames, dim=-1)
        ]

    def grids(self, log_mels: Iterable[Tensor]) -> list[TokenGrid]:
        """Encodes sounds of any lengths, each (1, mels, frames) normalised.

        Only windows equally wide share a batch, so that no padding is ever attended to and a
        sound's features do not depend on its neighbours.
        """
        cut = [self.windows(log_mel) for log_mel in log_mels]
        buckets: dict[int, list[tuple[int, int]]] = defaultdict(list)
        for sound, windows in enumerate(cut):
            for position, window in enumerate(windows):
                buckets[window.shape[-1]].append((sound, position))
        rows, columns = self.backbone.rows, self.backbone.columns
        encoded: list[list[Tensor]] = [[torch.empty(0)] * len(w) for w in cut]
        for frames, members in buckets.items():
            tokens = rows * (frames // self.config.encoder.patch_frames)
            step = max(1, BATCH_TOKENS // tokens)
            for start in range(0, len(members), step):
                batch = members[start : start + step]
                out = self.backbone(torch.stack([cut[s][p] for s, p in batch]))
                grid = out.unflatten(1, (rows, -1)).transpose(1, 2)
                for (sound, position), tokens_of in zip(batch, grid, strict=True):
                    encoded[sound][position] = tokens_of
        return [TokenGrid(torch.cat(windows), columns) for windows in encoded]

    def project(self, grids: Sequence[TokenGrid]) -> Tensor:
        """CLAP embeddings (batch, dim), un-normalised, over the tokens of all windows."""
        by_length: dict[int, list[int]] = defaultdict(list)
        for position, grid in enumerate(grids):
            by_length[len(grid.tokens)].append(position)
        out: list[Tensor] = [torch.empty(0)] * len(grids)
        for members in by_length.values():
            tokens = torch.stack([grids[m].tokens.flatten(0, 1) for m in members])
            for member, embedding in zip(members, self.audio_proj(tokens), strict=True):
                out[member] = embedding
        return torch.stack(out)

    def logits(self, features: Tensor) -> Tensor:
        """(batch, width or rows · width) → (batch, classes). Only where `config.labels` is set."""
        assert self.head is not None, "this checkpoint has no tagging head"
        out: Tensor = self.head(features)
        return out

    @property
    def head_is_stacked(self) -> bool:
        """Whether the head takes stacked features (else flat ones)."""
        return self.config.head_input == self.config.stacked_width
