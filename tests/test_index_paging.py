"""Pages of hits follow one another without gap or double, also while the index changes."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from m2d_clap.index import Clip, Hit, Index, Place
from m2d_clap.index.base import Base
from m2d_clap.index.calibration import drawn, of_sentences, of_sounds
from m2d_clap.index.origin import Origin
from m2d_clap.index.positions import Points, positions

DIM = 3


def index_of(vectors: NDArray[np.float32], owners: list[int], names: list[str]) -> Index:
    clips = [Clip(name, 1.0, (f"{name}.wav",)) for name in names]
    times = [(float(row), row + 1.0) for row in range(len(owners))]
    base = Base.of(clips, owners, times, vectors, number=7)
    return Index(Path("x"), Origin("f", Path("c"), Path("l")), base)


@st.composite
def indexes(draw: st.DrawFn) -> Index:
    """Vectors of whole numbers, so that many scores are equal; names in no order."""
    count = draw(st.integers(1, 10))
    windows = draw(st.lists(st.integers(1, 5), min_size=count, max_size=count))
    owners = [clip for clip, number in enumerate(windows) for _ in range(number)]
    number = st.integers(-2, 2)
    rows = draw(st.lists(st.tuples(*[number] * DIM), min_size=len(owners), max_size=len(owners)))
    vectors = np.array(rows, np.float32)
    vectors /= np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)
    return index_of(vectors, owners, draw(st.permutations([f"{n:02}" for n in range(count)])))


def last(hits: list[Hit], passed: int) -> Place:
    return Place(hits[-1].score, hits[-1].clip.id, passed + len(hits))


@given(indexes(), st.tuples(*[st.integers(-3, 3)] * DIM), st.integers(1, 4))
def test_pages_put_together_are_the_whole_list(
    index: Index, question: tuple[int, ...], k: int
) -> None:
    query = np.array(question, np.float32)
    whole = index.search(query, len(index))
    assert [(-h.score, h.clip.id) for h in whole] == sorted((-h.score, h.clip.id) for h in whole)
    paged = page = index.search(query, k)
    while page:
        page = index.search(query, k, after=last(page, len(paged) - len(page)))
        paged = paged + page
    assert [hit.clip.id for hit in paged] == [hit.clip.id for hit in whole]


@given(indexes(), st.tuples(*[st.integers(-3, 3)] * DIM), st.floats(-1, 1), st.data())
def test_a_least_score_and_what_is_left_out_only_shorten_the_list(
    index: Index, question: tuple[int, ...], least: float, data: st.DataObject
) -> None:
    query = np.array(question, np.float32)
    out = frozenset(data.draw(st.lists(st.sampled_from([c.id for c in index.clips]))))
    whole = index.search(query, len(index))
    expected = [h.clip.id for h in whole if h.score >= least and h.clip.id not in out]
    hits = index.search(query, 3, least=least, leave_out=out)
    assert [hit.clip.id for hit in hits] == expected[:3]


def test_a_page_goes_on_behind_its_last_hit_when_clips_came_and_went() -> None:
    angles = np.linspace(0, 1, 20)
    vectors = np.stack([np.cos(angles), np.sin(angles), 0 * angles], axis=1).astype(np.float32)
    names = [f"{n:02}" for n in range(20)]
    before = index_of(vectors[::2].copy(), list(range(10)), names[::2])
    query = np.array([1, 0, 0], np.float32)
    first = before.search(query, 3)
    assert [hit.clip.id for hit in first] == ["00", "02", "04"]
    # 00, 01 and 05 … 09 are there now; 04, the last one shown, is gone.
    kept = [0, 1, 5, 6, 7, 8, 9]
    after = index_of(vectors[kept].copy(), list(range(7)), [names[n] for n in kept])
    then = after.search(query, 3, after=last(first, 0))
    assert [hit.clip.id for hit in then] == ["05", "06", "07"]


def test_an_index_knows_its_generation_and_the_vectors_of_its_clips() -> None:
    vectors = np.array([[1, 0, 0], [0, 1, 0], [0, 0, 1]], np.float32)
    index = index_of(vectors, [0, 0, 1], ["a", "b"])
    assert index.generation == 7 and index.windows == 3
    half = np.sqrt(0.5)
    assert index.vector(index.clips[0]) == pytest.approx([half, half, 0])
    assert index.means() == pytest.approx(np.array([[half, half, 0], [0, 0, 1]]))
    assert index.means(slice(1, None)) == pytest.approx(np.array([[0, 0, 1]]))


def crowd(seed: int, count: int, dim: int = 24) -> NDArray[np.float32]:
    vectors = np.random.default_rng(seed).normal(size=(count, dim)).astype(np.float32)
    unit: NDArray[np.float32] = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    return unit


@given(st.integers(0, 5), st.lists(st.floats(-1, 1), min_size=2))
def test_relevance_is_between_0_and_1_and_never_falls_with_the_cosine(
    seed: int, cosines: list[float]
) -> None:
    learned = of_sentences(crowd(seed, 40), crowd(seed + 100, 30))
    assert learned is not None and learned.slope > 0
    values = [learned.relevance(cosine) for cosine in sorted(cosines)]
    assert values == sorted(values) and values[0] >= 0 and values[-1] <= 1


def test_unrelated_pairs_are_below_a_tenth_and_the_closest_at_nine_tenths() -> None:
    sounds, sentences = crowd(1, 400), crowd(2, 100)
    learned = of_sentences(sounds, sentences)
    assert learned is not None
    cosines = sounds @ sentences.T
    assert learned.relevance(float(cosines.max(axis=1).mean())) == pytest.approx(0.9)
    unrelated = np.array([learned.relevance(float(c)) for c in cosines[:, 0]])
    assert (unrelated > 0.1).mean() < 0.06


def test_between_sounds_windows_of_one_clip_are_no_pairs() -> None:
    twins = np.repeat(crowd(3, 50), 2, axis=0)
    learned = of_sounds(twins, np.repeat(np.arange(50), 2))
    apart = of_sounds(crowd(3, 50), np.arange(50))
    assert learned is not None and apart is not None
    assert learned.slope == pytest.approx(apart.slope, rel=0.05)
    assert of_sounds(twins, np.zeros(100, np.int64)) is None


def test_equal_vectors_and_empty_samples_give_no_nonsense() -> None:
    same = np.ones((4, 1), np.float32)
    learned = of_sentences(same, same)
    assert learned is not None and learned.relevance(1.0) == pytest.approx(0.1, abs=0.01)
    assert of_sentences(same[:0], same) is None
    assert list(drawn(3)) == [0, 1, 2] and len(set(drawn(5000, 100))) == 100


def map_of(vectors: NDArray[np.float32]) -> Points:
    return positions(len(vectors), lambda some: vectors[some])


@pytest.mark.parametrize("count", [0, 1, 2, 3, 10, 300])
def test_every_sound_has_a_place_on_the_map(count: int) -> None:
    laid = map_of(crowd(4, count))
    assert laid.shape == (count, 2)
    assert np.isfinite(laid).all() and np.abs(laid).max(initial=0) <= 1
    assert np.array_equal(laid, map_of(crowd(4, count)))


def test_a_map_of_many_sounds_looks_at_some_of_them_at_a_time() -> None:
    vectors = crowd(7, 40_000, 8)
    seen: list[int] = []

    def look(some: slice) -> NDArray[np.float32]:
        seen.append(len(vectors[some]))
        return vectors[some]

    assert np.unique(positions(len(vectors), look), axis=0).shape == (40_000, 2)
    assert max(seen) < 20_000 and sum(seen) < 60_000


def test_sounds_that_are_alike_lie_together_on_the_map() -> None:
    centres = crowd(5, 6)
    groups = np.repeat(np.arange(6), 60)
    vectors = centres[groups] + 0.1 * np.random.default_rng(0).normal(size=(360, 24))
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    laid = map_of(vectors.astype(np.float32))
    distances = np.linalg.norm(laid[:, None] - laid[None], axis=2)
    np.fill_diagonal(distances, np.inf)
    neighbours = np.argsort(distances, axis=1)[:, :5]
    assert (groups[neighbours] == groups[:, None]).mean() > 0.9


def test_equal_sounds_do_not_break_the_map() -> None:
    assert np.isfinite(map_of(np.tile(crowd(6, 1), (50, 1)))).all()
