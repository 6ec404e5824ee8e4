"""Scores of captions: equal to pycocoevalcap's, and what they must be whatever the captions."""

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from m2d_clap.training.evaluation.sentences import (
    bleu,
    caption_scores,
    cider_d,
    rouge_l,
    words,
)

GOLDEN: dict[str, Any] = json.loads(
    (Path(__file__).parent / "golden" / "captions.json").read_text()
)
SAID = [words(clip["said"]) for clip in GOLDEN["clips"]]
TRUE = [[words(text) for text in clip["references"]] for clip in GOLDEN["clips"]]
SENTENCE = st.lists(
    st.sampled_from(["a", "dog", "barks", "in", "the", "rain", "twice"]), min_size=1
).map(tuple)
CLIPS = st.lists(
    st.tuples(SENTENCE, st.lists(SENTENCE, min_size=1, max_size=3)), min_size=1, max_size=6
)


def test_cider_d_equals_pycocoevalcaps_clip_for_clip() -> None:
    assert cider_d(SAID, TRUE) == pytest.approx(GOLDEN["cider_d"], abs=1e-9)


def test_bleu_equals_pycocoevalcaps() -> None:
    assert bleu(SAID, TRUE) == pytest.approx(GOLDEN["bleu"], abs=1e-9)


def test_rouge_l_equals_pycocoevalcaps_clip_for_clip() -> None:
    found = [rouge_l(one, true) for one, true in zip(SAID, TRUE, strict=True)]
    assert found == pytest.approx(GOLDEN["rouge_l"], abs=1e-9)


@settings(deadline=None, max_examples=50)
@given(CLIPS)
def test_scores_keep_their_ranges_and_the_true_caption_is_best(clips: Any) -> None:
    said, true = [c for c, _ in clips], [t for _, t in clips]
    given_ = cider_d(said, true)
    best = cider_d([t[0] for t in true], [t[:1] for t in true])
    only = cider_d(said, [t[:1] for t in true])
    assert all(0 <= value <= 10 + 1e-9 for value in given_)
    assert all(b >= o - 1e-9 for b, o in zip(best, only, strict=True))
    assert all(0 <= value <= 1 + 1e-9 for value in bleu(said, true))
    assert all(0 <= rouge_l(s, t) <= 1 + 1e-9 for s, t in clips)
    assert all(rouge_l(t[0], t) == pytest.approx(1) for t in true)


@settings(deadline=None, max_examples=50)
@given(CLIPS, st.randoms())
def test_the_order_of_clips_does_not_matter(clips: Any, luck: Any) -> None:
    order = list(range(len(clips)))
    luck.shuffle(order)
    found = cider_d([c for c, _ in clips], [t for _, t in clips])
    again = cider_d([clips[i][0] for i in order], [clips[i][1] for i in order])
    assert again == pytest.approx([found[i] for i in order])


def test_captions_are_compared_by_their_words_alone() -> None:
    assert words("A Chestnut-backed chickadee's song, twice.") == (
        *("a", "chestnut", "backed", "chickadees", "song", "twice"),
    )
    other = ["a bell rings far away"]
    same = caption_scores(["A dog barks loudly!", other[0]], [["a dog barks loudly"], other])
    assert same.n == 2 and same.bleu_4 == pytest.approx(1) and same.rouge_l == pytest.approx(1)
    assert same.cider_d == pytest.approx(10)
