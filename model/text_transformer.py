"""Our own small text encoder: narrow token embeddings, widened, and pre-norm blocks over them.

Settings carry Hugging Face's names, as those of the other included encoders do. No part of
`transformers` is imported: that alone takes two seconds.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from m2d_clap.model.errors import CheckpointError
from m2d_clap.model.vit import Block

SETTINGS = {
    "vocab_size",
    "embedding_size",
    "hidden_size",
    "num_hidden_layers",
    "num_attention_heads",
    "intermediate_size",
    "max_position_embeddings",
}


@dataclass(frozen=True)
class States:
    """last_hidden_state: (batch, length, width), called as transformers calls it."""

    last_hidden_state: Tensor


class TextTransformer(nn.Module):
    """Token ids → states. A word costs `embedding_size` weights, not `hidden_size`."""

    EPS = 1e-6

    def __init__(self, architecture: Mapping[str, Any]) -> None:
        """Raises CheckpointError where a setting is missing, unknown or no whole number."""
        super().__init__()
        wrong = sorted(set(architecture) ^ SETTINGS)
        wrong += [n for n, size in architecture.items() if type(size) is not int or size < 1]
        if wrong:
            raise CheckpointError(
                f"text.architecture has wrong, unknown or missing settings: {', '.join(wrong)}"
            )
        size: dict[str, int] = dict(architecture)
        width = size["hidden_size"]
        self.words = nn.Embedding(size["vocab_size"], size["embedding_size"])
        self.widen = nn.Linear(size["embedding_size"], width)
        self.positions = nn.Embedding(size["max_position_embeddings"], width)
        ratio = size["intermediate_size"] / width
        self.blocks = nn.ModuleList(
            Block(width, size["num_attention_heads"], ratio, self.EPS)
            for _ in range(size["num_hidden_layers"])
        )
        self.norm = nn.LayerNorm(width, eps=self.EPS)

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> States:
        """Both (batch, length) int64; the states of padding mean nothing."""
        length = input_ids.shape[1]
        x = self.widen(self.words(input_ids)) + self.positions.weight[:length]
        seen = attention_mask[:, None, None, :].bool()
        for block in self.blocks:
            x = block(x, seen)
        return States(self.norm(x))
