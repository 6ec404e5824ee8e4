"""Figures equal those of scikit-learn, or of a twin written out the long way."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from sklearn.metrics import accuracy_score, average_precision_score

from m2d_clap.training import metrics
from m2d_clap.training.evaluation.confidence import Interval
from m2d_clap.training.evaluation.retrieval import rank_captions
from m2d_clap.training.metrics import (
    accuracy,
    average_precision,
    mean_average_precision,
    retrieval,
)

seeds = st.integers(0, 10_000)


@settings(max_examples=60, deadline=None)
@given(seeds, st.integers(1, 30), st.integers(1, 6), st.sampled_from([2, 5, 1000]))
def test_average_precision_equals_scikit_learns_also_where_scores_are_equal(
    seed: int, items: int, classes: int, levels: int
) -> None:
    rng = np.random.default_rng(seed)
    scores = (rng.integers(0, levels, (items, classes)) / levels).astype(np.float32)
    truth = rng.uniform(size=(items, classes)) < 0.4
    found = average_precision(scores, truth)
    for mine, column, right in zip(found, scores.T, truth.T, strict=True):
        if right.any():
            assert mine == pytest.approx(average_precision_score(right, column), abs=1e-9)
        else:
            assert np.isnan(mine)
    known = truth.any(axis=0)
    if known.any():
        expected = average_precision_score(truth[:, known], scores[:, known], average="macro")
        assert mean_average_precision(scores, truth) == pytest.approx(expected, abs=1e-9)


def test_queries_ranked_in_blocks_have_the_same_figures_to_the_last_bit(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    rng = np.random.default_rng(0)
    scores = rng.normal(size=(31, 40)).astype(np.float32).round(1)
    truth = rng.uniform(size=scores.shape) < 0.2
    truth[0], truth[:, 0] = True, True
    both = [(scores, truth), (scores.T, truth.T)]  # as `evaluate` asks
    whole = [retrieval(*each) for each in both]
    monkeypatch.setattr(metrics, "AT_ONCE", 160)  # four queries, or five
    assert [retrieval(*each) for each in both] == whole


@settings(max_examples=30, deadline=None)
@given(seeds)
def test_accuracy_equals_scikit_learns(seed: int) -> None:
    rng = np.random.default_rng(seed)
    scores, classes = rng.normal(size=(20, 4)).astype(np.float32), rng.integers(0, 4, 20)
    assert accuracy(scores, classes) == accuracy_score(classes, scores.argmax(axis=1))


@settings(max_examples=60, deadline=None)
@given(seeds, st.lists(st.integers(1, 5), min_size=1, max_size=12))
def test_captioned_retrieval_equals_a_brute_force_twin(seed: int, captions: list[int]) -> None:
    rng = np.random.default_rng(seed)
    clip = np.repeat(np.arange(len(captions)), captions)
    scores = rng.normal(size=(len(captions), len(clip))).astype(np.float32)
    found = rank_captions(scores, clip)
    texts = []
    for caption, own in enumerate(clip):
        ranked = sorted(range(len(captions)), key=lambda i: -scores[i, caption])
        texts.append(ranked.index(own) + 1)
    best, precision = [], []
    for number, count in enumerate(captions):
        ranked = sorted(range(len(clip)), key=lambda c: -scores[number, c])
        places = [place for place, c in enumerate(ranked, 1) if clip[c] == number]
        best.append(places[0])
        right = [i / place for i, place in enumerate(places, 1) if place <= 10]
        precision.append(sum(right) / count)
    for measured, ranks in ((found.text_to_audio, texts), (found.audio_to_text, best)):
        assert measured.n == len(ranks)
        assert measured.median_rank == np.median(ranks)
        for k, share in ((1, measured.recall_1), (5, measured.recall_5), (10, measured.recall_10)):
            assert share == pytest.approx(np.mean([rank <= k for rank in ranks]))
    expected = np.mean([1 / rank if rank <= 10 else 0 for rank in texts])
    assert found.text_to_audio.map_10 == pytest.approx(expected)
    assert found.audio_to_text.map_10 == pytest.approx(np.mean(precision))


def test_a_perfect_model_finds_every_caption_first() -> None:
    clip = np.repeat(np.arange(4), 5)
    found = rank_captions((clip == np.arange(4)[:, None]).astype(np.float32), clip)
    assert found.text_to_audio.map_10 == found.audio_to_text.map_10 == 1
    assert (found.text_to_audio.n, found.audio_to_text.n) == (20, 4)


@settings(max_examples=30, deadline=None)
@given(st.lists(st.floats(0, 1), min_size=2, max_size=9).filter(lambda v: np.std(v) > 1e-6))
def test_the_interval_is_scipys_for_students_t(runs: list[float]) -> None:
    found = Interval.of(runs)
    low, high = stats.t.interval(0.95, len(runs) - 1, np.mean(runs), stats.sem(runs))
    assert found.mean - found.half_width == pytest.approx(low, abs=1e-9)
    assert found.mean + found.half_width == pytest.approx(high, abs=1e-9)


def test_three_runs_two_hundredths_apart_are_known_by_hand() -> None:
    # t for 2 degrees of freedom is 4.3027; the deviation is 0.02, its error 0.02 / √3.
    assert Interval.of([0.88, 0.90, 0.92]).half_width == pytest.approx(0.04968, abs=1e-5)
    assert Interval.of([0.9, 0.9, 0.9]).half_width == pytest.approx(0, abs=1e-12)
