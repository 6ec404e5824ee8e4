"""A step's gradients are those of the whole batch, however it is computed."""

import runpy
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from m2d_clap.model.errors import ClapError
from m2d_clap.training import loop
from m2d_clap.training.execution import Execution, checkpoint_blocks, compile_blocks
from m2d_clap.training.loop import Trainer

TINY = runpy.run_path(str(Path(__file__).with_name("distributed_run.py")))
STAGES: dict[str, Any] = TINY["STAGES"]
trainer_of: Callable[..., Trainer] = TINY["trainer"]


def gradients(trainer: Trainer) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Of the first step: by parameter, and the terms."""
    terms = trainer.gradients(trainer.take())
    trainer.close()
    named = trainer.learner.named_parameters()
    return {name: p.grad for name, p in named if p.grad is not None}, terms


@cache
def gradients_at_once(name: str) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    return gradients(trainer_of(STAGES[name]))


def assert_equal(found: dict[str, Tensor], wanted: dict[str, Tensor]) -> None:
    assert found.keys() == wanted.keys()
    for name, tensor in wanted.items():
        assert (found[name] - tensor).abs().max() < 1e-6 + 2e-5 * tensor.abs().max(), name


@pytest.mark.parametrize("name", STAGES)
@pytest.mark.parametrize("parts", [2, 3, 5])
def test_a_batch_in_parts_has_the_gradients_of_the_whole(name: str, parts: int) -> None:
    whole, terms = gradients_at_once(name)
    trainer = trainer_of(STAGES[name], Execution(accumulate=parts))
    found, same_terms = gradients(trainer)
    assert_equal(found, whole)
    assert_equal(same_terms, terms)
    assert len(whole) == sum(p.requires_grad for p in trainer.learner.parameters())


def test_batch_norm_counts_every_sound_once_whatever_the_parts() -> None:
    statistics = []
    for parts in (1, 3):
        trainer = trainer_of(STAGES["1.1"], Execution(accumulate=parts))
        trainer.advance()
        trainer.close()
        assert trainer.clap.audio.head is not None
        statistics.append(dict(trainer.clap.audio.head.norm.named_buffers()))
    assert int(statistics[1]["num_batches_tracked"]) == 1
    assert_equal(statistics[1], statistics[0])


def test_more_parts_than_sounds_are_refused() -> None:
    with pytest.raises(ClapError, match="--accumulate"):
        trainer_of(STAGES["1"], Execution(accumulate=8))


@pytest.mark.parametrize("name", STAGES)
@pytest.mark.parametrize("parts", [1, 2])
def test_blocks_that_forget_and_compute_again_have_the_same_gradients(
    name: str, parts: int
) -> None:
    whole, _ = gradients(trainer_of(STAGES[name], Execution(accumulate=parts)))
    again = trainer_of(STAGES[name], Execution(accumulate=parts, checkpoint_activations=True))
    found, _ = gradients(again)
    for key, gradient in whole.items():
        assert torch.equal(gradient, found[key]), key


@pytest.mark.parametrize(
    ("name", "blocks"), [("1", 1 + 1 + 1), ("1.1", 1), ("2", 1 + 1), ("2.1-mini", 1 + 1)]
)
def test_every_block_that_learns_keeps_its_input_only(name: str, blocks: int) -> None:
    def kept(forgetting: bool) -> int:
        """Bytes that one pass keeps for the way back."""
        trainer = trainer_of(STAGES[name])
        if forgetting:
            assert checkpoint_blocks(trainer.learner) == blocks
        sizes: dict[int, int] = {}

        def keep(tensor: Tensor) -> Tensor:
            sizes[tensor.data_ptr()] = tensor.untyped_storage().nbytes()
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
            trainer.learner(trainer.take())
        trainer.close()
        return sum(sizes.values())

    assert kept(True) < 0.8 * kept(False)


@pytest.mark.filterwarnings("default")  # the compiler asks tensors what it should not, quietly
def test_compiled_blocks_have_the_same_gradients_for_every_size(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # The back end that needs no C++ compiler; what goes through it is the same.
    monkeypatch.setattr(loop, "compile_blocks", lambda module: compile_blocks(module, "aot_eager"))
    whole, _ = gradients(trainer_of(STAGES["1"]))
    execution = Execution(compiled=True, accumulate=2, checkpoint_activations=True)
    found, _ = gradients(trainer_of(STAGES["1"], execution))
    assert_equal(found, whole)
    assert torch._dynamo.utils.counters["stats"]["unique_graphs"] > 0


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_compiled_blocks_train_on_a_gpu_as_uncompiled_ones_do() -> None:
    terms = []
    for compiled in (False, True):
        trainer = Trainer(
            STAGES["1"],
            TINY["training_set"](),
            0,
            "cuda",
            precision="float32",
            execution=Execution(compiled=compiled, accumulate=2, ahead=3),
        )
        terms.append([trainer.advance()["loss"] for _ in range(4)])
        trainer.close()
    assert terms[1] == pytest.approx(terms[0], rel=1e-3)
