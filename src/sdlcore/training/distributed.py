"""Distribute one training over processes of torch.distributed."""

import atexit
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from sdlcore.config import Config, check_division
from sdlcore.model.coder import SparseCoder
from sdlcore.parallel.groups import ALONE, Group, Processes, current_processes, together
from sdlcore.settings import Split

PATIENCE = timedelta(minutes=10)
"""Timeout for other processes, which may be compiling kernels, evaluating a row or writing a checkpoint."""


class Several(Group):
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

    def sum(self, x: Tensor) -> Tensor:
        summed: Tensor = _Sum.apply(x)
        return summed

    def add(self, tensors: Sequence[Tensor]) -> None:
        for tensor in tensors:
            dist.all_reduce(tensor)

    def least(self, x: Tensor) -> Tensor:
        least = x.clone()
        dist.all_reduce(least, dist.ReduceOp.MIN)
        return least

    def any(self, mask: Tensor) -> Tensor:
        any_mask = mask.to(torch.uint8)
        dist.all_reduce(any_mask, dist.ReduceOp.MAX)
        return any_mask.bool()

    def gather(self, x: Tensor) -> Tensor:
        padded = x.new_full((*x.shape[:-1], max(self.counts(x.shape[-1]))), -torch.inf)
        padded[..., : x.shape[-1]] = x
        parts = [torch.empty_like(padded) for _ in range(self.size)]
        dist.all_gather(parts, padded)
        return torch.stack(parts)

    def whole(self, x: Tensor) -> Tensor:
        # on the CPU, because the whole may not fit where a part does
        part = x.detach().cpu().contiguous()
        parts = [torch.empty_like(part) for _ in range(self.size)] if self.rank == 0 else None
        dist.gather(part, parts)
        return part if parts is None else torch.cat(parts)

    def first(self, x: Tensor) -> Tensor:
        same = x.contiguous()
        dist.broadcast(same, 0)
        return same


class _Sum(torch.autograd.Function):
    """Sum over processes. All compute the same loss from the sum, so each summand's gradient is the sum's gradient."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        summed = x.clone(memory_format=torch.contiguous_format)
        dist.all_reduce(summed)
        return summed

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        return gradient


@contextmanager
def processes_of(split: Split, config: Config) -> Iterator[Processes]:
    """Join the processes that torchrun started, by its environment variables; without these, yield `ALONE`.

    In the block, all processes train each dictionary of `fit` together. Only the first process writes the run's folder.
    Processes that the caller has joined already (`together`) are yielded as they are.

    Parameters
    ----------
    split
        Whether processes divide the samples or the latents.
    config
        The training's settings.

    Raises
    ------
    ValueError
        If this training cannot be divided among the processes.
    RuntimeError
        From torch.distributed, if another process does not respond within `PATIENCE`, or has ended.
    """
    if current_processes().all.size > 1:
        yield current_processes()
        return
    size = int(os.environ.get("WORLD_SIZE", "1"))
    if size == 1:
        yield ALONE
        return
    if problem := check_division(config, size, split):
        raise ValueError(problem)
    if not dist.is_initialized():  # once a process, for all its trainings
        backends = "cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo"
        dist.init_process_group(backends, timeout=PATIENCE)
        atexit.register(dist.destroy_process_group)
    with together(Processes(samples=Several()) if split == "samples" else Processes(latents=Several())) as several:
        yield several


@torch.no_grad()
def divide(model: SparseCoder, processes: Processes) -> None:
    """Give a model on the CPU the weights of the first process, and keep only this process's part of the latents."""
    for name, tensor in model.state_dict().items():
        tensor.copy_(processes.all.first(tensor.clone()))
        if name in model.latent_names:
            parameter = model.get_parameter(name)
            parameter.data = tensor[processes.latents.part(len(tensor))].clone()
    model.processes = processes


@torch.no_grad()
def unite(model: SparseCoder) -> None:
    """Collect a model whose latents were divided among processes. All processes must call it.

    Each process's model then has all latents, on the CPU. If each process has all latents already, the model only
    leaves its process groups.
    """
    latents = model.processes.latents
    if latents.size > 1:
        model.cpu()
        for parameter in {model.get_parameter(name): None for name in model.latent_names}:  # tied ones once
            whole = latents.whole(parameter)
            if latents.rank:
                whole = parameter.new_empty(model.config.n_q, *parameter.shape[1:])
            parameter.data = latents.first(whole)
    model.processes = ALONE
