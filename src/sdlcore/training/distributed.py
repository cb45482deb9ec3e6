"""Distribute one training over processes of torch.distributed."""

import atexit
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta

import torch
import torch.distributed as dist
from torch import Tensor

from sdlcore.config import Config, check_division
from sdlcore.model.coder import SparseCoder
from sdlcore.processes import ALONE, Processes, current_processes, together

PATIENCE = timedelta(minutes=10)
"""Timeout for other processes, which may be compiling kernels, evaluating a row or writing a checkpoint."""


class Several(Processes):
    """All processes of torch.distributed. GPU tensors are sent by NCCL, CPU tensors by gloo."""

    def __init__(self) -> None:
        self.rank = dist.get_rank()
        self.size = dist.get_world_size()

    def counts(self, n: int) -> list[int]:
        # on the CPU, so that no GPU has to synchronise
        numbers = torch.zeros(self.size, dtype=torch.int64)
        numbers[self.rank] = n
        dist.all_reduce(numbers)
        return [int(number) for number in numbers]

    def mean(self, x: Tensor) -> Tensor:
        summed = x.clone(memory_format=torch.contiguous_format)
        dist.all_reduce(summed)
        return summed / self.size

    def sum_in_place(self, tensors: Sequence[Tensor]) -> None:
        for tensor in tensors:
            dist.all_reduce(tensor)

    def minimum(self, x: Tensor) -> Tensor:
        least = x.clone()
        dist.all_reduce(least, dist.ReduceOp.MIN)
        return least

    def gather(self, x_N: Tensor) -> Tensor:
        padded = x_N.new_full((max(self.counts(len(x_N))),), -torch.inf)
        padded[: len(x_N)] = x_N
        parts = [torch.empty_like(padded) for _ in range(self.size)]
        dist.all_gather(parts, padded)
        return torch.stack(parts)

    def first(self, x: Tensor) -> Tensor:
        same = x.contiguous()
        dist.broadcast(same, 0)
        return same


@contextmanager
def processes_of(config: Config) -> Iterator[Processes]:
    """Join the processes that torchrun started, by its environment variables; without these, yield `ALONE`.

    In the block, all processes train each dictionary of `fit` together. Only the first process writes the run's folder.
    Processes that the caller has joined already (`together`) are yielded as they are.

    Parameters
    ----------
    config
        The training's settings.

    Raises
    ------
    ValueError
        If the processes cannot divide this training's batches.
    RuntimeError
        From torch.distributed, if another process does not respond within `PATIENCE`, or has ended.
    """
    if current_processes().size > 1:
        yield current_processes()
        return
    size = int(os.environ.get("WORLD_SIZE", "1"))
    if size == 1:
        yield ALONE
        return
    if problem := check_division(config, size):
        raise ValueError(problem)
    if not dist.is_initialized():  # once a process, for all its trainings
        backends = "cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo"
        dist.init_process_group(backends, timeout=PATIENCE)
        atexit.register(dist.destroy_process_group)
    with together(Several()) as several:
        yield several


@torch.no_grad()
def share(model: SparseCoder, processes: Processes) -> None:
    """Give a model on the CPU the weights of the first process, and let the processes train it together."""
    for tensor in model.state_dict().values():
        tensor.copy_(processes.first(tensor.clone()))
    model.processes = processes
