"""A batch is shared among lanes; what comes out is what one lane would have made."""

import threading

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from m2d_clap.model import Clap, ClapConfig, Waveform
from m2d_clap.model.config import EncoderConfig, ProjectorConfig
from m2d_clap.service.encoders import encode_sounds
from m2d_clap.service.lanes import Lanes, shares
from m2d_clap.service.stages import Stages


@given(st.lists(st.integers(0, 1000), min_size=1), st.integers(1, 5))
def test_every_item_is_in_one_share_and_no_share_is_empty(costs: list[int], count: int) -> None:
    parts = shares(costs, count)
    assert sorted(at for part in parts for at in part) == list(range(len(costs)))
    assert len(parts) <= count
    assert all(parts)


@given(st.lists(st.integers(1, 1000), min_size=1), st.integers(1, 5))
def test_shares_differ_by_one_item_s_cost_at_most(costs: list[int], count: int) -> None:
    fair = sum(costs) / count
    for part in shares(costs, count):
        assert sum(costs[at] for at in part) <= fair + max(costs)


def test_short_items_are_not_shared_with_long_ones() -> None:
    assert shares([9, 1, 9, 1, 1, 9], 2) == [[1, 3, 4, 0], [2, 5]]


def test_answers_keep_the_order_of_the_items_and_parts_compute_on_one_core_each() -> None:
    threads, before = set(), torch.get_num_threads()

    def doubled(items: list[int], stages: Stages) -> list[int]:
        with stages.measured("doubling"):
            threads.add((threading.get_ident(), torch.get_num_threads()))
            return [2 * item for item in items]

    stages = Stages()
    assert Lanes(2).begin(doubled, [5, 1, 4, 2], [5, 1, 4, 2], stages).result() == [10, 2, 8, 4]
    assert {count for _, count in threads} == {1}
    assert torch.get_num_threads() == before
    assert stages.seconds["doubling"] > 0


def test_a_core_that_is_through_takes_of_the_next_batch_and_says_when_there_is_none() -> None:
    may_end, told = threading.Event(), []

    def slow(items: list[int], _: Stages) -> list[int]:
        if 9 in items:
            assert may_end.wait(10)
        return items

    lanes = Lanes(2)
    assert not lanes.busy
    room = threading.Event()
    first = lanes.begin(slow, [9, 1], [9, 9], Stages(), room.set)
    assert room.wait(10)  # a core is free before the batch is done
    second = lanes.begin(slow, [3, 4], [1, 1], Stages(), lambda: told.append("second"))
    assert second.result(10) == [3, 4]  # on the free core, both parts
    assert not first.done() and lanes.busy
    may_end.set()
    assert first.result(10) == [9, 1]
    assert not told  # that it was done has said so


def test_what_one_part_raises_is_raised() -> None:
    def refusing(items: list[int], _: Stages) -> list[int]:
        if 3 in items:
            raise ValueError("not three")
        return items

    with pytest.raises(ValueError, match="not three"):
        Lanes(2).begin(refusing, [1, 2, 3], [1, 1, 1], Stages()).result()


def test_a_part_with_too_few_answers_is_an_error_and_keeps_nobody_waiting() -> None:
    with pytest.raises(ValueError, match="shorter"):
        Lanes(2).begin(lambda items, _: items[1:], [1, 2, 3], [1, 1, 1], Stages()).result(10)


def test_sounds_have_the_vectors_that_one_lane_gives_them() -> None:
    torch.manual_seed(0)
    clap = Clap(
        ClapConfig(
            encoder=EncoderConfig(frames=64, width=16, depth=1, heads=2),
            projector=ProjectorConfig("mlp", 16, 16),
        )
    ).eval()
    rng = np.random.default_rng(0)
    sounds = [Waveform(rng.normal(0, 0.1, n).astype(np.float32), 16000) for n in (9000, 32000, 800)]
    alone = encode_sounds(clap, sounds)
    shared = (
        Lanes(2)
        .begin(lambda part, stages: encode_sounds(clap, part, stages), sounds, [9, 32, 1], Stages())
        .result()
    )
    for one, other in zip(alone, shared, strict=True):
        np.testing.assert_allclose(other, one, atol=1e-5)
