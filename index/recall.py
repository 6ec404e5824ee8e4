"""How much of what exact search finds an index finds too, and how hard it must search for that."""

import time
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from m2d_clap.index.kinds import Rows, Tuning, blocks
from m2d_clap.index.vectors import Vectors

WANTED = 0.98
_MARGIN = 0.005  # another sample of questions finds a little less
_TOP = 10
_SAMPLE = 256
_SEED = 9


@dataclass(frozen=True)
class Questions:
    """Vectors that are asked for. queries: (n, dim); least: (n,) the exact score of the tenth best;
    own: (n,) the row that a question is itself, −1 where it is none; top: how many count."""

    queries: NDArray[np.float32]
    least: NDArray[np.float32]
    own: NDArray[np.int64]
    top: int


def drawn(rows: Rows, most: int = _SAMPLE) -> Questions:
    """Some of the rows themselves; none of them may find itself."""
    count = len(rows)
    own = np.arange(count)
    if count > most:
        own = np.sort(np.random.default_rng(_SEED).choice(count, most, replace=False))
    queries = np.ascontiguousarray(rows[own], np.float32)
    return asked(queries, blocks(rows), min(_TOP, max(count - 1, 0)), own)


def asked(
    queries: NDArray[np.float32],
    rows: Iterable[NDArray[np.float32]],
    top: int = _TOP,
    own: NDArray[np.int64] | None = None,
) -> Questions:
    """Answers questions exactly, over blocks of rows."""
    own = np.full(len(queries), -1) if own is None else own
    best = np.full((len(queries), top), -np.inf, np.float32)
    at = 0
    for block in rows if top else ():
        scores = queries @ block.T
        inside = np.flatnonzero((own >= at) & (own < at + len(block)))
        scores[inside, own[inside] - at] = -np.inf
        best = np.partition(np.concatenate([best, scores], axis=1), -top, axis=1)[:, -top:]
        at += len(block)
    least = best.min(axis=1) if top else np.zeros(len(queries), np.float32)
    return Questions(queries, least, own, top)


def recall(vectors: Vectors, questions: Questions) -> float:
    """0 … 1: the share of the best `top` that is found; of equals any counts."""
    if not questions.top or not len(questions.queries):
        return 1.0
    found = 0
    for query, least, own in zip(
        questions.queries, questions.least, questions.own.tolist(), strict=True
    ):
        scores, rows = vectors.nearest(query[None], questions.top + 1)
        scores = scores[rows != own][: questions.top]
        found += int((scores >= least - 1e-5).sum())
    return found / (questions.top * len(questions.queries))


def tuned(index: Any, tuning: Tuning, exact: Rows) -> Tuning:
    """The least that has to be searched for a recall@10 of 0.98, with what it reached."""
    if tuning.kind == "flat":
        return tuning
    questions = drawn(exact)

    def reached(given: Tuning) -> Tuning:
        return replace(given, recall=recall(Vectors(index, given, exact), questions))

    enough = WANTED + _MARGIN
    best = reached(tuning)
    while (best.recall or 0) < enough and not best.whole(1, len(exact)):
        probes = min(best.lists, max(best.probes + 1, round(best.probes * 1.4)))
        best = reached(replace(best, probes=probes, effort=round(best.effort * 1.4)))
    while best.again > 2:  # coarse codes are given many rows to score again: fewer may do
        fewer = reached(replace(best, again=best.again / 2))
        if (fewer.recall or 0) < min(enough, best.recall or 0):
            break
        best = fewer
    return best


def latency(vectors: Vectors, questions: Questions) -> float:
    """Median seconds of a single search for ten."""
    took = []
    for query in questions.queries:
        start = time.perf_counter()
        vectors.nearest(query[None], _TOP)
        took.append(time.perf_counter() - start)
    return float(np.median(took)) if took else 0.0
