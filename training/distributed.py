"""Several processes as one: what torchrun says, and values gathered with their gradients."""

import os
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist
import typer
from torch import Tensor

from m2d_clap.model.errors import ClapError

DEVICES = ("auto", "cpu", "cuda")
_PATIENCE = timedelta(hours=6)
"""While one process scores, saves or prepares what all need, the others wait for it."""


def started() -> int:
    """How many processes torchrun started, whether they have joined or not; 1 without it."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def device_of(name: str) -> str:
    """This process's device. name: "auto" (CUDA where there is one), "cpu" or "cuda". Raises
    typer.BadParameter for any other, ClapError where there is no GPU, or more processes than GPUs."""
    if name not in DEVICES:
        raise typer.BadParameter(f"--device is {', '.join(DEVICES)}, not {name!r}")
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    if name == "cpu":
        return name
    if not torch.cuda.is_available():
        raise ClapError("there is no CUDA device that this torch can use: --device cpu, or auto")
    there = torch.cuda.device_count()
    if local_rank() >= there:
        raise ClapError(
            f"process {local_rank() + 1} of this machine has no GPU, of which there are {there}: "
            f"torchrun --nproc-per-node {there}, or --device cpu"
        )
    return f"cuda:{local_rank()}"


def join(device: str) -> None:
    """Joins the processes that torchrun started, each on its device; does nothing without it."""
    if started() == 1 or dist.is_initialized():
        return
    on = torch.device(device)
    if on.type == "cuda":
        torch.cuda.set_device(on)  # else every process would use the first one beside its own
        dist.init_process_group("nccl", device_id=on, timeout=_PATIENCE)
    else:
        dist.init_process_group("gloo", timeout=_PATIENCE)


def rank() -> int:
    """This process's number, 0 … world − 1."""
    return dist.get_rank() if dist.is_initialized() else 0


def world() -> int:
    """How many processes train together."""
    return dist.get_world_size() if dist.is_initialized() else 1


def local_rank() -> int:
    """This process's number on its machine, which is its GPU's."""
    return int(os.environ.get("LOCAL_RANK", "0"))


def barrier() -> None:
    """Waits for every process."""
    if dist.is_initialized():
        dist.barrier()


def everywhere(holds: bool) -> bool:
    """Whether it holds in every process; all must ask."""
    if world() == 1:
        return holds
    flag = torch.tensor(int(holds), device="cuda" if dist.get_backend() == "nccl" else "cpu")
    dist.all_reduce(flag, dist.ReduceOp.MIN)
    return bool(flag)


def once(check: Callable[[], object]) -> None:
    """Runs a check in the first process alone; where it raises, all end. All must ask."""
    failure: ClapError | None = None
    if rank() == 0:
        try:
            check()
        except ClapError as error:
            failure = error
    if not everywhere(failure is None):
        raise failure or ClapError("the first process says why this one ends")


def total(value: Tensor) -> Tensor:
    """The sum over the processes; all must ask."""
    if world() > 1:
        value = value.clone()
        dist.all_reduce(value)
    return value


def gathered(rows: Tensor, count: int) -> Tensor:
    """(count, …): the rows of every process, as one process would hold them; gradients flow back.

    Process r holds rows r, r + world, … of the `count` there are, so they are interleaved; where
    they do not come out even, the last processes have one less.
    """
    if world() == 1:
        return rows
    most = -(-count // world())
    if len(rows) < most:
        rows = torch.cat([rows, rows.new_zeros(most - len(rows), *rows.shape[1:])])
    parts: Tensor = _Gathered.apply(rows.contiguous())  # type: ignore[no-untyped-call]
    return parts.transpose(0, 1).flatten(0, 1)[:count]


class _Gathered(torch.autograd.Function):
    """(rows, …) → (world, rows, …), in every process; each row's gradient is that of all of them."""

    @staticmethod
    def forward(_: Any, rows: Tensor) -> Tensor:
        parts = [torch.empty_like(rows) for _ in range(world())]
        dist.all_gather(parts, rows)
        return torch.stack(parts)

    @staticmethod
    def backward(_: Any, gradient: Tensor) -> Tensor:
        return total(gradient.contiguous())[rank()]
