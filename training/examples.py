"""One batch as tensors, which can be shared among processes and worked on in parts."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, fields, replace
from typing import Any

import torch
from torch import Tensor

from m2d_clap.model.tokenizer import Tokens
from m2d_clap.training.masking import Mask


@dataclass(frozen=True)
class Examples:
    """A batch, or the share of it that one process or one part of a step works on.

    Of every sound: images (batch, 1, mels, frames), normalised log-mels, None where the stage hears
    nothing; mask, None where all is seen; sentences (batch, width), frozen embeddings of captions;
    tokens, the captions themselves, for a text encoder that learns.
    Of every text of a lesson: lesson, and targets (texts, width), what the teacher makes of it.
    Never shared out, of all sounds of the batch: truth (batch, captions), with which `sentences` or
    `tokens` are those captions; labels (batch, classes) float, 0 … 1.
    heard, taught: how many sounds and texts of a lesson the whole batch has.
    """

    images: Tensor | None = None
    mask: Mask | None = None
    sentences: Tensor | None = None
    truth: Tensor | None = None
    tokens: Tokens | None = None
    labels: Tensor | None = None
    lesson: Tokens | None = None
    targets: Tensor | None = None
    heard: int = 0
    taught: int = 0

    def share(self, rank: int, world: int) -> "Examples":
        """Every world-th sound and text of a lesson, from `rank` on."""
        own = slice(rank, None, world)
        return self if world == 1 else self._cut(own, own)

    def part(self, number: int, parts: int) -> "Examples":
        """The number-th of so many parts, equal but for one sound and one text."""

        def stretch(rows: int) -> slice:
            return slice(rows * number // parts, rows * (number + 1) // parts)

        if parts == 1:
            return self
        images, lesson = self.images, self.lesson
        return self._cut(
            stretch(0 if images is None else len(images)),
            stretch(0 if lesson is None else len(lesson.ids)),
        )

    @property
    def weights(self) -> dict[str, float]:
        """By term: which share of the whole batch's sounds or texts these are."""
        shares = {}
        if self.images is not None:
            shares["loss_m2d"] = shares["loss_ensemble"] = len(self.images) / self.heard
        if self.lesson is not None:
            shares["loss_distil"] = len(self.lesson.ids) / self.taught
        return shares

    def pinned(self) -> "Examples":
        """In memory that a CUDA device can fetch from by itself."""
        return self._changed(torch.Tensor.pin_memory, (f.name for f in fields(self)))

    def to(self, device: torch.device) -> "Examples":
        """On the device; from pinned memory without waiting."""
        return self._changed(
            lambda tensor: tensor.to(device, non_blocking=True), (f.name for f in fields(self))
        )

    def _cut(self, sounds: slice, texts: slice) -> "Examples":
        of_sounds = ["images", "mask"]
        if self.truth is None:
            of_sounds += ["sentences", "tokens"]
        cut = self._changed(lambda tensor: tensor[sounds], of_sounds)
        return cut._changed(lambda tensor: tensor[texts], ("lesson", "targets"))

    def _changed(self, change: Callable[[Tensor], Tensor], names: Iterable[str]) -> "Examples":
        return replace(self, **{name: _each(getattr(self, name), change) for name in names})


def _each(value: Any, change: Callable[[Tensor], Tensor]) -> Any:
    if isinstance(value, Tensor):
        return change(value)
    if isinstance(value, Mask):
        return Mask(change(value.shuffle), change(value.restore), value.keep)
    if isinstance(value, Tokens):
        return Tokens(change(value.ids), change(value.mask))
    return value
