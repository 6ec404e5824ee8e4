"""Several processes as one: what torchrun says, and values gathered with their gradients."""

import os
from typing import Literal

import torch
import torch.distributed as dist
from torch import Tensor


def join(backend: Literal["nccl", "gloo"]) -> None:
    """Joins the processes that torchrun started; does nothing without it."""
    if int(os.environ.get("WORLD_SIZE", "1")) > 1 and not dist.is_initialized():
        dist.init_process_group(backend)


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


def gathered(rows: Tensor) -> Tensor:
    """(rows, …) of every process, in the order one process would hold them; gradients flow back.

    Process r holds rows r, r + world, … of the batch, so equal counts are interleaved.
    """
    if world() == 1:
        return rows
    from torch.distributed.nn.functional import all_gather

    parts = torch.stack(list(all_gather(rows.contiguous())))
    return parts.transpose(0, 1).flatten(0, 1)
