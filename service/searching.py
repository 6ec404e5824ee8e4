"""A question → hits, one page of them."""

import asyncio
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, BinaryIO

from m2d_clap.index import Clip, Filter, Hit, Place, SearchIndex
from m2d_clap.index.filters import Compare, OneOf, both, parse
from m2d_clap.service import cursors
from m2d_clap.service.engine import Engine
from m2d_clap.service.errors import UnknownClipError
from m2d_clap.service.questions import Part, Scale, direction, relevances
from m2d_clap.service.schemas import Narrowed, Query, TextQuery
from m2d_clap.service.together import together

NOT_WEIGHT = -0.5
# Searched without a thread, which costs more than such a search: under a millisecond.
_FEW_HITS, _FEW_NUMBERS = 50, 2_000_000


@dataclass(frozen=True)
class Found:
    """A page. relevance: of each hit, in their order; total: clips that were searched."""

    hits: tuple[Hit, ...]
    relevance: tuple[float | None, ...]
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
    asked = ["sound", await asyncio.to_thread(_hash, file)]
    return await _page(engine, index, [Part("sound", vector)], narrowed, asked)


async def by_parts(engine: Engine, query: Query, files: Sequence[BinaryIO]) -> Found:
    """Clips near everything that has a positive weight, away from what has a negative one."""
    index = engine.index
    named = [await asyncio.to_thread(_clip, index, clip.id) for clip in query.clips]
    weights = [*query.file_weights, *[1.0] * len(files)][: len(files)]
    parts: list[Part] = []
    if query.texts:
        vectors = await engine.sentences([text.text for text in query.texts])
        parts += [Part("text", v, t.weight) for v, t in zip(vectors, query.texts, strict=True)]
    for clip, given in zip(named, query.clips, strict=True):
        parts.append(Part("sound", await asyncio.to_thread(index.vector, clip), given.weight))
    sounds = await together(engine.sound(file) for file in files)
    parts += [Part("sound", v, w) for v, w in zip(sounds, weights, strict=True)]
    hashes = [await asyncio.to_thread(_hash, file) for file in files]
    texts = [[t.text, t.weight] for t in query.texts]
    clips = [[c.id, c.weight] for c in query.clips]
    asked = ["parts", texts, clips, hashes, weights]
    leave_out = frozenset(clip.id for clip in named)
    return await _page(engine, index, parts, query, asked, leave_out)


async def similar(engine: Engine, clip_id: str, narrowed: Narrowed) -> Found:
    """The other clips near one of the library."""
    index = engine.index
    clip = await asyncio.to_thread(_clip, index, clip_id)
    parts = [Part("sound", await asyncio.to_thread(index.vector, clip))]
    asked = ["similar", clip.id]
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

    def search() -> Found:
        hits = index.search(vector, narrowed.k + 1, where, narrowed.min_score, after, leave_out)
        more = len(hits) > narrowed.k
        hits = hits[: narrowed.k]
        total = index.count(where)
        follow = None
        if more:
            passed = (0 if after is None else after.passed) + len(hits)
            last = Place(hits[-1].score, hits[-1].clip.id, passed)
            follow = cursors.of_place(question, last)
        return _readable(index, hits, parts, scale, narrowed.min_relevance, follow, total)

    at_once = (
        not index.remote
        and where is None
        and narrowed.k <= _FEW_HITS
        and index.windows * index.dim <= _FEW_NUMBERS
    )
    with engine.stage("search"):
        return search() if at_once else await asyncio.to_thread(search)


def _readable(
    index: SearchIndex,
    hits: Sequence[Hit],
    parts: Sequence[Part],
    scale: Scale,
    least: float | None,
    follow: str | None,
    total: int,
) -> Found:
    """Hits with their relevance; those below `least` are left out of the page."""
    scores = [hit.score for hit in hits]
    known = relevances(parts, scores, lambda: index.moments(hits), scale) if hits else []
    kept = [
        (hit, relevance)
        for hit, relevance in zip(hits, known, strict=True)
        if least is None or (relevance is not None and relevance >= least)
    ]
    if least is not None and len(parts) == 1 and len(kept) < len(hits):
        follow = None  # relevance falls with the score: nothing better follows
    return Found(tuple(h for h, _ in kept), tuple(r for _, r in kept), follow, total)


def _clip(index: SearchIndex, clip_id: str) -> Clip:
    clip = index.clip(clip_id)
    if clip is None:
        raise UnknownClipError(f"no clip has the id {clip_id!r}")
    return clip


def _hash(file: BinaryIO) -> str:
    file.seek(0)
    return hashlib.file_digest(file, "sha256").hexdigest()  # type: ignore[arg-type]
