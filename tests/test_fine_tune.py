"""Fine-tuning starts from a checkpoint, never learns from what it is tested on, and can be stopped."""

import dataclasses
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from scipy.io import wavfile
from typer.testing import CliRunner

from m2d_clap.model import Checkpoint, ClapConfig
from m2d_clap.model.config import EncoderConfig, ProjectorConfig, TextConfig
from m2d_clap.model.errors import ClapError
from m2d_clap.service.cli import build
from m2d_clap.training.classes import balanced_weights
from m2d_clap.training.evaluation import fine_tune
from m2d_clap.training.evaluation.command import random_clap
from m2d_clap.training.evaluation.datasets import DATASETS, Dataset, Protocol
from m2d_clap.training.evaluation.fine_tune import FineTuneScore, FineTuning
from m2d_clap.training.evaluation.protocols import Scores
from m2d_clap.training.evaluation.recipes import (
    AUDIOSET,
    ESC_50,
    MANY_LABELS,
    ONE_LABEL,
    SPCV2,
    fitted,
    recipe_of,
)
from m2d_clap.training.evaluation.report import lines, published
from m2d_clap.training.evaluation.truth import Labelled
from m2d_clap.training.loop import Trainer
from m2d_clap.training.manifest import Row, write_manifest
from m2d_clap.training.shards import load_log_mels

RATE = 16000
CONFIG = ClapConfig(
    encoder=EncoderConfig(frames=64, width=16, depth=1, heads=2),
    projector=ProjectorConfig("mlp", 384, 16),
    text=TextConfig("minilm", max_tokens=64),
)
OWN = Dataset("own", "own", "single-label", 0.4, (Protocol.LINEAR,))
FOLDED = dataclasses.replace(OWN, name="folded", folds=2)
MANY = dataclasses.replace(OWN, name="many", task="multi-label")
QUICK = dataclasses.replace(ONE_LABEL, epochs=30, warm_up=2, batch=8)


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    """Such small steps only wait for one another's threads on a busy machine."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def parent() -> Checkpoint:
    return Checkpoint.of(random_clap(CONFIG, 0))


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Twenty-four short sounds, even ones low and odd ones high, each of its own length."""
    folder, rng = tmp_path_factory.mktemp("sounds"), np.random.default_rng(0)
    for number in range(24):
        seconds = np.arange(4000 + 200 * number) / RATE
        tone = np.sin(2 * np.pi * (300, 3000)[number % 2] * seconds) + rng.normal(0, 0.1)
        wavfile.write(folder / f"{number:02d}.wav", RATE, (9000 * tone).astype(np.int16))
    return sorted(folder.iterdir())


def rows_of(files: list[Path], *splits: str) -> list[Row]:
    """Equal parts of the files in the splits, each with both labels."""
    size = len(files) // len(splits)
    return [
        Row(file, (name,), name, splits[min(number // size, len(splits) - 1)], {})
        for number, file in enumerate(files)
        for name in [("low", "high")[number % 2]]
    ]


def tuned(
    parent: Checkpoint,
    rows: list[Row],
    folder: Path,
    dataset: Dataset = OWN,
    stage: Any = QUICK,
    seeds: tuple[int, ...] = (42,),
) -> FineTuneScore:
    tuning = FineTuning(stage, folder / "runs", folder / "cache", seeds)
    return tuning.score(parent, Labelled.of(rows, dataset), dataset)


def scores_in(folder: Path) -> dict[str, Any]:
    found = (folder / "runs").rglob("score.json")
    return {file.parent.name: json.loads(file.read_text()) for file in found}


def test_low_and_high_tones_are_told_apart_after_fine_tuning(
    parent: Checkpoint, files: list[Path], tmp_path: Path
) -> None:
    found = tuned(parent, rows_of(files, "train", "train", "test"), tmp_path)
    assert found.mean == 1.0
    assert (found.n, found.train, found.classes, found.folds) == (8, 16, 2, 0)
    assert (found.metric, found.epochs, found.seeds) == ("accuracy", 30, (42,))
    assert found.half_width is None
    assert scores_in(tmp_path) == {"test-seed-42": {"score": 1.0, "n": 8, "checkpoint": "last"}}
    assert not list(tmp_path.rglob("state.pt"))  # what a finished run does not need any more
    (last,) = tmp_path.rglob("last")
    made = Checkpoint.load(last)
    assert made.config.labels == ("high", "low")
    assert not made.config.text.included and made.config.projector.kind == "none"


def test_nothing_is_learned_from_random_labels(
    parent: Checkpoint, files: list[Path], tmp_path: Path
) -> None:
    rows = [
        dataclasses.replace(row, label=name, labels=(name,))
        for number, row in enumerate(rows_of(files, "train", "test"))
        for name in [("low", "high")[number // 2 % 2]]
    ]
    assert abs(tuned(parent, rows, tmp_path).mean - 0.5) <= 0.25


def test_the_encoder_starts_as_the_checkpoints(
    parent: Checkpoint, files: list[Path], tmp_path: Path
) -> None:
    def backbone(rate: float) -> list[bool]:
        stage = dataclasses.replace(QUICK, epochs=2, base_rate=rate)
        tuned(parent, rows_of(files, "train", "test"), tmp_path / str(rate), stage=stage)
        (last,) = (tmp_path / str(rate)).rglob("last")
        weights = Checkpoint.load(last).weights
        names = [n for n in weights if n.startswith("audio.backbone.") and "pos_embed" not in n]
        assert len(names) > 10
        return [torch.equal(weights[n], parent.weights[n].half()) for n in names]

    assert all(backbone(1e-12))
    assert not all(backbone(0.5))


def test_every_fold_is_tested_by_a_model_that_never_met_it(
    parent: Checkpoint, files: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    learned: list[set[str]] = []
    bank = fine_tune.caption_bank

    def noted(rows: list[Row], *more: Any, **named: Any) -> Any:
        learned.append({row.split for row in rows})
        return bank(rows, *more, **named)

    monkeypatch.setattr(fine_tune, "caption_bank", noted)
    stage = dataclasses.replace(QUICK, epochs=2)
    found = tuned(parent, rows_of(files, "fold1", "fold2"), tmp_path, FOLDED, stage, (42, 43))
    assert learned == [{"fold2"}, {"fold1"}] * 2
    assert (found.n, found.folds, len(found.scores)) == (24, 2, 2)
    assert found.half_width is not None
    kept = scores_in(tmp_path)
    assert set(kept) == {f"fold{f}-seed-{s}" for f in (1, 2) for s in (42, 43)}
    of_42 = [kept[f"fold{f}-seed-42"]["score"] for f in (1, 2)]
    assert found.scores[0] == pytest.approx(np.mean(of_42))


def test_a_stopped_evaluation_goes_on_in_its_fold_and_finished_folds_stay(
    parent: Checkpoint, files: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows, stage = rows_of(files, "fold1", "fold2"), dataclasses.replace(QUICK, epochs=10)
    whole = tuned(parent, rows, tmp_path / "whole", FOLDED, stage)
    steps: list[int] = []
    advance = Trainer.advance

    def counted(self: Trainer) -> dict[str, float]:
        if len(steps) == 30:
            raise KeyboardInterrupt
        steps.append(self.step)
        return advance(self)

    monkeypatch.setattr(Trainer, "advance", counted)
    with pytest.raises(KeyboardInterrupt):
        tuned(parent, rows, tmp_path / "stopped", FOLDED, stage)
    assert set(scores_in(tmp_path / "stopped")) == {"fold1-seed-42"}
    monkeypatch.setattr(Trainer, "advance", advance)
    stopped = tuned(parent, rows, tmp_path / "stopped", FOLDED, stage)
    assert stopped == whole
    (one,), (other,) = (
        [f for f in (tmp_path / name).rglob("last/model.safetensors") if "fold2" in str(f)]
        for name in ("whole", "stopped")
    )
    assert one.read_bytes() == other.read_bytes()


def test_other_settings_or_sounds_never_find_an_old_score(
    parent: Checkpoint, files: list[Path], tmp_path: Path
) -> None:
    rows, stage = rows_of(files, "train", "test"), dataclasses.replace(QUICK, epochs=1)
    for _ in range(2):
        tuned(parent, rows, tmp_path, stage=stage)
    assert len(list((tmp_path / "runs").iterdir())) == 1
    tuned(parent, rows, tmp_path, stage=dataclasses.replace(stage, batch=4))
    tuned(parent, rows[:-2], tmp_path, stage=stage)
    tuned(Checkpoint.of(random_clap(CONFIG, 1)), rows, tmp_path, stage=stage)
    assert len(list((tmp_path / "runs").iterdir())) == 4


def test_whole_clips_are_as_long_as_the_longest_and_prepared_shards_are_taken(
    parent: Checkpoint, files: list[Path], tmp_path: Path
) -> None:
    rows, cache = rows_of(files, "train", "test"), tmp_path / "cache"
    parts = [[row for row in rows if row.split == split] for split in ("train", "test")]
    for part in parts:  # as `prepare` does
        load_log_mels(part, parent.config.front_end, cache)
    mixed = [row for both in zip(*parts, strict=True) for row in both]
    whole = dataclasses.replace(OWN, name="whole", seconds=None)
    tuned(parent, mixed, tmp_path, whole, dataclasses.replace(QUICK, epochs=1))
    assert len(list(cache.glob("log-mels-*.safetensors"))) == 2
    (settings,) = (tmp_path / "runs").rglob("settings.json")
    assert json.loads(settings.read_text())["stage"]["frames"] == 64  # the longest has 54


def test_several_processes_are_refused(
    parent: Checkpoint, files: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_manifest(rows_of(files, "train", "test"), tmp_path / "m.csv")
    parent.save(tmp_path / "tiny")
    monkeypatch.setenv("WORLD_SIZE", "2")
    words = ["evaluate", str(tmp_path / "tiny"), str(tmp_path / "m.csv")]
    result = CliRunner().invoke(build(), [*words, "--protocol", "fine-tune"])
    assert isinstance(result.exception, ClapError) and "without torchrun" in str(result.exception)


def test_the_split_valid_chooses_the_weights_that_are_tested(
    parent: Checkpoint, files: list[Path], tmp_path: Path
) -> None:
    rows = rows_of(files, "train", "valid", "test")
    tuned(parent, rows, tmp_path)
    assert scores_in(tmp_path)["test-seed-42"]["checkpoint"] == "best"
    curves = next(tmp_path.rglob("curves.csv")).read_text()
    assert "valid_accuracy" in curves


def test_several_labels_are_learned_and_scored_by_average_precision(
    parent: Checkpoint, files: list[Path], tmp_path: Path
) -> None:
    rows = [
        dataclasses.replace(row, label="", labels=(row.label, "tone") if n % 3 else (row.label,))
        for n, row in enumerate(rows_of(files, "train", "train", "test"))
    ]
    stage = dataclasses.replace(QUICK, labels="many", visits=16)
    found = tuned(parent, rows, tmp_path, MANY, stage)
    assert (found.metric, found.classes, found.n) == ("mean_ap", 3, 8)
    assert found.mean > 0.8


def test_rare_classes_are_drawn_as_often_as_common_ones() -> None:
    table = torch.tensor([[1.0, 0, 0]] * 8 + [[0, 1, 0]] * 2 + [[0, 0, 0]])
    weights = torch.tensor(balanced_weights(table))
    assert torch.allclose((weights[:, None] * table).sum(dim=0), torch.tensor([1.0, 1.0, 0.0]))
    assert float(weights[-1]) == 0
    doubled = balanced_weights(table, [2.0] * 11)
    assert doubled == pytest.approx([2 * float(weight) for weight in weights])


def test_audiosets_recipe_is_the_papers_stage_1_1() -> None:
    recipe = recipe_of(DATASETS["audioset"])
    assert recipe == AUDIOSET
    assert (recipe.optimiser, recipe.rate, recipe.batch) == ("lars", 2.0, 64)
    assert (recipe.epochs, recipe.warm_up, recipe.visits) == (70, 15, 200_000)
    assert (recipe.masking.kind, recipe.masking.ratio) == ("structured", 0.5)
    mixed = recipe.augmentation
    assert (mixed.mixed, mixed.mask_mels, mixed.mask_frames * 1001) == (0.5, 30, 192)


@pytest.mark.parametrize("name", DATASETS)
def test_every_data_set_has_a_recipe_that_fits_its_clips(name: str) -> None:
    dataset = DATASETS[name]
    full = ClapConfig(encoder=EncoderConfig(frames=608))
    stage = fitted(recipe_of(dataset), full, dataset)
    assert abs(stage.frames - min(1001, 1 + 100 * (dataset.seconds or 0))) < 1
    assert stage.model.encoder.frames == max(608, stage.frames)
    assert stage.labels == ("many" if dataset.task == "multi-label" else "one")
    assert stage.model.head_input == 768
    assert stage.model.validate() == stage.model


def test_recipes_go_by_name_then_by_kind_and_can_be_shortened() -> None:
    short = recipe_of(DATASETS["audioset"], epochs=4, batch=8, base_rate=0.5)
    assert (short.epochs, short.warm_up, short.batch, short.rate) == (4, 2, 8, 0.5)
    assert recipe_of(DATASETS["esc-50"]) == ESC_50 and recipe_of(DATASETS["spcv2"]) == SPCV2
    assert recipe_of(DATASETS["fsd50k"]) == MANY_LABELS and recipe_of(OWN) == ONE_LABEL


@pytest.mark.parametrize(
    ("name", "figure"), [("esc-50", 0.985), ("spcv2", 0.984), ("audioset", 0.49)]
)
def test_the_papers_fine_tuned_figures_stand_beside(name: str, figure: float) -> None:
    found = FineTuneScore("accuracy", 8, 16, 2, 0, 3, (42,), (0.5,), 0.5, None)
    (line,) = lines(Scores(fine_tune=found))
    assert list(published(line, DATASETS[name]).values()) == [figure]
    assert (line.n, line.value, line.half_width) == (8, 0.5, None)
    assert "3 epochs, seed 42" in line.note


def test_a_manifest_that_lacks_a_part_is_refused(
    parent: Checkpoint, files: list[Path], tmp_path: Path
) -> None:
    with pytest.raises(ClapError, match="no labelled row is in the split 'test'"):
        tuned(parent, rows_of(files, "train"), tmp_path)


def test_the_command_fine_tunes_and_reports(
    parent: Checkpoint, files: list[Path], tmp_path: Path
) -> None:
    manifest, checkpoint = tmp_path / "m.csv", tmp_path / "tiny"
    write_manifest(rows_of(files, "train", "train", "test"), manifest)
    parent.save(checkpoint)

    def evaluate(*more: str) -> Any:
        words = ["evaluate", str(checkpoint), str(manifest), "--cache", str(tmp_path / "cache")]
        words += ["--out", str(tmp_path / "runs"), *more]
        return CliRunner().invoke(build(), words)

    asked = ["--protocol", "fine-tune", "--epochs", "2", "--batch", "8", "--base-rate", "0.1"]
    result = evaluate(*asked, "--seeds", "2", "--dataset", "spcv2", "--json")
    assert result.exit_code == 0, result.exception
    told = json.loads(result.stdout)["protocols"]["fine_tune"]
    assert (told["n"], told["epochs"], told["seeds"]) == (8, 2, [42, 43])
    assert told["half_width"] is not None
    drawn = evaluate(*asked, "--dataset", "spcv2").stdout
    assert "fine-tune" in drawn and "98.4" in drawn
    scratch = evaluate(*asked, "--random-encoder", "1", "--json")
    assert json.loads(scratch.stdout)["random_encoder"] == 1
    for more in (["--epochs", "2"], ["--seeds", "2"], ["--batch", "8"], ["--base-rate", "1"]):
        assert evaluate(*more).exit_code == 2
