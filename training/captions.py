"""Captions as frozen sentence embeddings, computed once."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from m2d_clap.model.config import TextConfig
from m2d_clap.model.text_encoder import SPECS, load_text_encoder
from m2d_clap.training.manifest import Row

LABEL = -1
"""The last wording is the label alone."""


@torch.inference_mode()
def sentence_embeddings(
    texts: Sequence[str], config: TextConfig, cache: Path, path: Path | None = None
) -> Tensor:
    """(texts, width) float32 of the encoder `config` names, kept in `cache`.

    Raises TextEncoderError where it is needed and found neither in the folder `path` nor elsewhere.
    """
    identity = json.dumps([config.kind, config.max_tokens, *texts])
    file = cache / f"captions-{hashlib.sha256(identity.encode()).hexdigest()[:16]}.safetensors"
    if not file.is_file():
        cache.mkdir(parents=True, exist_ok=True)
        encoder = load_text_encoder(config, path)
        # Of like length together, so that little is padded.
        order = sorted(range(len(texts)), key=lambda number: len(texts[number]))
        embeddings = torch.empty(len(texts), SPECS[config.kind].dim)
        for start in range(0, len(order), 64):
            part = order[start : start + 64]
            embeddings[part] = encoder.embed([texts[number] for number in part]).float().cpu()
        aside = file.with_suffix(".part")
        save_file({"embeddings": embeddings}, aside)
        aside.replace(file)
    return load_file(file)["embeddings"]


@dataclass(frozen=True)
class CaptionBank:
    """Every caption of the training part in several wordings.

    wordings: for each wording, (captions, width) embeddings; texts likewise. groups: for each
    wording, (captions,) numbers, equal where two captions read the same in it.
    of_sound: for each sound, the numbers of its captions.
    """

    texts: tuple[tuple[str, ...], ...]
    wordings: tuple[Tensor, ...]
    groups: tuple[Tensor, ...]
    of_sound: tuple[tuple[int, ...], ...]

    def truth(self, captions: Tensor, wording: int, by_label: float = 0.0) -> Tensor:
        """captions (batch,) → (batch, captions) float32, shared among those that read the same.

        by_label: the part of it that is shared among all captions of the same label instead.
        """
        own = _shared(self.groups[wording], captions)
        if not by_label:
            return own
        return (1 - by_label) * own + by_label * _shared(self.groups[LABEL], captions)

    def present(
        self, captions: Tensor, wording: int, by_label: float = 0.0
    ) -> tuple[list[str], Tensor]:
        """captions (batch,) → the distinct texts among them and, as of `truth`, (batch, texts)."""
        _, column = self.groups[wording][captions].unique(return_inverse=True)
        own = torch.nn.functional.one_hot(column).float()
        there = captions[own.argmax(dim=0)]
        texts = [self.texts[wording][number] for number in there]
        labels = self.groups[LABEL]
        same = (labels[captions][:, None] == labels[there][None, :]).float()
        return texts, (1 - by_label) * own + by_label * same / same.sum(dim=1, keepdim=True)


def _shared(group: Tensor, captions: Tensor) -> Tensor:
    same = (group[captions][:, None] == group[None, :]).float()
    return same / same.sum(dim=1, keepdim=True)


def wordings(rows: Sequence[Row]) -> tuple[tuple[str, ...], ...]:
    """Every caption of the rows in three wordings: itself, "<label> can be heard", the label."""
    named = [(caption, label.replace("_", " ") or caption) for caption, label in _numbered(rows)]
    return (
        tuple(caption for caption, _ in named),
        tuple(f"{label} can be heard" for _, label in named),
        tuple(label for _, label in named),
    )


def _numbered(rows: Sequence[Row]) -> dict[tuple[str, str], int]:
    """(caption, label) → its number, in the order of their first sounds."""
    keys = dict.fromkeys((caption, row.label) for row in rows for caption in row.captions)
    return {key: number for number, key in enumerate(keys)}


def caption_bank(
    rows: Sequence[Row],
    config: TextConfig,
    cache: Path,
    embedded: bool = True,
    path: Path | None = None,
    wordings_embedded: int = 3,
) -> CaptionBank:
    """Captions in their wordings, embedded.

    Without `embedded` the captions stay texts, for a text encoder that learns. The papers' pairs
    need the first wording only.
    """
    numbers = _numbered(rows)
    of_sound = [tuple(numbers[caption, row.label] for caption in row.captions) for row in rows]
    texts = wordings(rows)
    groups = []
    for wording in texts:
        seen: dict[str, int] = {}
        groups.append(torch.tensor([seen.setdefault(text, len(seen)) for text in wording]))
    vectors: tuple[Tensor, ...] = ()
    if embedded:
        vectors = tuple(
            sentence_embeddings(w, config, cache, path) for w in texts[:wordings_embedded]
        )
    return CaptionBank(texts, vectors, tuple(groups), tuple(of_sound))
