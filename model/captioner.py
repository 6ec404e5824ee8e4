"""A sound → a sentence: a transformer decoder over what the frozen audio encoder heard.

The decoder reads a memory of slots: first the CLAP embedding, then every patch token. Its words
are WordPieces; one matrix embeds them and scores them. Keys and values are kept between steps.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from m2d_clap.model.errors import CheckpointError
from m2d_clap.model.vit import Mlp

SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
"""What every caption vocabulary starts with, in this order."""
PAD, UNKNOWN, BEGIN, END, HIDDEN = range(len(SPECIAL))
NEVER_SAID = (PAD, UNKNOWN, BEGIN, HIDDEN)


@dataclass(frozen=True)
class CaptionerConfig:
    """Sizes. vocabulary: WordPieces, SPECIAL included; max_tokens: of a caption, with its end;
    audio_width: of the encoder's patch tokens; clap_dim: of CLAP embeddings; patches: tokens of a
    clip that are heard at most, evenly spread over it; 0: all."""

    audio_width: int
    clap_dim: int
    vocabulary: int
    width: int = 128
    depth: int = 2
    heads: int = 4
    mlp_ratio: float = 4.0
    max_tokens: int = 32
    patches: int = 0

    def validate(self) -> "CaptionerConfig":
        """Returns itself, or raises CheckpointError naming the setting that cannot be."""
        sizes = (self.audio_width, self.clap_dim, self.width, self.depth, self.heads)
        rules = {
            "every size must be at least 1": min(sizes) >= 1,
            "width must be a multiple of heads": self.heads > 0 and self.width % self.heads == 0,
            f"vocabulary must hold more than the {len(SPECIAL)} special tokens": self.vocabulary
            > len(SPECIAL),
            "max_tokens must be at least 2": self.max_tokens >= 2,
            "mlp_ratio must be positive": self.mlp_ratio > 0,
            "patches must not be negative": self.patches >= 0,
        }
        for rule, holds in rules.items():
            if not holds:
                raise CheckpointError(f"the captioner's settings are inconsistent: {rule}")
        return self


@dataclass(frozen=True)
class Memory:
    """slots: (clips, slots, width); seen: (clips, slots) bool, False where only padded."""

    slots: Tensor
    seen: Tensor


Kept = tuple[Tensor, Tensor]
"""Keys and values of one layer, each (batch, heads, places, width of a head)."""


@dataclass(frozen=True)
class State:
    """What is kept between steps. of_memory, of_words: one a layer; seen: (clips, 1, 1, slots)."""

    of_memory: tuple[Kept, ...]
    of_words: tuple[Kept, ...]
    seen: Tensor

    @property
    def length(self) -> int:
        """Words taken in so far."""
        return self.of_words[0][0].shape[2]

    def chosen(self, rows: Tensor) -> "State":
        """The state of other sentences: `rows` (sentences,) of these, each of the same clip."""
        return replace(self, of_words=tuple((k[rows], v[rows]) for k, v in self.of_words))


class CaptionAttention(nn.Module):
    """Multi-head attention whose keys and values can be made once and used often."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.query = nn.Linear(width, width)
        self.keys_values = nn.Linear(width, 2 * width)
        self.proj = nn.Linear(width, width)

    def keep(self, x: Tensor) -> Kept:
        """(batch, places, width) → its keys and values."""
        keys, values = self.keys_values(x).chunk(2, dim=-1)
        return self._split(keys), self._split(values)

    def forward(self, x: Tensor, kept: Kept, seen: Tensor | None) -> Tensor:
        """x: (batch, from, width); seen: bool, broadcast to (batch, heads, from, places)."""
        keys, values = kept
        query = self._split(self.query(x))
        scores = (query * query.shape[-1] ** -0.5) @ keys.transpose(-2, -1)
        if seen is not None:
            scores = scores.masked_fill(~seen, -torch.inf)
        out: Tensor = self.proj((scores.softmax(dim=-1) @ values).transpose(1, 2).flatten(2))
        return out

    def _split(self, x: Tensor) -> Tensor:
        heads: Tensor = x.unflatten(-1, (self.heads, -1)).transpose(1, 2)
        return heads


class CaptionBlock(nn.Module):
    """Pre-norm: words among themselves, words to the memory, then the words' MLP."""

    def __init__(self, width: int, heads: int, mlp_ratio: float) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(width)
        self.words = CaptionAttention(width, heads)
        self.norm2 = nn.LayerNorm(width)
        self.memory = CaptionAttention(width, heads)
        self.norm3 = nn.LayerNorm(width)
        self.mlp = Mlp(width, int(width * mlp_ratio))

    def forward(
        self, x: Tensor, before: Kept | None, of_memory: Kept, seen: Tensor
    ) -> tuple[Tensor, Kept]:
        """x: (sentences, new words, width); before: of the words already taken in.

        Sentences of one clip follow one another and share its keys and values of the memory.
        Returns the new states, and the keys and values of all words.
        """
        own = self.norm1(x)
        kept = self.words.keep(own)
        if before is not None:
            kept = (torch.cat([before[0], kept[0]], 2), torch.cat([before[1], kept[1]], 2))
        x = x + self.words(own, kept, _causal(x.shape[1], kept[0].shape[2], x.device))
        # As if the sentences of a clip were one long one: nothing of the memory is copied.
        asked = self.norm2(x).reshape(len(seen), -1, x.shape[-1])
        x = x + self.memory(asked, of_memory, seen).reshape(x.shape)
        out: Tensor = x + self.mlp(self.norm3(x))
        return out, kept


class CaptionDecoder(nn.Module):
    """Memory and the words so far → the next word."""

    def __init__(self, config: CaptionerConfig) -> None:
        super().__init__()
        self.config = config.validate()
        width = config.width
        self.clap_in = nn.Linear(config.clap_dim, width)
        self.patch_norm = nn.LayerNorm(config.audio_width)
        self.patch_in = nn.Linear(config.audio_width, width)
        self.memory_norm = nn.LayerNorm(width)
        self.words = nn.Embedding(config.vocabulary, width)
        self.positions = nn.Embedding(config.max_tokens, width)
        self.blocks = nn.ModuleList(
            CaptionBlock(width, config.heads, config.mlp_ratio) for _ in range(config.depth)
        )
        self.norm = nn.LayerNorm(width)
        self.bias = nn.Parameter(torch.zeros(config.vocabulary))
        nn.init.normal_(self.words.weight, std=width**-0.5)
        nn.init.normal_(self.positions.weight, std=width**-0.5)

    def memory(self, clap: Tensor, patches: Sequence[Tensor]) -> Memory:
        """clap: (clips, dim) embeddings; patches: of each clip (tokens, audio width), any number.

        Shorter ones are padded, and the padding is not seen.
        """
        direction = F.normalize(clap, dim=-1) * clap.shape[-1] ** 0.5
        padded = nn.utils.rnn.pad_sequence(list(patches), batch_first=True)
        lengths = torch.tensor([len(p) for p in patches], device=clap.device)
        places = torch.arange(padded.shape[1], device=clap.device)
        seen = F.pad(places[None, :] < lengths[:, None], (1, 0), value=True)
        heard = self.patch_in(self.patch_norm(padded))
        slots = torch.cat([self.clap_in(direction)[:, None], heard], dim=1)
        return Memory(self.memory_norm(slots), seen)

    def logits(self, ids: Tensor, memory: Memory) -> Tensor:
        """Every next word at once: ids (sentences, length) → (sentences, length, vocabulary).

        Sentences of one clip follow one another, equally many of each.
        """
        out, _ = self._read(ids, self.begun(memory))
        return out

    def begun(self, memory: Memory) -> State:
        """The state before any word."""
        of_memory = tuple(block.memory.keep(memory.slots) for block in self._blocks)
        return State(of_memory, (), memory.seen[:, None, None, :])

    def step(self, ids: Tensor, state: State) -> tuple[Tensor, State]:
        """One more word: ids (sentences,) → logits (sentences, vocabulary), the state after it."""
        out, after = self._read(ids[:, None], state)
        return out[:, 0], after

    @property
    def _blocks(self) -> list[CaptionBlock]:
        return list(self.blocks)  # type: ignore[arg-type]

    def _read(self, ids: Tensor, state: State) -> tuple[Tensor, State]:
        start = state.length if state.of_words else 0
        x = self.words(ids) * self.config.width**0.5
        x = x + self.positions.weight[start : start + ids.shape[1]]
        kept = []
        for number, block in enumerate(self._blocks):
            before = state.of_words[number] if state.of_words else None
            x, words = block(x, before, state.of_memory[number], state.seen)
            kept.append(words)
        out = F.linear(self.norm(x), self.words.weight, self.bias)
        return out, replace(state, of_words=tuple(kept))


def _causal(new: int, all_: int, device: torch.device) -> Tensor | None:
    """(new, all) bool: which words each new one sees; None where it is all of them."""
    if new == 1:
        return None
    return torch.ones(new, all_, dtype=torch.bool, device=device).tril(all_ - new)
