"""Several processes as one: what torchrun says, and values gathered with their gradients."""

import os
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from m2d_clap.model.errors import ClapError

_PATIENCE = timedelta(hours=6)
"""While one process scores, saves or prepares what all need, the others wait for it."""


def started() -> int:
    """How many processes torchrun started, whether they have joined or not; 1 without it."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def device_of(name: str) -> str:
    """This process's device. name: "auto" (CUDA where there is one), "cpu" or "cuda". Raises ClapError
    where there are more processes than GPUs."""
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    if name != "cuda":
        return name
    there = torch.cuda.device_count()
    if local_rank() >= there > 0:
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
