"""A sound → its tags, and its tags along time."""

import asyncio
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import BinaryIO, Literal

import numpy as np

from m2d_clap.index.calibration import Calibration
from m2d_clap.index.hits import mean_of
from m2d_clap.model.labels import audioset
from m2d_clap.service.engine import Engine
from m2d_clap.service.errors import NoHeadError
from m2d_clap.service.jobs import Vectors
from m2d_clap.service.spans import spans
from m2d_clap.service.tagging import Label, vocabulary

MOST_IN_SPAN = 10


@dataclass(frozen=True)
class Scored:
    """A label, its cosine or probability, and what that means to a reader; None: not known."""

    label: Label
    score: float
    relevance: float | None


@dataclass(frozen=True)
class Stretch:
    """start, end in seconds; tags: best first."""

    start: float
    end: float
    tags: tuple[Scored, ...]


@dataclass(frozen=True)
class Tagged:
    """tags: of the whole sound, best first. timeline: None where it was not asked for."""

    scores: Literal["cosine", "probability"]
    tags: tuple[Scored, ...]
    timeline: tuple[Stretch, ...] | None = None


async def by_sentences(
    engine: Engine, file: BinaryIO, names: Sequence[str], k: int, timeline: bool
) -> Tagged:
    """The nearest of the labels given; of the built-in vocabulary without any."""
    labels, sentences = await _sentences(engine, names)
    calibration = (await engine.scale(engine.index)).text
    async with engine.upload(file) as waveform:
        sound = await engine.heard(waveform)
        tags = _best(sentences @ sound, labels, k, calibration)
        if not timeline:
            return Tagged("cosine", tags)
        along = await engine.spans(waveform)
    stretches = await asyncio.to_thread(
        _stretches, spans(waveform.seconds), along @ sentences.T, labels, k, calibration
    )
    return Tagged("cosine", tags, stretches)


async def of_clip(
    engine: Engine, clip_id: str, names: Sequence[str], k: int, timeline: bool
) -> Tagged:
    """The same of a sound of the library, by the windows in its index: it is not decoded again, and
    may be of any length. Raises UnknownClipError."""
    index = engine.index
    clip = await asyncio.to_thread(engine.clip, clip_id)
    labels, sentences = await _sentences(engine, names)
    calibration = (await engine.scale(index)).text

    def told() -> Tagged:
        times, windows = index.along(clip)
        tags = _best(sentences @ mean_of(times, windows, None), labels, k, calibration)
        if not timeline:
            return Tagged("cosine", tags)
        scores = windows @ sentences.T
        return Tagged("cosine", tags, _stretches(times.tolist(), scores, labels, k, calibration))

    return await asyncio.to_thread(told)


async def by_head(engine: Engine, file: BinaryIO, k: int, timeline: bool) -> Tagged:
    """The likeliest of the classes that the checkpoint was trained on. Raises NoHeadError."""
    labels = trained_labels(engine.model.config.labels)
    if not labels:
        raise NoHeadError("the checkpoint served here has no trained head: leave `trained` out")
    async with engine.upload(file) as waveform:
        classes = await engine.classes(waveform)
    tags = _best(classes[0], labels, k, None, probability=True)
    if not timeline:
        return Tagged("probability", tags)
    stretches = await asyncio.to_thread(
        _stretches, spans(waveform.seconds), classes[1:], labels, k, None, True
    )
    return Tagged("probability", tags, stretches)


def trained_labels(names: Sequence[str]) -> tuple[Label, ...]:
    """A head's classes, which may be called by AudioSet's mids, its names, or anything else."""
    by_mid = dict(audioset())
    by_name = {name.lower(): mid for mid, name in by_mid.items()}
    return tuple(
        Label(by_mid[name], name) if name in by_mid else Label(name, by_name.get(name.lower()))
        for name in names
    )


async def _sentences(engine: Engine, names: Sequence[str]) -> tuple[Sequence[Label], Vectors]:
    """The labels, and the unit vectors (labels, dim) of their sentences."""
    if not names:
        return vocabulary(), engine.vocabulary_vectors()
    labels = [Label(name) for name in dict.fromkeys(names)]
    return labels, await engine.sentences([label.prompt for label in labels])


def _stretches(
    times: Iterable[Sequence[float]],
    scores: Vectors,
    labels: Sequence[Label],
    k: int,
    calibration: Calibration | None,
    probability: bool = False,
) -> tuple[Stretch, ...]:
    """times: start and end of each; scores: (stretches, labels)."""
    most = min(k, MOST_IN_SPAN)
    return tuple(
        Stretch(start, end, _best(row, labels, most, calibration, probability))
        for (start, end), row in zip(times, scores, strict=True)
    )


def _best(
    scores: Vectors,
    labels: Sequence[Label],
    k: int,
    calibration: Calibration | None,
    probability: bool = False,
) -> tuple[Scored, ...]:
    """Of equal scores the earlier label comes first."""

    def relevance(score: float) -> float | None:
        if probability:
            return score
        return None if calibration is None else calibration.relevance(score)

    best = np.argsort(-scores, kind="stable")[:k]
    return tuple(Scored(labels[i], float(scores[i]), relevance(float(scores[i]))) for i in best)
