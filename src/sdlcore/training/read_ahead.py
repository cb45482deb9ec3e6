"""Read batches in the background while the model trains."""

import threading
from collections.abc import Callable, Iterator
from queue import SimpleQueue
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

Batches = Callable[[int], tuple[np.ndarray, np.ndarray]]


class NoMoreBatchesError(Exception):
    """Raised by a source of batches that can be read only once, at its end."""


class Batch(NamedTuple):
    """What one step trains on."""

    step: int
    """Which step, counted from 0."""
    x_p: Tensor
    """B x n_p on the device."""
    x_r: Tensor
    """B x n_r on the device; the same tensor as ``x_p`` where the arrays read are the same."""


class ReadAhead(Iterator[Batch]):
    """Iterator over the batches of steps ``first_step`` to ``steps - 1``, read in one background thread.

    The batches are those that direct calls would give, bit for bit: only the time of reading changes. Use as a context
    manager, or `close` it: once closed, the thread has ended and nothing touches the store any more.

    Parameters
    ----------
    batches
        Gives x_p and x_r of a step. It is called in the background thread only, for one step after the other.
    first_step, steps
        Where to begin, and before which step to end.
    device
        Where tensors go. To a GPU they are copied from pinned memory, without waiting for the copy.
    depth
        Batches that may wait to be used, at least 1.

    Raises
    ------
    ValueError
        If ``depth`` is less than 1.

    Notes
    -----
    What ``batches`` raises is raised by the iteration, at the step where it happened and with its traceback; the
    iteration is then closed. After `NoMoreBatchesError` it ends, as it does after the last step.
    """

    def __init__(
        self, batches: Batches, first_step: int, steps: int, device: torch.device | str, depth: int = 2
    ) -> None:
        if depth < 1:
            raise ValueError(f"depth of reading ahead must be at least 1, found {depth}")
        self._device = torch.device(device)
        self._steps = iter(range(first_step, steps))
        self._room = threading.Semaphore(depth)
        self._stop = threading.Event()
        self._read: SimpleQueue[tuple[Tensor, Tensor] | BaseException] = SimpleQueue()
        # a function, not a method: the thread must not keep alive an iterator that nobody else uses
        self._thread = threading.Thread(
            target=_read,
            args=(batches, range(first_step, steps), self._device.type == "cuda", self._room, self._stop, self._read),
            name="read-ahead",
            daemon=True,
        )
        self._thread.start()

    def __next__(self) -> Batch:
        if self._stop.is_set():
            raise StopIteration
        step = next(self._steps, None)
        if step is None:
            self.close()
            raise StopIteration
        found = self._read.get()
        self._room.release()
        if isinstance(found, BaseException):
            self.close()
            if isinstance(found, NoMoreBatchesError):
                raise StopIteration
            if isinstance(found, StopIteration):  # which would look like the end of the batches
                raise RuntimeError(f"reading the batch of step {step} raised StopIteration") from found
            raise found
        x_p, x_r = found
        on_device = x_p.to(self._device, non_blocking=True)
        return Batch(step, on_device, on_device if x_r is x_p else x_r.to(self._device, non_blocking=True))

    def close(self) -> None:
        """End the thread, after the batch that it is just reading; calling it again does nothing."""
        self._stop.set()
        self._room.release()
        # the garbage collector may run in any thread, and a thread cannot wait for itself
        if threading.current_thread() is not self._thread:
            self._thread.join()

    def __enter__(self) -> "ReadAhead":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __del__(self) -> None:
        if hasattr(self, "_thread"):
            self.close()


def _read(
    batches: Batches,
    steps: range,
    pin: bool,
    room: threading.Semaphore,
    stop: threading.Event,
    read: SimpleQueue,
) -> None:
    def tensor(x: np.ndarray) -> Tensor:
        # only from pinned memory does a copy to a GPU go on beside its work
        return torch.from_numpy(x).pin_memory() if pin else torch.from_numpy(x)

    for step in steps:
        room.acquire()
        if stop.is_set():
            return
        try:
            x_p, x_r = batches(step)
            first = tensor(x_p)
            read.put((first, first if x_r is x_p else tensor(x_r)))
        except BaseException as error:
            read.put(error)
            return
