"""Text → token ids, by a definition that can travel inside a checkpoint (tokenizer.json)."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from m2d_clap.model.errors import TextEncoderError

TOKENIZER_FILE = "tokenizer.json"


@dataclass(frozen=True)
class Tokens:
    """Token ids and attention mask, both (batch, length) int64, zero where padded."""

    ids: Tensor
    mask: Tensor

    def to(self, device: torch.device) -> "Tokens":
        return Tokens(self.ids.to(device), self.mask.to(device))


class Tokenizer:
    """A tokenizer of the `tokenizers` library: texts → Tokens, cut at `max_tokens` and padded to
    the longest of the call.

    definition: the text of its tokenizer.json. Raises TextEncoderError where it is none.
    """

    def __init__(self, definition: str, max_tokens: int) -> None:
        import tokenizers  # audio never needs it

        self.definition = definition
        try:
            self._inner = tokenizers.Tokenizer.from_str(definition)
        except Exception as error:  # the library raises nothing narrower
            raise TextEncoderError(f"this is no {TOKENIZER_FILE}: {error}") from error
        self._inner.enable_truncation(max_tokens)
        # Nothing is padded by the library: the ids behind a text's end are 0 whatever it is called.
        self._inner.no_padding()

    @classmethod
    def of_folder(cls, folder: Path, max_tokens: int) -> "Tokenizer":
        """Raises TextEncoderError where the folder has none."""
        try:
            return cls((folder / TOKENIZER_FILE).read_text(encoding="utf-8"), max_tokens)
        except (OSError, UnicodeDecodeError) as error:
            raise TextEncoderError(f"cannot read the tokenizer in {folder}: {error}") from error

    @property
    def words(self) -> dict[str, int]:
        """Every entry of the vocabulary and its id."""
        return dict(self._inner.get_vocab(with_added_tokens=True))

    def __call__(self, texts: Sequence[str]) -> Tokens:
        encoded = self._inner.encode_batch(list(texts))
        ids = torch.zeros(len(encoded), max((len(e.ids) for e in encoded), default=0)).long()
        mask = torch.zeros_like(ids)
        for row, text in enumerate(encoded):
            ids[row, : len(text.ids)] = torch.tensor(text.ids)
            mask[row, : len(text.ids)] = 1
        return Tokens(ids, mask)
