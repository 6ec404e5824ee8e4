"""However many sounds are alike, and wherever they lie, they are found together in bounded memory."""

import tracemalloc
from types import SimpleNamespace

import numpy as np
import pytest
from typer.testing import CliRunner

from m2d_clap.index import duplicates as duplicates_module
from m2d_clap.index.clips import Clip
from m2d_clap.index.duplicates import Group, duplicates
from m2d_clap.index.library_command import commands


def groups(vectors: np.ndarray, at_least: float) -> list[Group]:
    clips = tuple(Clip(f"{n:016}", 1.0, (f"{n:05}.wav",)) for n in range(len(vectors)))
    index = SimpleNamespace(clips=clips, means=lambda: vectors)
    return duplicates(index, at_least)  # type: ignore[arg-type]


def test_thousands_of_equal_sounds_are_one_group_in_bounded_memory() -> None:
    vectors = np.zeros((4000, 8), np.float32)
    vectors[:, 0] = 1
    vectors[7] = np.eye(8)[1]
    tracemalloc.start()
    (found,) = groups(vectors, 0.98)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert len(found.clips) == 3999
    assert found.cosine == 1.0
    assert peak < 150e6, "every pair at once were 8 million, of 12 bytes and more"


@pytest.mark.parametrize("block", [1, 2, 3, 1024])
def test_what_chains_together_across_blocks_is_one_group_with_its_lowest_cosine(
    block: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(duplicates_module, "_BLOCK", block)
    degrees = np.array([0, 90, 8, 180, 3, 91, 12])
    vectors = np.stack([np.cos(np.radians(degrees)), np.sin(np.radians(degrees))], axis=1)
    first, second = groups(vectors.astype(np.float32), np.cos(np.radians(5.5)))
    assert [int(clip.id) for clip in first.clips] == [0, 2, 4, 6]
    assert first.cosine == pytest.approx(np.cos(np.radians(5)), abs=1e-5)
    assert [int(clip.id) for clip in second.clips] == [1, 5]
    assert second.cosine == pytest.approx(np.cos(np.radians(1)), abs=1e-5)


def test_a_cosine_that_unlike_sounds_have_is_refused() -> None:
    refused = CliRunner().invoke(commands, ["duplicates", "x.index", "--at-least", "0.4"])
    assert refused.exit_code == 2
    assert "0.5" in refused.output
