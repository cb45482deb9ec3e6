"""Read batches in the background while the model trains."""

import threading
from collections.abc import Callable, Iterator
from queue import SimpleQueue
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
        self._room = threading.Semaphore(depth)
        self._stop = threading.Event()
        self._read: SimpleQueue[tuple[Tensor, Tensor] | BaseException] = SimpleQueue()
        self._thread = threading.Thread(
            target=self._fill, args=(range(first_step, steps),), name="read-ahead", daemon=True
        )
        self._thread.start()

    def __next__(self) -> Batch:
        if self._stop.is_set():
            raise StopIteration
        step = next(self._steps, None)
        if step is None:
            self.close()
            raise StopIteration
        batch = self._read.get()
        self._room.release()
        if isinstance(batch, BaseException):
            self.close()
            if isinstance(batch, StopIteration):  # would look like the end of the batches
                raise RuntimeError(f"reading the batch of step {step} raised StopIteration") from batch
            raise batch
        x_p, x_r = batch
        on_device = x_p.to(self._device, non_blocking=True)
        return Batch(step, on_device, on_device if x_r is x_p else x_r.to(self._device, non_blocking=True))

    def close(self) -> None:
        """End the thread after the batch that it is reading; a second call does nothing."""
        self._stop.set()
        self._room.release()
        self._thread.join()

    def __enter__(self) -> "ReadAhead":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _fill(self, steps: range) -> None:
        for step in steps:
            self._room.acquire()
            if self._stop.is_set():
                return
            try:
                x_p, x_r = self._batches(step)
                first = self._tensor(x_p)
                self._read.put((first, first if x_r is x_p else self._tensor(x_r)))
            except BaseException as error:
                self._read.put(error)
                return

    def _tensor(self, x: np.ndarray) -> Tensor:
        # only copies from pinned memory overlap with a GPU's work
        return torch.from_numpy(x).pin_memory() if self._device.type == "cuda" else torch.from_numpy(x)
