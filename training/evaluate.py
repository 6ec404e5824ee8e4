"""Retrieval and zero-shot scores of a model over the rows of a manifest."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from m2d_clap.model.clap import Clap, similarity
from m2d_clap.model.errors import ClapError
from m2d_clap.model.mel import normalise
from m2d_clap.training.manifest import Row
from m2d_clap.training.metrics import Retrieval, Scores, Truth, accuracy, retrieval

CLIPS_AT_ONCE = 128


@dataclass(frozen=True)
class ZeroShot:
    """Accuracy of choosing a clip's label by "<label> can be heard", over n clips."""

    n: int
    classes: int
    accuracy: float


@dataclass(frozen=True)
class Evaluation:
    """text_to_audio has the distinct captions as queries, audio_to_text the clips.

    An answer is right when it has the query's caption or its label.
    """

    clips: int
    text_to_audio: Retrieval
    audio_to_text: Retrieval
    zero_shot: ZeroShot | None


def embed_sounds(clap: Clap, sounds: Sequence[Tensor]) -> Tensor:
    """CLAP embeddings (sounds, dim) of raw log-mels (mels, frames), whole sounds."""
    front_end = clap.config.front_end
    parts = []
    for start in range(0, len(sounds), CLIPS_AT_ONCE):
        chosen = sounds[start : start + CLIPS_AT_ONCE]
        images = [normalise(s.float(), front_end).unsqueeze(0).to(clap.device) for s in chosen]
        parts.append(clap.project(clap.grids(images)))
    return torch.cat(parts)


@dataclass(frozen=True)
class Compared:
    """Sounds against the distinct captions of their rows.

    audio: (clips, dim) embeddings; scores: (clips, captions) cosines; right: the same shape.
    """

    audio: Tensor
    captions: tuple[str, ...]
    scores: Scores
    right: Truth


@dataclass(frozen=True)
class Prompted:
    """Labelled sounds against "<label> can be heard".

    scores: (clips, labels) cosines; classes: (clips,) the number of each clip's own label.
    """

    labels: tuple[str, ...]
    scores: Scores
    classes: NDArray[np.int64]


def evaluate(
    clap: Clap,
    rows: Sequence[Row],
    sounds: Sequence[Tensor],
    zero_shot_of: Callable[[Row], bool] = lambda row: bool(row.label),
) -> Evaluation:
    """Scores `rows`, whose raw log-mels are `sounds`; zero-shot over the rows that pass.

    Raises ClapError when there is no row.
    """
    compared = compare(clap, rows, sounds)
    return figures(compared, prompt(clap, rows, compared.audio, zero_shot_of))


def figures(compared: Compared, prompted: Prompted | None) -> Evaluation:
    """What the comparisons come to."""
    scores, right = compared.scores, compared.right
    zero_shot = None
    if prompted is not None:
        share = accuracy(prompted.scores, prompted.classes)
        zero_shot = ZeroShot(len(prompted.classes), len(prompted.labels), share)
    return Evaluation(
        clips=len(scores),
        text_to_audio=retrieval(scores.T, right.T),
        audio_to_text=retrieval(scores, right),
        zero_shot=zero_shot,
    )


def compare(clap: Clap, rows: Sequence[Row], sounds: Sequence[Tensor]) -> Compared:
    """Embeds both sides. Raises ClapError when there is no row."""
    if not rows:
        raise ClapError("there is nothing to evaluate: no row of the manifest was chosen")
    audio = embed_sounds(clap, sounds)
    captions = tuple(dict.fromkeys(c for row in rows for c in row.captions))
    scores = similarity(audio, clap.embed_text(captions)).float().cpu().numpy()
    return Compared(audio, captions, scores, right_answers(rows, captions))


def prompt(
    clap: Clap, rows: Sequence[Row], audio: Tensor, zero_shot_of: Callable[[Row], bool]
) -> Prompted | None:
    """audio: (rows, dim). None where no row has a label and passes."""
    chosen = [i for i, row in enumerate(rows) if row.label and zero_shot_of(row)]
    if not chosen:
        return None
    labels = tuple(sorted({rows[i].label for i in chosen}))
    prompts = [label.replace("_", " ") + " can be heard" for label in labels]
    scores = similarity(audio[chosen], clap.embed_text(prompts)).float().cpu().numpy()
    return Prompted(labels, scores, np.array([labels.index(rows[i].label) for i in chosen]))


def right_answers(rows: Sequence[Row], captions: Sequence[str]) -> Truth:
    """(clips, captions) bool: the clip has the caption, or a label that goes with it. captions: all
    of the rows', each once."""
    column = {caption: number for number, caption in enumerate(captions)}
    of_label: dict[str, set[int]] = {}
    for row in rows:
        if row.label:
            of_label.setdefault(row.label, set()).update(column[c] for c in row.captions)
    right = np.zeros((len(rows), len(captions)), np.bool_)
    for answers, row in zip(right, rows, strict=True):
        answers[[*of_label.get(row.label, ()), *(column[c] for c in row.captions)]] = True
    return right
