"""Samples that a dictionary encodes: arrays, tensors, files and stores, read a block at a time."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from sdlcore.api.inputs import check_tensor, float_rows, is_pair, is_store
from sdlcore.data.reading import ActivationStore, open_checked
from sdlcore.settings import Pair
from sdlcore.storage.paths import user_path


@dataclass(frozen=True)
class Samples:
    """N samples of x_p, the sites of a crosscoder one beside the other."""

    shape: tuple[int, ...]
    """N and the width of x_p."""
    read: Callable[[int, int], np.ndarray | Tensor]
    """Returns the rows from the first number to the one before the second."""
    tensors: bool = False
    """Whether tensors are read."""

    def whole(self) -> np.ndarray | Tensor:
        """Return all samples at once."""
        return self.read(0, self.shape[0])

    def blocks(self, rows: int, like: Tensor) -> Iterator[Tensor]:
        """Yield ``rows`` samples at a time, of the type of a tensor and where that is; one empty block of no samples.

        Raises
        ------
        ValueError
            Naming the first row that holds NaN or infinity.
        """
        for start in range(0, max(self.shape[0], 1), rows):
            part = self.read(start, start + rows)
            if isinstance(part, Tensor):
                block = part.detach().to(like)
            else:
                # a copy, since torch warns of arrays that are read-only, such as files
                with np.errstate(over="ignore"):  # too large for float32: refused as infinite
                    block = torch.from_numpy(np.array(part, dtype=np.float32, order="C")).to(like)
            require_finite(block, start)
            yield block


@contextmanager
def samples_of(x: Any, pair: Pair) -> Iterator[Samples]:
    """Give the samples in an array, a tensor, a store, a path of an .npy file or a store, or a list with each site's.

    Raises
    ------
    ValueError
        If x is none of these, or its sites do not fit each other.
    """
    if is_store(x):
        with nullcontext(x) if isinstance(x, ActivationStore) else open_checked(user_path(x, "x")) as store:
            yield _of_store(store, pair)
    else:
        yield beside([numbers(part, "x") for part in (x if is_pair(x) else (x,))])


def _of_store(store: ActivationStore, pair: Pair) -> Samples:
    columns = ("input", "target") if pair == "crosscoder" else ("input",)  # a transcoder reads its input alone
    if pair == "crosscoder" and store.n_r is None:
        raise ValueError(f"{store.path}: holds no target, which a crosscoder reads beside the input")

    def read(start: int, stop: int) -> np.ndarray:
        return np.concatenate([store.read(column, start, stop) for column in columns], axis=1)

    return Samples((store.rows, store.n_p + (store.n_r or 0) * (len(columns) - 1)), read)


def beside(parts: Sequence[np.ndarray | Tensor]) -> Samples:
    """Return sites of the same samples as one."""
    if not parts:
        raise ValueError("x is an empty list, expected an array, a tensor or a path, or a list with each site's")
    tensors = sum(isinstance(part, Tensor) for part in parts)
    if tensors not in (0, len(parts)):
        raise ValueError("x has a site that is a tensor and one that is not; give both in one kind")
    if len(parts) == 1:
        (only,) = parts
        return Samples(tuple(only.shape), lambda start, stop: only[start:stop], bool(tensors))
    if any(part.ndim != 2 or len(part) != len(parts[0]) for part in parts):
        shapes = " and ".join(str(tuple(part.shape)) for part in parts)
        raise ValueError(f"the sites of x have shapes {shapes}, expected matrices of as many samples each")

    def read(start: int, stop: int) -> Any:
        sites: list[Any] = [part[start:stop] for part in parts]
        return torch.cat(sites, dim=1) if tensors else np.concatenate(sites, axis=1)

    return Samples((len(parts[0]), sum(part.shape[1] for part in parts)), read, bool(tensors))


def numbers(values: Any, name: str) -> Any:
    """Return a tensor as it is, anything else as an array; ValueError if it holds no floating-point numbers."""
    if not isinstance(values, Tensor):
        return float_rows(values, name)
    check_tensor(values, name)
    return values


def require_finite(samples: Tensor, start: int = 0) -> None:
    """Raise `ValueError` naming the first row with NaN or infinity; rows are counted from ``start``."""
    finite = samples.detach().isfinite().all(dim=1)
    if not finite.all():
        row = start + int(finite.int().argmin())
        raise ValueError(f"row {row} holds NaN, infinity or more than float32 can hold; leave such rows out")
