"""Examples made in advance, in threads, are those that would have been made in time."""

import runpy
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from m2d_clap.training.execution import Execution
from m2d_clap.training.loop import Trainer
from m2d_clap.training.prefetch import Prefetch
from m2d_clap.training.run import run

TINY = runpy.run_path(str(Path(__file__).with_name("distributed_run.py")))
trainer_of: Callable[..., Trainer] = TINY["trainer"]


_others: set[threading.Thread] = set()


@pytest.fixture(autouse=True)
def other_tests_threads() -> None:
    _others.update(threading.enumerate())


def threads() -> list[str]:
    """Of this test alone: trainers of others may not have been collected yet."""
    mine = set(threading.enumerate()) - _others
    return [thread.name for thread in mine if thread.name.startswith("prefetch")]


@given(st.lists(st.integers(0, 9), max_size=20), st.integers(0, 4))
def test_whatever_step_is_asked_for_gets_its_own_value(steps: list[int], ahead: int) -> None:
    coming = Prefetch(lambda step: step * step, 10, ahead)
    assert [coming.take(step) for step in steps] == [step * step for step in steps]
    coming.close()


def test_what_comes_next_is_made_meanwhile_and_nothing_after_the_end() -> None:
    made: list[int] = []
    coming = Prefetch(made.append, 3, ahead=2)
    coming.take(0)
    deadline = time.monotonic() + 20
    while len(made) < 3 and time.monotonic() < deadline:
        time.sleep(0.001)
    assert sorted(made) == [0, 1, 2]
    coming.take(1), coming.take(2)
    coming.close()
    assert sorted(made) == [0, 1, 2]


def test_an_error_is_raised_by_the_step_it_belongs_to() -> None:
    def make(step: int) -> int:
        if step == 2:
            raise ValueError("a damaged sound")
        return step

    coming = Prefetch(make, 5, ahead=2)
    assert [coming.take(0), coming.take(1)] == [0, 1]
    with pytest.raises(ValueError, match="damaged"):
        coming.take(2)
    coming.close()
    assert coming.take(3) == 3
    coming.close()
    assert not threads()


@pytest.mark.parametrize("name", ["1-mini", "2"])
def test_threads_change_no_bit_of_a_run(name: str) -> None:
    losses = []
    for ahead in (0, 1, 3):
        trainer = trainer_of(TINY["STAGES"][name], Execution(ahead=ahead))
        losses.append([trainer.advance()["loss"] for _ in range(5)])
        trainer.close()
    assert losses[0] == losses[1] == losses[2]


@pytest.mark.parametrize("ends", [KeyboardInterrupt, None])
def test_no_thread_outlives_a_run(ends: type[BaseException] | None, tmp_path: Path) -> None:
    def show(status: Any) -> None:
        assert threads()
        if ends is not None:
            raise ends

    trainer = trainer_of(TINY["STAGES"]["1"], Execution(ahead=2))
    if ends is None:
        run(tmp_path, trainer, {}, None, show)
    else:
        with pytest.raises(ends):
            run(tmp_path, trainer, {}, None, show)
    assert not threads()


def test_a_damaged_sound_stops_the_run_with_its_own_error(tmp_path: Path) -> None:
    trainer = trainer_of(TINY["STAGES"]["1"])
    sounds: Any = trainer.data.sounds
    sounds[3] = torch.zeros(79, 64)  # one band short
    with pytest.raises(RuntimeError, match="79"):
        run(tmp_path, trainer, {}, None)
    assert not threads()


def test_a_share_is_the_same_whether_or_not_the_others_are_made() -> None:
    for name in ("1", "1-mini", "2", "2.1-mini"):
        batches = trainer_of(TINY["STAGES"][name]).batches
        whole = batches.at(1)
        assert whole.images is not None
        for rank in range(3):
            share = batches.at(1, rank, 3)
            assert share.images is not None and share.heard == whole.heard
            assert torch.equal(share.images, whole.images[rank::3])
            if whole.mask is not None:
                assert share.mask is not None
                assert torch.equal(share.mask.shuffle, whole.mask.shuffle[rank::3])
