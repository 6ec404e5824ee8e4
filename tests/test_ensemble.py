"""A stage that learns what several models hear together."""

import dataclasses

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from m2d_clap.model import Checkpoint, Clap
from m2d_clap.model.config import ClapConfig, EncoderConfig, ProjectorConfig, TextConfig
from m2d_clap.model.errors import ClapError
from m2d_clap.training.augment import NO_AUGMENTATION
from m2d_clap.training.batches import TrainingSet
from m2d_clap.training.captions import CaptionBank
from m2d_clap.training.ensemble import Ensemble
from m2d_clap.training.execution import Execution
from m2d_clap.training.inherit import taught
from m2d_clap.training.loop import Trainer
from m2d_clap.training.masking import Masking
from m2d_clap.training.stages import STAGES, Losses, Stage

SQUARES = ClapConfig(
    encoder=EncoderConfig(frames=64, width=16, depth=1, heads=2),
    projector=ProjectorConfig("mlp", dim=12, hidden=16),
)
SPECTRA = dataclasses.replace(
    SQUARES, encoder=dataclasses.replace(SQUARES.encoder, patch_mels=80, patch_frames=4)
)
STAGE = dataclasses.replace(
    STAGES["1-ensemble-mini"],
    model=SPECTRA,
    parent=None,
    frames=64,
    epochs=40,
    warm_up=2,
    batch=4,
    masking=Masking(),
    augmentation=NO_AUGMENTATION,
    balance=0.0,
    base_rate=0.2,
)


def checkpoint(config: ClapConfig, seed: int) -> Checkpoint:
    torch.manual_seed(seed)
    return Checkpoint.of(Clap(config).eval())


TEACHERS = (checkpoint(SQUARES, 1), checkpoint(SPECTRA, 2))


def learning() -> TrainingSet:
    rng = np.random.default_rng(0)
    sounds = [torch.from_numpy(rng.normal(-8, 3, (80, 64))).half() for _ in range(8)]
    alone = torch.arange(1)
    return TrainingSet(sounds, CaptionBank((("a",),), (), (alone,), ((0,),) * 8))


def trainer(stage: Stage = STAGE, execution: Execution | None = None) -> Trainer:
    return Trainer(
        stage,
        learning(),
        0,
        precision="float32",
        teachers=TEACHERS,
        execution=execution or Execution(),
    )


def test_the_target_is_the_mean_of_what_each_teacher_hears() -> None:
    images = torch.randn(3, 1, 80, 48)
    each = [
        F.normalize(clap.project(clap.grids(list(images))), dim=-1)
        for clap in (teacher.clap() for teacher in TEACHERS)
    ]
    targets = Ensemble(STAGE.model, TEACHERS, precision="float32")(images)
    torch.testing.assert_close(targets, (each[0] + each[1]) / 2, rtol=0, atol=1e-5)


def test_what_learns_comes_to_hear_as_the_teachers_do_together() -> None:
    learns = trainer()
    losses = [learns.advance()["loss_ensemble"] for _ in range(learns.steps)]
    assert np.mean(losses[-4:]) < 0.1 * np.mean(losses[:4])


def test_in_parts_the_gradients_are_those_of_the_whole() -> None:
    whole, parts = trainer(), trainer(execution=Execution(accumulate=2))
    for each in (whole, parts):
        each.gradients(each.take())
    for one, other in zip(whole.clap.parameters(), parts.clap.parameters(), strict=True):
        if one.grad is not None:
            torch.testing.assert_close(one.grad, other.grad, rtol=0, atol=1e-6)


def test_teachers_are_no_part_of_what_is_saved() -> None:
    learns = trainer()
    assert not [name for name in learns.snapshot()["modules"] if "ensemble" in name]


def test_a_stage_with_an_ensemble_says_that_it_needs_teachers() -> None:
    with pytest.raises(ClapError, match="--teacher"):
        Trainer(STAGE, learning(), 0)


def test_all_that_learns_is_moved_by_it_as_several_processes_need() -> None:
    learning = trainer()
    learning.gradients(learning.take())
    moved = [p for p in learning.learner.parameters() if p.requires_grad]
    assert moved and all(p.grad is not None for p in moved)


def test_teachers_of_other_spaces_are_refused() -> None:
    wide = dataclasses.replace(SQUARES, projector=ProjectorConfig("mlp", dim=20, hidden=16))
    with pytest.raises(ClapError, match="cannot teach"):
        Ensemble(STAGE.model, (TEACHERS[0], checkpoint(wide, 0)))


def test_what_hears_or_reads_otherwise_than_the_student_is_no_teacher_even_alone() -> None:
    louder = dataclasses.replace(SQUARES.front_end, mean=-5.0)
    for other in (
        dataclasses.replace(SQUARES, front_end=louder),
        dataclasses.replace(SQUARES, text=TextConfig("gte-base")),
    ):
        with pytest.raises(ClapError, match="cannot teach"):
            Ensemble(STAGE.model, (checkpoint(other, 0),))


def test_a_student_stands_under_its_teachers_licences_too() -> None:
    bound = dataclasses.replace(SQUARES, licence="non-commercial")
    stage = taught(STAGE, [STAGE.model, bound])
    assert stage.model.licence == f"{STAGE.model.licence} and non-commercial"


def test_a_stage_may_predict_masked_patches_beside_them() -> None:
    masking = Masking("random", 0.5)
    stage = dataclasses.replace(STAGE, losses=Losses(m2d=1.0, ensemble=1.0), masking=masking)
    assert set(trainer(stage).advance()) >= {"loss_m2d", "loss_ensemble"}
