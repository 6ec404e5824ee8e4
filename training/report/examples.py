"""Queries that show how retrieval goes: some that went well, some middling, some badly."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from m2d_clap.training.metrics import Scores, Truth

HITS = 5
EACH = 3


@dataclass(frozen=True)
class Hit:
    """An item in its place, from 1. right: it answers the query."""

    place: int
    item: int
    score: float
    right: bool


@dataclass(frozen=True)
class Example:
    """A query, its first hits and, where none of those is right, the first right one.

    answers: how many items would be right.
    """

    query: int
    hits: tuple[Hit, ...]
    beyond: Hit | None
    answers: int

    @property
    def rank(self) -> int:
        """Place of the first right item."""
        found = [hit.place for hit in self.hits if hit.right]
        return self.beyond.place if self.beyond is not None else found[0]


@dataclass(frozen=True)
class Group:
    """`n` of `of` queries went like these."""

    name: str
    n: int
    of: int
    examples: tuple[Example, ...]


def groups(scores: Scores, truth: Truth, alike: Sequence[str], each: int = EACH) -> list[Group]:
    """By the place of the first right item: 1, 2 … 10, later.

    scores, truth: (queries, items), every query has a right item. alike: one word a query; of a
    group no word is shown twice while there are others. Chosen evenly from the group's best to
    its worst, the same every time. Ties rank as in `metrics.retrieval`.
    """
    order = np.argsort(-scores, axis=1, kind="stable")
    right = np.take_along_axis(truth, order, axis=1)
    first = right.argmax(axis=1) + 1
    made = []
    for name, low, high in (
        ("right at once", 1, 1),
        ("right among the first ten", 2, 10),
        ("right later only", 11, scores.shape[1]),
    ):
        members = np.flatnonzero((first >= low) & (first <= high))
        # Best first: by place, then by how much better the first hit is than the mean item.
        lead = scores[members].max(axis=1) - scores[members].mean(axis=1)
        members = members[np.lexsort((-lead, first[members]))]
        chosen = _spread(members.tolist(), alike, each)
        shown = tuple(_example(q, scores[q], order[q], right[q]) for q in chosen)
        made.append(Group(name, len(members), len(scores), shown))
    return made


def _spread(members: Sequence[int], alike: Sequence[str], each: int) -> list[int]:
    seen: set[str] = set()
    distinct = [m for m in members if not (alike[m] in seen or seen.add(alike[m]))]  # type: ignore[func-returns-value]
    pool = distinct if len(distinct) >= each else list(members)
    if len(pool) <= each:
        return pool
    return [pool[round(place)] for place in np.linspace(0, len(pool) - 1, each)]


def _example(query: int, scores: Scores, order: np.ndarray, right: Truth) -> Example:
    def hit(place: int) -> Hit:
        item = int(order[place])
        return Hit(place + 1, item, float(scores[item]), bool(right[place]))

    first = int(right.argmax())
    return Example(
        query=query,
        hits=tuple(hit(place) for place in range(min(HITS, len(order)))),
        beyond=hit(first) if first >= HITS else None,
        answers=int(right.sum()),
    )
