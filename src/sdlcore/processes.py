"""The processes that train a dictionary together, each on a part of every batch (data parallel)."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar

from torch import Tensor


class Processes:
    """Processes that train together, each with the whole dictionary. This base class represents a single process.

    `sdlcore.training.distributed` implements several processes. All of them must call each method, in the same order.
    """

    rank = 0
    size = 1

    def counts(self, n: int) -> list[int]:
        """Return a whole number from each process, where this one gives ``n``."""
        return [n]

    def mean(self, x: Tensor) -> Tensor:
        """Return the mean over processes, without gradients."""
        return x

    def sum_in_place(self, tensors: Sequence[Tensor]) -> None:
        """Replace each tensor by its sum over processes."""

    def minimum(self, x: Tensor) -> Tensor:
        """Return the minimum over processes, element by element."""
        return x

    def gather(self, x_N: Tensor) -> Tensor:
        """Return the vectors of all processes (processes x N), padded with -inf to the length of the longest."""
        return x_N[None]

    def first(self, x: Tensor) -> Tensor:
        """Return the first process's tensor."""
        return x


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
