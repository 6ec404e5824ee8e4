"""One suite over every kind of vector index, and over what lies beside it: what brute force finds."""

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import get_args

import faiss
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from m2d_clap.index import Clip, Index, Place, kinds, vectors
from m2d_clap.index.base import Base
from m2d_clap.index.catalogue import CATALOGUE_FILE, Catalogue
from m2d_clap.index.changes import Added
from m2d_clap.index.clips import Clips
from m2d_clap.index.delta import Delta
from m2d_clap.index.filters import parse
from m2d_clap.index.generation import make, switch
from m2d_clap.index.kinds import Kind, Tuning, Wish
from m2d_clap.index.origin import Origin
from m2d_clap.index.recall import asked, recall
from m2d_clap.index.report import measured
from m2d_clap.index.windows import Embedded

DIM = 8
KINDS: tuple[Kind, ...] = get_args(Kind)
ORIGIN = Origin("f" * 64, Path("/model"), Path("/sounds"))
Vector = NDArray[np.float32]


@pytest.fixture(autouse=True)
def _the_index_itself_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    """However few the rows are: none are scored one by one instead."""
    monkeypatch.setattr(vectors, "SCANNED", 0)
    monkeypatch.setattr(vectors, "ENOUGH", 0)


def sound(number: int, seed: int, windows: int) -> Added:
    """Unit vectors that float16 holds as they are."""
    drawn = np.random.default_rng((number, seed)).normal(size=(windows, DIM))
    unit = (drawn / np.linalg.norm(drawn, axis=1, keepdims=True)).astype(np.float16)
    clip = Clip(f"{number:02}", 1.0 + number % 5, (f"{number % 3}/{number}.wav",))
    cut = [Embedded(float(n), n + 1.0, v) for n, v in enumerate(unit.astype(np.float32))]
    return Added(clip, cut)


def base_of(kind: Kind, sounds: list[Added]) -> Base:
    """Every list is looked into and every row scored again, so that nothing can be missed."""
    sounds = sorted(sounds, key=lambda s: s.clip.path)
    exact = np.stack([w.vector for s in sounds for w in s.windows]).astype(np.float16)
    index, tuning = kinds.empty(kind, len(exact), DIM)
    kinds.fill(index, tuning, exact)
    whole = Tuning(kind, tuning.lists, tuning.lists, 4 * len(exact), 1e6)
    held = vectors.Vectors(index, whole, None if kind == "flat" else exact)
    counts = [len(s.windows) for s in sounds]
    owners = np.repeat(np.arange(len(sounds)), counts)
    times = np.array([(w.start, w.end) for s in sounds for w in s.windows])
    return Base(Clips.of([s.clip for s in sounds]), owners, times, held)


@st.composite
def stories(draw: st.DrawFn) -> tuple[list[Added], list[dict[str, Added | None]]]:
    """Sounds of a generation, then changes, a few at a time."""
    numbers = st.integers(0, 19)
    first = draw(st.lists(numbers, min_size=2, max_size=16, unique=True))
    windows = st.integers(1, 3)
    sounds = [sound(n, 0, draw(windows)) for n in first]
    steps = []
    for seed in range(1, 1 + draw(st.integers(0, 3))):
        touched = draw(st.dictionaries(numbers, st.none() | windows, min_size=1, max_size=6))
        made = {n: None if w is None else sound(n, seed, w) for n, w in touched.items()}
        steps.append({f"{n:02}": one for n, one in made.items()})
    return sounds, steps


def brute(there: dict[str, Added], query: Vector, seconds: float) -> list[tuple[float, str]]:
    """(−score, id) of every clip shorter than that, best first."""
    unit = query / max(float(np.linalg.norm(query)), 1e-12)
    found = [
        (-max(float(w.vector @ unit) for w in s.windows), clip)
        for clip, s in there.items()
        if s.clip.seconds < seconds
    ]
    return sorted(found)


def after(there: dict[str, Added], step: dict[str, Added | None]) -> dict[str, Added]:
    return {clip: s for clip, s in {**there, **step}.items() if s is not None}


@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=25, deadline=None, suppress_health_check=[*HealthCheck])
@given(story=stories(), seed=st.integers(0, 9), k=st.integers(1, 5), longest=st.integers(1, 6))
def test_pages_are_those_of_brute_force_also_while_clips_come_and_go(
    kind: Kind,
    story: tuple[list[Added], list[dict[str, Added | None]]],
    seed: int,
    k: int,
    longest: int,
) -> None:
    sounds, steps = story
    where = parse(f"seconds < {longest + 0.5}")
    query = np.random.default_rng(seed).normal(size=DIM).astype(np.float32)
    index = Index(Path("x"), ORIGIN, base_of(kind, sounds))
    there = {s.clip.id: s for s in sounds}
    everything, place = [], None
    always = set(there)
    for number, step in enumerate([*steps, *[{}] * 20]):
        expected = brute(there, query, longest + 0.5)
        hits = index.search(query, 50, where)
        assert [h.clip.id for h in hits] == [clip for _, clip in expected]
        assert np.allclose([h.score for h in hits], [-s for s, _ in expected], atol=1e-5)
        assert index.count(where) == int(index.admitted(where).sum()) == len(expected)
        for hit in hits:
            window = next(w for w in there[hit.clip.id].windows if w.start == hit.start)
            assert float(index.rows([hit.row])[0] @ window.vector) > 0.99
        page = index.search(query, k, where, after=place)
        everything += page
        if number >= len(steps) and not page:
            break
        if page:
            place = Place(page[-1].score, page[-1].clip.id, len(everything))
        delta = index.delta.after(step, index.delta.seq + 1)
        index = Index(Path("x"), ORIGIN, index.base, delta)
        always -= step.keys()
        there = after(there, step)
    shown = [hit.clip.id for hit in everything]
    stayed = [clip for _, clip in brute(there, query, longest + 0.5) if clip in always]
    assert [clip for clip in shown if clip in always] == stayed
    assert [c.id for c in index.clips] == [
        s.clip.id for s in sorted(there.values(), key=lambda s: s.clip.path)
    ]
    for clip in there:
        found = index.clip(clip)
        assert found is not None and index.vector(found).shape == (DIM,)
    means = index.means()
    assert len(index) == len(there) == len(means)
    assert np.array_equal(index.means(slice(1, None, 2)), means[1::2])
    assert index.windows == sum(len(s.windows) for s in there.values())


class Made:
    """Contents of a generation: points around centres, one window each."""

    def __init__(self, rows: int, dim: int, seed: int = 0) -> None:
        rng = np.random.default_rng(seed)
        self._around = rng.normal(size=(rows // 10, dim))
        self.rows, self.seq, self.mark = rows, 0, None
        self.vectors = self.points(rows, rng)
        self.questions = self.points(100, rng)

    def points(self, count: int, rng: np.random.Generator) -> Vector:
        chosen = self._around[rng.integers(len(self._around), size=count)]
        drawn = chosen + 0.5 * rng.normal(size=chosen.shape)
        unit: Vector = (drawn / np.linalg.norm(drawn, axis=1, keepdims=True)).astype(np.float32)
        return unit

    def clips(self) -> Iterator[Clip]:
        return (Clip(f"{n:06}", n / 1000, (f"{n:06}.wav",)) for n in range(self.rows))

    def windows(self, clip: str) -> list[Embedded]:
        return [Embedded(0.0, 1.0, self.vectors[int(clip)])]


@pytest.fixture(scope="module")
def crowd() -> Made:
    return Made(6000, 32)


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_finds_98_of_100_with_the_effort_it_measured_and_keeps(
    kind: Kind, crowd: Made, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(vectors, "ENOUGH", 1)
    with Catalogue.open(tmp_path / CATALOGUE_FILE) as catalogue:
        for _ in range(2):  # again with the centres of the first
            switch(tmp_path, make(tmp_path, crowd, 32, ORIGIN, Wish(kind)), catalogue)
    index = Index.open(tmp_path)
    held = index.base.vectors
    assert held.tuning.kind == kind and (held.tuning.recall or 0) >= 0.98
    assert held.tuning.whole(1, len(held)) == (kind == "flat"), "it need not look everywhere"
    exact = held.exact()
    assert recall(held, asked(crowd.questions, [np.asarray(exact, np.float32)])) >= 0.96
    few = parse("seconds >= 5.9")
    hits = index.search(crowd.questions[0], 5, few)
    scores = exact[5900:].astype(np.float32) @ crowd.questions[0]
    assert hits[0].score == pytest.approx(float(scores.max()), abs=1e-3)
    assert index.search(crowd.vectors[77], 1)[0].clip.id == "000077"
    assert index.clip("005999") == Clip("005999", 5.999, ("005999.wav",))
    assert index.clip("006000") is None
    found = {each.kind: each for each in measured(index, Wish(memory=40 * 6000))}
    assert set(found) == {kind, "ivf-sq8", "pq"} and found[kind].served
    assert all(each.recall >= 0.98 and each.p50 > 0 for each in found.values())


def test_what_fits_is_chosen() -> None:
    assert Wish().choose(1000, 768) == "flat"
    assert Wish(memory=1 << 40).choose(1_000_000, 768) == "ivf-sq8"
    assert Wish(memory=10_000_000).choose(1_000_000, 768) == "pq"
    assert Wish(memory=1_000_000).choose(1000, 768) == "ivf-sq8"
    assert Wish("hnsw", 1).choose(10, 768) == "hnsw"


def test_the_kind_asked_for_is_kept(tmp_path: Path) -> None:
    few = Made(40, 8)
    with Catalogue.open(tmp_path / CATALOGUE_FILE) as catalogue:
        for wish in (Wish("pq"), None, Wish("auto")):
            switch(tmp_path, make(tmp_path, few, 8, ORIGIN, wish), catalogue)
            kind = "flat" if wish == Wish("auto") else "pq"
            assert Index.open(tmp_path).base.vectors.tuning.kind == kind
    assert faiss.read_index(str(tmp_path / "generation-3" / "vectors.faiss")).ntotal == 40
    assert not (tmp_path / "generation-3" / "exact.f16").exists()
    with closing(sqlite3.connect(tmp_path / CATALOGUE_FILE)) as db:
        assert db.execute("SELECT count(*) FROM changes").fetchone() == (0,)


def test_a_delta_takes_later_changes_on_top() -> None:
    delta = Delta.none(3, DIM).after({"01": sound(1, 0, 2), "02": sound(2, 0, 1)}, 5)
    later = delta.after({"01": None, "03": sound(3, 0, 1)}, 7)
    assert [clip.id for clip in later.clips] == ["03", "02"]
    assert (later.seq, later.touched, len(later.owners)) == (7, {"01", "02", "03"}, 2)
    assert len(delta.clips) == 2, "the one before is as it was"
