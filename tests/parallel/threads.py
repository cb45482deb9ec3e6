"""Threads of one process that act as the processes of a training, and exchange tensors through memory."""

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import torch
from torch import Tensor

from sdlcore.parallel.groups import Group

Result = TypeVar("Result")


class Threads(Group):
    """The group of one of several threads; `together` creates it."""

    def __init__(self, rank: int, shared: list[object], barrier: threading.Barrier) -> None:
        self.rank, self.size = rank, len(shared)
        self.shared, self.barrier = shared, barrier

    def exchange(self, x):
        """Return the values of all threads."""
        self.shared[self.rank] = x
        self.barrier.wait()
        parts = list(self.shared)
        self.barrier.wait()
        return parts

    def counts(self, n: int) -> list[int]:
        return self.exchange(n)

    def sum(self, x: Tensor) -> Tensor:
        others = [part for i, part in enumerate(self.exchange(x.detach())) if i != self.rank]
        return x + sum(others)

    def add(self, tensors: Sequence[Tensor]) -> None:
        for mine, sums in zip(tensors, zip(*self.exchange([t.clone() for t in tensors]), strict=True), strict=True):
            mine.copy_(sum(sums))

    def least(self, x: Tensor) -> Tensor:
        return torch.stack(self.exchange(x)).amin(0)

    def any(self, mask: Tensor) -> Tensor:
        return torch.stack(self.exchange(mask)).any(0)

    def gather(self, x: Tensor) -> Tensor:
        parts = self.exchange(x)
        width = max(each.shape[-1] for each in parts)
        return torch.stack(
            [torch.nn.functional.pad(each, (0, width - each.shape[-1]), value=-torch.inf) for each in parts]
        )

    def whole(self, x: Tensor) -> Tensor:
        return torch.cat(self.exchange(x.detach()))

    def first(self, x: Tensor) -> Tensor:
        return self.exchange(x)[0]


def together(size: int, work: Callable[[Group], Result]) -> list[Result]:
    """Run a function in several threads, each with its group; return their results."""
    shared: list[object] = [None] * size
    barrier = threading.Barrier(size, timeout=60)

    def run(rank: int) -> Result:
        try:
            return work(Threads(rank, shared, barrier))
        except BaseException:
            barrier.abort()
            raise

    with ThreadPoolExecutor(size) as pool:
        futures = [pool.submit(run, rank) for rank in range(size)]
    errors = [error for each in futures if (error := each.exception()) is not None]
    if errors:
        raise next((e for e in errors if not isinstance(e, threading.BrokenBarrierError)), errors[0])
    return [each.result() for each in futures]
