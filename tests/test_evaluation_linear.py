"""Linear evaluation reads out what features hold, and never learns from what it is tested on."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from m2d_clap.model.errors import ClapError
from m2d_clap.training.evaluation.datasets import DATASETS, Dataset, Protocol
from m2d_clap.training.evaluation.folds import Part, parts
from m2d_clap.training.evaluation.head import LINEAR, HeadRecipe, Labels, Patience, fit_head
from m2d_clap.training.evaluation.linear import LinearScore, Spread, score_heads
from m2d_clap.training.evaluation.truth import Labelled, trained_classes
from m2d_clap.training.manifest import Row

FAST = HeadRecipe(rate=0.01, epochs=60)
SPLITS = Dataset("own", "own", "single-label", None, (Protocol.LINEAR,))


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Such small steps only wait for one another's threads on a busy machine."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def rows(counts: dict[str, dict[str, int]]) -> list[Row]:
    """{split: {label: clips}} → rows."""
    return [
        Row(Path(f"{split}-{label}-{i}.wav"), (label,), label, split, {})
        for split, labels in counts.items()
        for label, clips in labels.items()
        for i in range(clips)
    ]


def labelled(counts: dict[str, dict[str, int]], dataset: Dataset = SPLITS) -> Labelled:
    return Labelled.of(rows(counts), dataset)


def scored(features: torch.Tensor, targets: torch.Tensor, one_label: bool) -> LinearScore:
    n = len(features)
    train, valid, test = np.split(np.arange(n), [n // 2, n * 3 // 4])
    part = Part("test", train, valid, test)
    cpu = torch.device("cpu")
    return score_heads(features, features, targets, [part], one_label, cpu, FAST)


@pytest.mark.parametrize("one_label", [True, False])
def test_a_separable_toy_is_learned(one_label: bool) -> None:
    generator = torch.Generator().manual_seed(0)
    targets = torch.rand(240, 4, generator=generator) < 0.3
    if one_label:
        targets = torch.eye(4, dtype=torch.bool)[torch.randint(4, (240,), generator=generator)]
    noise = torch.randn(240, 8, generator=generator)
    features = 50 + 7 * (targets.float() @ torch.randn(4, 8, generator=generator)) + 0.3 * noise
    found = scored(features, targets, one_label)
    assert found.mean > 0.97
    assert (found.n, found.train, found.classes, found.seeds) == (60, 120, 4, (42, 43, 44))
    assert found.metric == ("accuracy" if one_label else "mean_ap")
    assert found.mean == pytest.approx(np.mean(found.scores))


def test_random_labels_stay_at_chance() -> None:
    generator = torch.Generator().manual_seed(1)
    targets = torch.eye(4, dtype=torch.bool)[torch.randint(4, (1200,), generator=generator)]
    found = scored(torch.randn(1200, 8, generator=generator), targets, True)
    assert abs(found.mean - 0.25) < 0.08


def test_the_same_seed_gives_the_same_head_and_another_seed_another() -> None:
    generator = torch.Generator().manual_seed(0)
    data = Labels(
        torch.randn(30, 5, generator=generator), torch.eye(3, dtype=torch.bool).repeat(10, 1)
    )
    first, again, other = (fit_head(data, data, True, seed, FAST) for seed in (42, 42, 43))
    assert torch.equal(first.weight, again.weight)
    assert not torch.equal(first.weight, other.weight)


def scripted(scores: list[float]) -> tuple[list[torch.Tensor], int, torch.Tensor]:
    """Trains with validation scores given; the logits seen at each, epochs run, weights kept."""
    data = Labels(torch.eye(3), torch.eye(3, dtype=torch.bool))
    seen: list[torch.Tensor] = []

    def scorer(logits: torch.Tensor, targets: torch.Tensor, one_label: bool) -> float:
        seen.append(logits.clone())
        return scores[min(len(seen), len(scores)) - 1]

    head = fit_head(data, data, True, 42, HeadRecipe(epochs=50, patience=3), scorer)
    return seen, head.epochs, head.logits(data.features)


def test_training_stops_when_patience_is_over_and_the_best_weights_come_back() -> None:
    seen, epochs, kept = scripted([0.1, 0.8, 0.5, 0.6, 0.7, 0.9])
    assert epochs == 5
    assert torch.equal(kept, seen[1])


def test_a_score_equal_to_the_best_counts_as_better() -> None:
    seen, epochs, kept = scripted([0.8, 0.5, 0.8, 0.5, 0.5, 0.5, 0.5])
    assert epochs == 6
    assert torch.equal(kept, seen[2])
    assert scripted([0.5])[1] == 50  # a score that never moves never stops it


def test_the_recipe_is_the_published_one() -> None:
    assert HeadRecipe(3e-5, (0.9, 0.999), 1e-8, 1e-8, 200, 200, 20) == LINEAR
    patience = Patience(20)
    assert patience.better(0.5)
    assert not any(patience.better(0.4) for _ in range(19)) and not patience.over
    assert not patience.better(0.4) and patience.over


def test_features_are_standardised_and_a_constant_one_stays_finite() -> None:
    features = torch.randn(100, 3) * torch.tensor([1.0, 50.0, 0.0]) + torch.tensor([0, 9, 1e4])
    plain = Spread.of(features).standardise(features)
    assert torch.allclose(plain.mean(dim=0), torch.zeros(3), atol=1e-3)
    assert torch.allclose(plain[:, :2].std(dim=0, correction=0), torch.ones(2), atol=1e-3)
    assert plain[:, 2].abs().max() < 0.01


@settings(max_examples=25, deadline=None)
@given(st.sampled_from(["esc-50", "us8k"]), st.integers(3, 8), st.integers(0, 99))
def test_folds_never_train_on_the_fold_they_test(name: str, clips: int, seed: int) -> None:
    dataset = DATASETS[name]
    folds = {f"fold{i + 1}": {"a": clips, "b": clips} for i in range(dataset.folds)}
    data = labelled(folds, dataset)
    rounds = parts(data, dataset, "test", seed)
    assert [part.name for part in rounds] == list(folds)
    for part in rounds:
        assert {data.rows[i].split for i in part.test} == {part.name}
        learned = set(part.train) | set(part.valid)
        assert learned.isdisjoint(part.test) and set(part.train).isdisjoint(part.valid)
        assert len(learned) + len(part.test) == len(data.rows)
        assert len(part.valid) == max(1, round(0.1 * len(learned)))
        assert data.targets[part.valid].any(axis=0).all()
    assert sorted(i for part in rounds for i in part.test) == list(range(len(data.rows)))


def test_rows_of_the_split_valid_validate_where_there_are_any() -> None:
    data = labelled({"train": {"a": 9, "b": 9}, "valid": {"a": 2}, "test": {"a": 1, "b": 1}})
    (part,) = parts(data, SPLITS, "test")
    assert [len(numbers) for numbers in (part.train, part.valid, part.test)] == [18, 2, 2]
    (part,) = parts(data, SPLITS, "valid")
    assert (len(part.train), len(part.valid), len(part.test)) == (16, 2, 2)


@pytest.mark.parametrize(
    ("counts", "message"),
    [
        ({"train": {"a": 9}, "test": {"a": 1, "whale": 1}}, "no clip of whale.*--min-train 1"),
        ({"train": {"a": 9}}, "no labelled row is in the split 'test'"),
        ({"test": {"a": 9}}, "no labelled row is in the split 'train'"),
        ({"train": {"a": 9, "b": 9, "c": 2}, "test": {"a": 1}}, "tenth of 20.*all 3 classes"),
    ],
)
def test_what_cannot_be_learned_is_refused(counts: dict[str, dict[str, int]], message: str) -> None:
    with pytest.raises(ClapError, match=message):
        parts(labelled(counts), SPLITS, "test")


def test_a_manifest_with_other_folds_is_refused() -> None:
    with pytest.raises(ClapError, match=r"5 folds.*names fold1, fold2"):
        data = labelled({"fold1": {"a": 3}, "fold2": {"a": 3}}, DATASETS["esc-50"])
        parts(data, DATASETS["esc-50"], "test")


def test_a_manifest_without_labels_is_refused_and_two_labels_where_one_is_meant() -> None:
    with pytest.raises(ClapError, match="no row that could be scored has a label"):
        Labelled.of([Row(Path("a"), ("rain",), "", "test", {})], SPLITS)
    two = Row(Path("a.wav"), ("rain",), "", "test", {}, labels=("rain", "wind"))
    with pytest.raises(ClapError, match=r"one label a clip, a\.wav has 2: rain, wind"):
        Labelled.of([two], SPLITS)


def test_rare_classes_are_left_out() -> None:
    data = rows({"train": {"a": 9, "b": 2}, "valid": {"b": 9}, "test": {"a": 1, "b": 1, "c": 1}})
    assert trained_classes(data, SPLITS, 2) == {"a", "b"}
    kept = Labelled.of(data, SPLITS, trained_classes(data, SPLITS, 3))
    assert kept.classes == ("a",)
    assert len(kept.rows) == 10
    folds = rows({"fold1": {"a": 5, "b": 3}, "fold2": {"a": 1, "b": 3}})
    assert trained_classes(folds, DATASETS["esc-50"], 2) == {"b"}
