"""A question → hits, one page of them."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, BinaryIO

from m2d_clap.index import Filter, Hit, Place, SearchIndex
from m2d_clap.index.filters import Compare, OneOf, both, parse
from m2d_clap.service import cursors
from m2d_clap.service.content import sha256_of
from m2d_clap.service.engine import Engine
from m2d_clap.service.questions import Part, direction, relevances
from m2d_clap.service.schemas import Narrowed, Query, TextQuery
from m2d_clap.service.together import together

NOT_WEIGHT = -0.5
# Searched without a thread, which costs more than such a search: under a millisecond.
_FEW_HITS, _FEW_NUMBERS = 50, 2_000_000


@dataclass(frozen=True)
class Scored:
    """A window that was found, and how relevant it is; None where that is not known."""

    hit: Hit
    relevance: float | None


@dataclass(frozen=True)
class Found:
    """A page. hits: the best window of each clip; moments: of each hit, in their order, the best of
    its clip, empty where only one was asked for; total: clips that were searched."""

    hits: tuple[Scored, ...]
    moments: tuple[tuple[Scored, ...], ...]
    next: str | None
    total: int


async def by_text(engine: Engine, query: TextQuery) -> Found:
    """Clips near a text, and away from those in `not`."""
    vectors = await engine.sentences([query.query, *query.not_])
    weights = [1.0] + [NOT_WEIGHT] * len(query.not_)
    parts = [Part("text", v, w) for v, w in zip(vectors, weights, strict=True)]
    asked = ["text", query.query, query.not_]
    return await _page(engine, engine.index, parts, query, asked)


async def by_sound(engine: Engine, file: BinaryIO, narrowed: Narrowed) -> Found:
    """Clips near an uploaded sound."""
    index = engine.index
    vector = await engine.sound(file)
    asked = ["sound", await asyncio.to_thread(sha256_of, file)]
    return await _page(engine, index, [Part("sound", vector)], narrowed, asked)


async def by_parts(engine: Engine, query: Query, files: Sequence[BinaryIO]) -> Found:
    """Clips near everything that has a positive weight, away from what has a negative one."""
    index = engine.index
    named = [await asyncio.to_thread(engine.clip, clip.id) for clip in query.clips]
    weights = [*query.file_weights, *[1.0] * len(files)][: len(files)]
    parts: list[Part] = []
    if query.texts:
        vectors = await engine.sentences([text.text for text in query.texts])
        parts += [Part("text", v, t.weight) for v, t in zip(vectors, query.texts, strict=True)]
    for clip, given in zip(named, query.clips, strict=True):
        vector = await asyncio.to_thread(index.vector, clip, given.at)
        parts.append(Part("sound", vector, given.weight))
    sounds = await together(engine.sound(file) for file in files)
    parts += [Part("sound", v, w) for v, w in zip(sounds, weights, strict=True)]
    hashes = [await asyncio.to_thread(sha256_of, file) for file in files]
    texts = [[t.text, t.weight] for t in query.texts]
    clips = [[c.id, c.weight, c.at] for c in query.clips]
    asked = ["parts", texts, clips, hashes, weights]
    leave_out = frozenset(clip.id for clip in named)
    return await _page(engine, index, parts, query, asked, leave_out)


async def similar(engine: Engine, clip_id: str, at: float | None, narrowed: Narrowed) -> Found:
    """The other clips near one of the library, or near its moment at a second."""
    index = engine.index
    clip = await asyncio.to_thread(engine.clip, clip_id)
    parts = [Part("sound", await asyncio.to_thread(index.vector, clip, at))]
    asked = ["similar", clip.id, at]
    return await _page(engine, index, parts, narrowed, asked, frozenset([clip.id]))


def within(chosen: Sequence[str] | str | None) -> Filter | None:
    """Only the clips with these ids; only what lies below a folder."""
    if chosen is None:
        return None
    if isinstance(chosen, str):
        return Compare("path", "under", chosen)
    return OneOf("id", tuple(chosen))


async def _page(
    engine: Engine,
    index: SearchIndex,
    parts: Sequence[Part],
    narrowed: Narrowed,
    asked: list[Any],
    leave_out: frozenset[str] = frozenset(),
) -> Found:
    where = both(
        parse(narrowed.filter) if narrowed.filter is not None else None, within(narrowed.within)
    )
    question = cursors.digest(
        index.fingerprint,
        asked,
        [narrowed.filter, narrowed.within, narrowed.min_score, narrowed.min_relevance],
    )
    after = None if narrowed.cursor is None else cursors.place(question, narrowed.cursor)
    vector = direction(parts)
    scale = await engine.scale(index)

    def scored(hits: Sequence[Hit]) -> tuple[Scored, ...]:
        scores = [hit.score for hit in hits]
        told = relevances(parts, scores, lambda: index.vectors(hits), scale) if hits else []
        least = narrowed.min_relevance
        return tuple(
            Scored(hit, relevance)
            for hit, relevance in zip(hits, told, strict=True)
            if least is None or (relevance is not None and relevance >= least)
        )

    def moments(hits: Sequence[Scored]) -> tuple[tuple[Scored, ...], ...]:
        found = [each.hit for each in hits]
        groups = index.moments(found, vector, narrowed.moments, narrowed.min_score)
        return tuple((own, *scored(group[1:])) for own, group in zip(hits, groups, strict=True))

    def search() -> Found:
        hits = index.search(vector, narrowed.k + 1, where, narrowed.min_score, after, leave_out)
        more = len(hits) > narrowed.k
        hits = hits[: narrowed.k]
        kept = scored(hits)
        if len(parts) == 1 and len(kept) < len(hits):
            more = False  # relevance falls with the score: nothing better follows
        follow = None
        if more:
            passed = (0 if after is None else after.passed) + len(hits)
            last = Place(hits[-1].score, hits[-1].clip.id, passed)
            follow = cursors.of_place(question, last)
        told = moments(kept) if narrowed.moments > 1 else ()
        return Found(kept, told, follow, index.count(where))

    at_once = (
        not index.remote
        and where is None
        and narrowed.moments == 1
        and narrowed.k <= _FEW_HITS
        and index.windows * index.dim <= _FEW_NUMBERS
    )
    with engine.stage("search"):
        return search() if at_once else await asyncio.to_thread(search)
