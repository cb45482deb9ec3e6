"""Read batches in the background while the model trains."""

from collections import deque
from collections.abc import Callable, Generator
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

ReadPairs = Callable[[int], tuple[np.ndarray, np.ndarray]]


class Batch(NamedTuple):
    """The data of one training step."""

    step: int
    """Number of the step, from 0."""
    x_p: Tensor
    """B x n_p on the device."""
    x_r: Tensor
    """B x n_r on the device; the same tensor as ``x_p`` if both were read as one array."""


def read_ahead(
    batches: ReadPairs, first_step: int, steps: int, device: torch.device | str, depth: int = 2
) -> Generator[Batch, None, None]:
    """Yield the batches of steps ``first_step`` to ``steps - 1``, read in one background thread.

    Batches equal the results of direct calls bit for bit; only the time of reading changes. An exception from
    ``batches`` is raised at its step. ``close`` waits until the thread has ended; the store is not read after that.

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
    """
    device = torch.device(device)

    def tensor(x: np.ndarray) -> Tensor:
        # only copies from pinned memory overlap with a GPU's work
        return torch.from_numpy(x).pin_memory() if device.type == "cuda" else torch.from_numpy(x)

    def read(step: int) -> tuple[Tensor, Tensor]:
        x_p, x_r = batches(step)
        first = tensor(x_p)
        return first, first if x_r is x_p else tensor(x_r)

    thread = ThreadPoolExecutor(1, "read-ahead")
    try:
        waiting = deque(thread.submit(read, step) for step in range(first_step, min(first_step + depth, steps)))
        for step in range(first_step, steps):
            x_p, x_r = waiting.popleft().result()
            if step + depth < steps:
                waiting.append(thread.submit(read, step + depth))
            on_device = x_p.to(device, non_blocking=True)
            yield Batch(step, on_device, on_device if x_r is x_p else x_r.to(device, non_blocking=True))
    finally:
        thread.shutdown(cancel_futures=True)
