"""Read batches in the background while the model trains."""

from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

Batches = Callable[[int], tuple[np.ndarray, np.ndarray]]


class Batch(NamedTuple):
    """The data of one training step."""

    step: int
    """Number of the step, from 0."""
    x_p: Tensor
    """B x n_p on the device."""
    x_r: Tensor
    """B x n_r on the device; the same tensor as ``x_p`` if both were read as one array."""


class ReadAhead(Iterator[Batch]):
    """Iterator over the batches of steps ``first_step`` to ``steps - 1``, read in one background thread.

    Batches equal the results of direct calls bit for bit; only the time of reading changes. Use it as a context
    manager, or call `close`, which waits until the thread has ended. The store is not read after that.

    Parameters
    ----------
    batches
        Returns x_p and x_r of a step. It is called only in the background thread, step after step.
    first_step, steps
        First step to read, and the step before which to stop.
    device
        Device for the tensors. GPU copies use pinned memory and do not block.
    depth
        Number of batches that may wait to be used, at least 1.

    Notes
    -----
    An exception from ``batches`` is raised by the iteration at that step, with its traceback, and closes the iterator.
    """

    def __init__(
        self, batches: Batches, first_step: int, steps: int, device: torch.device | str, depth: int = 2
    ) -> None:
        self._batches, self._device = batches, torch.device(device)
        self._steps = iter(range(first_step, steps))
        self._thread = ThreadPoolExecutor(1, "read-ahead")
        self._waiting: deque[tuple[int, Future[tuple[Tensor, Tensor]]]] = deque()
        for _ in range(depth):
            self._read_next()

    def __next__(self) -> Batch:
        if not self._waiting:
            self.close()
            raise StopIteration
        step, read = self._waiting.popleft()
        try:
            x_p, x_r = read.result()
        except BaseException as error:
            self.close()
            if isinstance(error, StopIteration):  # would look like the end of the batches
                raise RuntimeError(f"reading the batch of step {step} raised StopIteration") from error
            raise
        self._read_next()
        on_device = x_p.to(self._device, non_blocking=True)
        return Batch(step, on_device, on_device if x_r is x_p else x_r.to(self._device, non_blocking=True))

    def close(self) -> None:
        """End the thread after the batch that it is reading; a second call does nothing."""
        self._waiting.clear()
        self._thread.shutdown(cancel_futures=True)

    def __enter__(self) -> "ReadAhead":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _read_next(self) -> None:
        if (step := next(self._steps, None)) is not None:
            self._waiting.append((step, self._thread.submit(self._read, step)))

    def _read(self, step: int) -> tuple[Tensor, Tensor]:
        x_p, x_r = self._batches(step)
        first = self._tensor(x_p)
        return first, first if x_r is x_p else self._tensor(x_r)

    def _tensor(self, x: np.ndarray) -> Tensor:
        # only copies from pinned memory overlap with a GPU's work
        return torch.from_numpy(x).pin_memory() if self._device.type == "cuda" else torch.from_numpy(x)
