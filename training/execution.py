"""How a step is computed. What it computes stays the same, but for the last bits of a number."""

import contextlib
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

from m2d_clap.model.errors import ClapError
from m2d_clap.model.vit import Block


@dataclass(frozen=True)
class Execution:
    """accumulate: parts that a process's share of a batch is worked on in, one after another.
    checkpoint_activations: blocks remember their input only and are computed again on the way
    back. compiled: blocks go through torch.compile. ahead: how many steps' examples are made in
    advance, each in a thread of its own; 0: none.
    """

    accumulate: int = 1
    checkpoint_activations: bool = False
    compiled: bool = False
    ahead: int = 1

    @property
    def settings(self) -> dict[str, Any]:
        """What the last bits depend on, where it is not as usual: part of a run's settings."""
        exact = {name: asdict(self)[name] for name in ("accumulate", "compiled")}
        return {name: value for name, value in exact.items() if value != getattr(USUAL, name)}


USUAL = Execution()


class OutOfMemoryError(ClapError):
    """A step that a device's memory does not hold."""


@contextlib.contextmanager
def within_memory() -> Iterator[None]:
    """Where a CUDA device's memory runs out inside, says which options need less of it."""
    try:
        yield
    except torch.cuda.OutOfMemoryError as error:
        said, _, _ = str(error).partition("\n")
        raise OutOfMemoryError(
            f"the device's memory does not hold a step ({said}). The same command with "
            "--checkpoint-activations needs less; --accumulate 2, or more, works on a batch in "
            "parts, as a run of its own: with another --out"
        ) from error


def checkpoint_blocks(learner: nn.Module) -> int:
    """Lets every block that learns forget what it computed; returns how many there are.

    A block is a member of a list of modules: of the backbone, the predictor, the projector and
    any text encoder, transformers' included. (Their own gradient checkpointing works in training
    mode only, in which they would drop out.)
    """
    blocks = [b for b in _blocks(learner) if any(p.requires_grad for p in b.parameters())]
    for block in blocks:
        _forget(block)
    return len(blocks)


def compile_blocks(learner: nn.Module, backend: str = "inductor") -> int:
    """Compiles our transformer blocks for training; returns how many.

    They share their code, so each width is compiled once for each of: with gradients, without
    (the target encoder), a second batch size, a second number of tokens; from then on for any.
    In evaluation mode, where lengths vary wildly, they run as they were.
    """
    blocks = [block for block in _blocks(learner) if isinstance(block, Block)]
    # Backbone, target, predictor and projector, with four variants each, share one counter.
    torch._dynamo.config.recompile_limit = max(64, torch._dynamo.config.recompile_limit)
    for block in blocks:
        _hasten(block, backend)
    return len(blocks)


def _blocks(module: nn.Module) -> Iterator[nn.Module]:
    for members in module.modules():
        if isinstance(members, nn.ModuleList):
            yield from members


def _forget(block: nn.Module) -> None:
    forward = block.forward

    def remembering_its_input(*args: Any, **named: Any) -> Any:
        if not torch.is_grad_enabled():
            return forward(*args, **named)
        # Nothing in a block is random, so no random state needs to be kept.
        return checkpoint(forward, *args, use_reentrant=False, preserve_rng_state=False, **named)

    block.forward = remembering_its_input


def _hasten(block: nn.Module, backend: str) -> None:
    forward = block.forward
    fast = torch.compile(forward, backend=backend)

    def compiled_in_training(*args: Any, **named: Any) -> Any:
        return (fast if block.training else forward)(*args, **named)

    block.forward = compiled_in_training
