"""Captions as frozen sentence embeddings, computed once."""

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from m2d_clap.model.config import TextConfig
from m2d_clap.model.files import whole
from m2d_clap.model.text_encoder import SPECS, load_text_encoder
from m2d_clap.training.alone import alone
from m2d_clap.training.manifest import Row

_PART, _TOGETHER = 1 << 15, 64

LABEL = -1
"""The last wording is the label alone."""


Progress = Callable[[int], None]
"""Told how many are done."""


def sentence_embeddings(
    texts: Sequence[str],
    config: TextConfig,
    cache: Path,
    path: Path | None = None,
    device: str = "cpu",
    progress: Progress = lambda _: None,
) -> Tensor:
    """(texts, width) float32 of the encoder `config` names, kept in `cache`; stopped, the same call
    goes on at the part it was in.

    Raises TextEncoderError where it is needed and found neither in the folder `path` nor elsewhere.
    """
    identity = json.dumps([config.kind, config.max_tokens, *_encoder(path), *texts])
    file = cache / f"captions-{hashlib.sha256(identity.encode()).hexdigest()[:16]}.safetensors"
    if not file.is_file():
        with alone(cache):
            if not file.is_file():
                _embed(texts, config, file, path, device, progress)
    progress(len(texts))
    return load_file(file)["embeddings"]


def _encoder(path: Path | None) -> list[tuple[str, int, int]]:
    """Whose embeddings they are, where a folder was named: its files' names, sizes and times."""
    if path is None or not path.is_dir():
        return []
    stats = {file.name: file.stat() for file in sorted(path.iterdir()) if file.is_file()}
    return [(name, stat.st_size, stat.st_mtime_ns) for name, stat in stats.items()]


@torch.inference_mode()
def _embed(
    texts: Sequence[str],
    config: TextConfig,
    file: Path,
    path: Path | None,
    device: str,
    progress: Progress,
) -> None:
    encoder = load_text_encoder(config, path).to(device)
    # Of like length together, so that little is padded.
    order = sorted(range(len(texts)), key=lambda number: len(texts[number]))
    embeddings = torch.empty(len(texts), SPECS[config.kind].dim)
    parts: list[Path] = []
    for start in range(0, len(order), _PART):
        part = order[start : start + _PART]
        parts.append(file.with_suffix(f".{len(parts)}.safetensors"))
        if not parts[-1].is_file():
            embedded = []
            for at in range(0, len(part), _TOGETHER):
                some = [texts[number] for number in part[at : at + _TOGETHER]]
                embedded.append(encoder.embed(some).float().cpu())
                progress(start + at + len(some))
            _save(torch.cat(embedded), parts[-1])
        embeddings[part] = load_file(parts[-1])["embeddings"]
    _save(embeddings, file)
    for made in parts:
        made.unlink()


def _save(embeddings: Tensor, file: Path) -> None:
    with whole(file) as aside:
        save_file({"embeddings": embeddings}, aside)


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
    device: str = "cpu",
    progress: Progress = lambda _: None,
) -> CaptionBank:
    """Captions in their wordings, embedded.

    Without `embedded` the captions stay texts, for a text encoder that learns. The papers' pairs
    need the first wording only. progress: for each wording anew.
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
            sentence_embeddings(w, config, cache, path, device, progress)
            for w in texts[:wordings_embedded]
        )
    return CaptionBank(texts, vectors, tuple(groups), tuple(of_sound))
