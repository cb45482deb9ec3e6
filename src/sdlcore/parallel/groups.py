"""Process groups for data-parallel and latent-parallel training.

`Group` is a single process, whose sums are its own values; `sdlcore.training.distributed` implements the group of
several processes. All processes of a group must call each method, in the same order.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import NamedTuple

from torch import Tensor


class Group:
    """Processes that divide something into equal parts, in the order of their ranks. This base class represents a
    single process."""

    rank = 0
    size = 1

    def part(self, n: int) -> slice:
        """Return this process's slice of ``n`` items."""
        return slice(self.rank * n // self.size, (self.rank + 1) * n // self.size)

    def counts(self, n: int) -> list[int]:
        """Return the numbers ``n`` of all processes."""
        return [n]

    def sum(self, x: Tensor) -> Tensor:
        """Return the sum over processes; each summand's gradient is the gradient of the sum."""
        return x

    def mean(self, x: Tensor) -> Tensor:
        """Return the mean over processes."""
        return self.sum(x) / self.size if self.size > 1 else x

    def add(self, tensors: Sequence[Tensor]) -> None:
        """Replace each tensor by its sum over processes."""

    def least(self, x: Tensor) -> Tensor:
        """Return the minimum over processes, element by element."""
        return x

    def any(self, mask: Tensor) -> Tensor:
        """Return the elementwise "or" over processes."""
        return mask

    def gather(self, x: Tensor) -> Tensor:
        """Stack the tensors of all processes along a new first dimension.

        Their last dimension may differ in size; shorter tensors are padded with -inf.
        """
        return x[None]

    def whole(self, x: Tensor) -> Tensor:
        """Concatenate the parts of all processes, for the first process; other processes get an unusable result."""
        return x

    def first(self, x: Tensor) -> Tensor:
        """Return the first process's tensor."""
        return x


class Processes(NamedTuple):
    """The groups that divide the samples and the latents of a training."""

    samples: Group = Group()
    """The processes that divide each batch (data parallel). Every process holds the whole dictionary."""
    latents: Group = Group()
    """The processes that divide the latents (tensor parallel). Every process holds all samples and the rows of its
    latents."""

    @property
    def all(self) -> Group:
        """The group of all processes."""
        return self.samples if self.samples.size > 1 else self.latents


ALONE = Processes()
_CURRENT = ContextVar("processes", default=ALONE)


def current_processes() -> Processes:
    """Return the processes of the surrounding `together`; outside of one, `ALONE`."""
    return _CURRENT.get()


@contextmanager
def together(processes: Processes) -> Iterator[Processes]:
    """Let these processes train each dictionary of the block together."""
    before = _CURRENT.set(processes)
    try:
        yield processes
    finally:
        _CURRENT.reset(before)
