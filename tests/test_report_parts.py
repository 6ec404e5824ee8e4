"""What the parts of a report work out equals what can be counted by hand."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import confusion_matrix

from m2d_clap.training.report.charts import nice_ticks
from m2d_clap.training.report.curves import Curve, Point
from m2d_clap.training.report.embedding_map import lay_out
from m2d_clap.training.report.examples import groups
from m2d_clap.training.report.per_class import per_class


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10_000), st.integers(1, 30), st.integers(2, 40))
def test_examples_are_grouped_by_the_place_of_the_first_right_item(
    seed: int, queries: int, items: int
) -> None:
    rng = np.random.default_rng(seed)
    scores = rng.integers(0, 9, size=(queries, items)).astype(np.float32)
    truth = rng.uniform(size=(queries, items)) < 0.2
    truth[:, 0] = True
    made = groups(scores, truth, [str(q % 5) for q in range(queries)])
    assert sum(group.n for group in made) == queries
    for group, (low, high) in zip(made, ((1, 1), (2, 10), (11, items)), strict=True):
        assert len(group.examples) == min(3, group.n)
        assert len({example.query for example in group.examples}) == len(group.examples)
        for example in group.examples:
            ranked = sorted(range(items), key=lambda i, q=example.query: -scores[q, i])
            first = next(p for p, i in enumerate(ranked, 1) if truth[example.query, i])
            assert low <= first <= max(high, low) and example.rank == first
            shown = [*example.hits, *([example.beyond] if example.beyond else [])]
            assert all(hit.item == ranked[hit.place - 1] for hit in shown)
            assert all(hit.right == truth[example.query, hit.item] for hit in shown)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10_000), st.integers(2, 20))
def test_classes_and_confusions_equal_scikit_learns(seed: int, classes: int) -> None:
    rng = np.random.default_rng(seed)
    own = rng.integers(0, classes, 50)
    scores = rng.normal(size=(50, classes)).astype(np.float32)
    scores[np.arange(50), own] += 1
    names = [f"c{number:02d}" for number in range(classes)]
    found = per_class(names, scores, np.arange(classes) == own[:, None], "accuracy")
    matrix = confusion_matrix(own, scores.argmax(axis=1), labels=np.arange(classes))
    for score in found.scores:
        number = names.index(score.name)
        assert score.n == matrix[number].sum()
        assert score.value == pytest.approx(matrix[number, number] / score.n)
    chosen = [names.index(name) for name in found.confusion.names]
    counts = np.array(found.confusion.counts).reshape(len(chosen), len(chosen) + 1)
    assert np.array_equal(counts[:, :-1], matrix[np.ix_(chosen, chosen)])
    assert np.array_equal(counts.sum(axis=1), matrix[chosen].sum(axis=1))
    worst = max((n for (o, t), n in np.ndenumerate(matrix) if o != t), default=0)
    assert (found.confusion.pairs[0].n if found.confusion.pairs else 0) == worst


def test_the_map_keeps_apart_what_is_apart_and_is_the_same_again() -> None:
    rng = np.random.default_rng(0)
    centres = rng.normal(size=(3, 16))
    labels = [str(n % 3) for n in range(60)]
    vectors = np.stack([centres[n % 3] for n in range(60)]) + rng.normal(0, 0.1, (60, 16))
    found = lay_out(vectors.astype(np.float32), labels)
    assert found.together == 1
    for region in found.regions:
        own = found.points[list(region.members)]
        others = np.delete(found.points, list(region.members), axis=0)
        near = np.linalg.norm(own - region.centre, axis=1).max()
        assert near < np.linalg.norm(others - region.centre, axis=1).min()
    assert np.array_equal(found.points, lay_out(vectors.astype(np.float32), labels).points)


@pytest.mark.parametrize("n", [1, 2, 7, 9])
def test_few_and_equal_sounds_have_a_map_too(n: int) -> None:
    for vectors in (np.ones((n, 4)), np.zeros((n, 4)), np.eye(n, 4)):
        found = lay_out(vectors.astype(np.float32), ["a", ""] * n)
        assert found.points.shape == (n, 2)
        assert np.isfinite(found.points).all()


def test_long_curves_are_thinned_to_means_between_their_ends() -> None:
    points = tuple(Point(e / 10, float(e % 7), float(e % 7), float(e % 7)) for e in range(1000))
    thin = Curve("loss", points).thinned(100)
    assert len(thin.points) == 100
    assert thin.points[0] == Point(pytest.approx(0.45), pytest.approx(2.4), 0, 6)


@given(st.floats(-1e6, 1e6), st.floats(0, 1e6))
def test_ticks_are_few_and_enclose_what_is_drawn(low: float, span: float) -> None:
    ticks = nice_ticks(low, low + span)
    slack = 2e-6 * max(abs(low), span) + 1e-30
    assert ticks[0] <= low + slack and ticks[-1] >= low + span - slack
    assert 2 <= len(ticks) <= 7 and ticks == sorted(set(ticks))
