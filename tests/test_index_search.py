"""FAISS finds what brute force finds, and refuses questions that have no answer."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from m2d_clap.index import Clip, Index
from m2d_clap.index.base import Base
from m2d_clap.index.errors import LibraryIndexError
from m2d_clap.index.exact import best_clips
from m2d_clap.index.origin import Origin

DIM = 3


def index_of(vectors: NDArray[np.float32], clips: list[int]) -> Index:
    """Rows in the order given, row i at second i of the clip it belongs to."""
    names = [Clip(str(c), 1.0, (f"{c}.wav",)) for c in range(max(clips) + 1)]
    times = [(float(row), row + 1.0) for row in range(len(clips))]
    return Index(
        Path("x"), Origin("f", Path("c"), Path("l")), Base.of(names, clips, times, vectors)
    )


@st.composite
def libraries(draw: st.DrawFn) -> tuple[NDArray[np.float32], list[int]]:
    """Unit vectors of whole numbers, so that many scores are equal, and whose clip each is."""
    windows = draw(st.lists(st.integers(1, 6), min_size=1, max_size=12))
    clips = [clip for clip, count in enumerate(windows) for _ in range(count)]
    number = st.integers(-2, 2)
    rows = draw(st.lists(st.tuples(*[number] * DIM), min_size=len(clips), max_size=len(clips)))
    vectors = np.array(rows, np.float32)
    return vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12), clips


@given(libraries(), st.tuples(*[st.integers(-3, 3)] * DIM), st.integers(1, 15))
def test_hits_are_those_of_brute_force_up_to_the_order_of_equal_scores(
    library: tuple[NDArray[np.float32], list[int]], question: tuple[int, ...], k: int
) -> None:
    vectors, clips = library
    query = np.array(question, np.float32)
    hits = index_of(vectors, clips).search(query, k)
    everyone = best_clips(vectors, np.array(clips), query, len(clips))
    scores = [score for _, score, _ in everyone[:k]]
    assert np.allclose([hit.score for hit in hits], scores, atol=1e-6)
    best = {str(clip): score for clip, score, _ in everyone}
    assert len({hit.clip.id for hit in hits}) == len(hits) == min(k, max(clips) + 1)
    length = max(float(np.linalg.norm(query)), 1e-12)
    for hit in hits:
        assert hit.score == pytest.approx(best[hit.clip.id], abs=1e-6)
        row = int(hit.start)
        assert clips[row] == int(hit.clip.id)
        assert float(vectors[row] @ query) / length == pytest.approx(hit.score, abs=1e-6)


@pytest.mark.parametrize("odd", [np.nan, np.inf, -np.inf])
def test_a_query_that_is_not_finite_is_refused(odd: float) -> None:
    index = index_of(np.eye(DIM, dtype=np.float32), [0, 0, 1])
    with pytest.raises(LibraryIndexError, match="not finite"):
        index.search(np.array([1, odd, 0], np.float32), 2)


def test_a_query_of_any_finite_size_is_answered() -> None:
    index = index_of(np.eye(DIM, dtype=np.float32), [0, 0, 1])
    for size in (0.0, 1e-30, 1e30):
        assert len(index.search(np.array([0, 0, size], np.float32), 5)) == 2
    assert index.search(np.array([0, 0, 1e30], np.float32), 1)[0].score == pytest.approx(1)


def test_no_hit_at_all_and_a_query_of_another_length_are_refused() -> None:
    index = index_of(np.eye(DIM, dtype=np.float32), [0, 0, 1])
    with pytest.raises(LibraryIndexError, match="at least one"):
        index.search(np.ones(DIM, np.float32), 0)
    with pytest.raises(LibraryIndexError, match="4 numbers"):
        index.search(np.ones(4, np.float32), 1)


def test_vectors_that_are_not_numbers_are_never_hit_and_never_waited_for() -> None:
    vectors = np.eye(DIM, dtype=np.float32)
    vectors[1] = np.nan
    hits = index_of(vectors, [0, 1, 2]).search(np.ones(DIM, np.float32), 3)
    assert {hit.clip.id for hit in hits} <= {"0", "2"}
