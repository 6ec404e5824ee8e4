"""Captioned retrieval: every clip has captions of its own, and only they are right.

Evaluation protocol, retrieval (EVAR; AudioCaps and Clotho with five captions a clip).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from m2d_clap.model.clap import Clap, similarity
from m2d_clap.model.errors import ClapError
from m2d_clap.training.manifest import Row
from m2d_clap.training.metrics import Scores

Ranks = NDArray[np.int64]
FIRST = 10


@dataclass(frozen=True)
class Ranking:
    """Of n queries. recall_k: the share whose answer is among the first k; ranks count from 1."""

    n: int
    recall_1: float
    recall_5: float
    recall_10: float
    median_rank: float
    map_10: float


@dataclass(frozen=True)
class CaptionRetrieval:
    """text_to_audio: the captions ask for their clip; audio_to_text: the clips for a caption."""

    clips: int
    captions: int
    text_to_audio: Ranking
    audio_to_text: Ranking


@dataclass(frozen=True)
class Captioned:
    """Distinct files, every caption, and the number of the file (captions,) that each is of."""

    files: tuple[Path, ...]
    captions: tuple[str, ...]
    clip: Ranks

    @classmethod
    def of(cls, rows: Sequence[Row]) -> "Captioned":
        """Rows of one file are one clip. Raises ClapError when there is no row."""
        if not rows:
            raise ClapError("there is nothing to retrieve: no row of the manifest was chosen")
        of_file: dict[Path, list[str]] = {}
        for row in rows:  # two who said the same are two queries, as in the papers
            of_file.setdefault(row.file, []).extend(row.captions)
        pairs = [(i, c) for i, captions in enumerate(of_file.values()) for c in captions]
        return cls(tuple(of_file), tuple(c for _, c in pairs), np.array([i for i, _ in pairs]))


def caption_retrieval(clap: Clap, audio: Tensor, captioned: Captioned) -> CaptionRetrieval:
    """audio: (files, dim) CLAP embeddings of whole clips."""
    texts = clap.embed_text(captioned.captions)
    scores: Scores = similarity(audio.to(texts.device), texts).float().cpu().numpy()
    return rank_captions(scores, captioned.clip)


def rank_captions(scores: Scores, clip: Ranks) -> CaptionRetrieval:
    """scores: (clips, captions); clip: (captions,) whose caption each is, every clip has one."""
    clips, captions = scores.shape
    every = np.arange(captions)
    of_texts = _ranks(scores.T)[every, clip]
    of_sounds = _ranks(scores)[clip, every]
    best = np.full(clips, captions, dtype=np.int64)
    np.minimum.at(best, clip, of_sounds)
    reciprocal = np.where(of_texts <= FIRST, 1 / of_texts, 0.0)
    precision = [_first_ten(of_sounds[clip == number]) for number in range(clips)]
    return CaptionRetrieval(
        clips=clips,
        captions=captions,
        text_to_audio=_ranking(of_texts, float(reciprocal.mean())),
        audio_to_text=_ranking(best, float(np.mean(precision))),
    )


def _first_ten(ranks: Ranks) -> float:
    """Σ (i / rank of the i-th) over a clip's captions in the first ten, by how many it has."""
    found = np.sort(ranks[ranks <= FIRST])
    return float((np.arange(1, len(found) + 1) / found).sum() / len(ranks))


def _ranks(scores: Scores) -> Ranks:
    """(queries, items) → the place of every item, from 1; of equals the earlier comes first."""
    order = np.argsort(-scores, axis=1, kind="stable")
    ranks = np.empty_like(order)
    places = np.broadcast_to(np.arange(1, order.shape[1] + 1), order.shape)
    np.put_along_axis(ranks, order, places, axis=1)
    return ranks


def _ranking(ranks: Ranks, map_10: float) -> Ranking:
    return Ranking(
        n=len(ranks),
        recall_1=float((ranks <= 1).mean()),
        recall_5=float((ranks <= 5).mean()),
        recall_10=float((ranks <= 10).mean()),
        median_rank=float(np.median(ranks)),
        map_10=map_10,
    )
