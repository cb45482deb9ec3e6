"""Samples to encode, read in blocks from arrays, tensors, files and stores, and sparse codes of them."""

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import scipy.sparse
import torch
from torch import Tensor

from sdlcore.data.arrays import Activations
from sdlcore.data.conversion import activations, floats, is_pair, is_store
from sdlcore.data.pairs import site_columns
from sdlcore.model.coder import SparseCoder
from sdlcore.settings import Pair


@dataclass(frozen=True)
class Samples:
    """N samples of x_p, with the sites of a crosscoder concatenated."""

    shape: tuple[int, int]
    """N and the width of x_p."""
    read: Callable[[int, int], np.ndarray | Tensor]
    """Returns the rows from ``start`` to before ``stop``."""
    tensors: bool = False
    """Whether ``read`` returns tensors instead of arrays."""
    leading: tuple[int, ...] | None = None
    """Leading dimensions of the input, whose product is N, such as (batch, position); None for one, N."""

    def shaped(self, rows: Any) -> Any:
        """Give an array or tensor with a row per sample the leading dimensions of the input."""
        return rows if self.leading is None else rows.reshape(*self.leading, rows.shape[-1])

    def whole(self) -> np.ndarray | Tensor:
        """Return all samples at once."""
        return self.read(0, self.shape[0])

    def blocks(self, rows: int, like: Tensor) -> Iterator[Tensor]:
        """Yield blocks of ``rows`` samples with the type and device of ``like``; one empty block if there are none.

        ValueError, which names the first row that contains NaN or infinity.
        """
        for start in range(0, max(self.shape[0], 1), rows):
            part = self.read(start, start + rows)
            if isinstance(part, Tensor):
                block = part.detach().to(like)
            else:
                # a copy, since torch warns about read-only arrays, such as those from files
                with np.errstate(over="ignore"):  # numbers too large for float32 become infinite, and are refused below
                    block = torch.from_numpy(np.array(part, dtype=np.float32, order="C")).to(like)
            require_finite(block, start)
            yield block


@contextmanager
def samples_of(x: Any, pair: Pair) -> Iterator[Samples]:
    """Open samples: an array, a tensor, a store, the path of an .npy file or a store, or a list with a site each."""
    if is_store(x) or (is_pair(x) and any(map(is_store, x))):
        with activations(x) as stored:
            yield _of_store(stored, pair)
    else:
        yield beside([numbers(part, "x") for part in (x if is_pair(x) else (x,))])


def _of_store(store: Activations, pair: Pair) -> Samples:
    if pair == "crosscoder" and len(store.widths) < 2:
        raise ValueError(f"{store.path}: contains no target, which a crosscoder needs besides the input")
    widths = store.widths if pair == "crosscoder" else store.widths[:1]
    columns = site_columns(len(widths))

    def read(start: int, stop: int) -> np.ndarray:
        return np.concatenate([store.read(column, start, stop) for column in columns], axis=1)

    return Samples((store.rows, sum(widths)), read)


def beside(parts: Sequence[np.ndarray | Tensor]) -> Samples:
    """Concatenate sites of the same samples, each an array or a tensor with any number of leading dimensions."""
    if not parts:
        raise ValueError("x is an empty list, expected an array, a tensor or a path, or a list with one for each site")
    tensors = sum(isinstance(part, Tensor) for part in parts)
    if tensors not in (0, len(parts)):
        raise ValueError("one site of x is a tensor and another is not; give both as tensors or both as arrays")
    leading = tuple(parts[0].shape[:-1])
    if any(part.ndim < 1 or tuple(part.shape[:-1]) != leading for part in parts):
        shapes = " and ".join(str(tuple(part.shape)) for part in parts)
        if len(parts) == 1:
            raise ValueError(f"x is a single number of shape {shapes}, expected dimensions in its last axis")
        raise ValueError(f"the sites of x have shapes {shapes}, expected the same shape up to the last dimension")
    rows = [part if part.ndim == 2 else _flat(part) for part in parts]

    def read(start: int, stop: int) -> Any:
        sites: list[Any] = [part[start:stop] for part in rows]
        if len(sites) == 1:
            return sites[0]
        return torch.cat(sites, dim=1) if tensors else np.concatenate(sites, axis=1)

    shape = math.prod(leading), sum(part.shape[-1] for part in parts)
    return Samples(shape, read, bool(tensors), None if len(leading) == 1 else leading)


def _flat(values: Any) -> Any:
    """Return rows of the last dimension; an .npy file of other than two dimensions is read as a whole."""
    values = values if isinstance(values, Tensor) else np.asarray(values)
    return values.reshape(math.prod(values.shape[:-1]), values.shape[-1])


def numbers(values: Any, name: str) -> Any:
    """Check samples; return a tensor unchanged, and anything else as an array. ValueError if not floating-point."""
    if not isinstance(values, Tensor):
        return floats(values, name)
    if not values.is_floating_point():
        raise ValueError(f"{name} is {values.dtype}, expected floating-point numbers; convert it by {name}.float()")
    return values


def require_finite(samples: Tensor, start: int = 0) -> None:
    """Raise `ValueError` naming the first row with NaN or infinity; rows are counted from ``start``."""
    if math.isfinite(samples.detach().sum()):  # one pass without a mask; the sum of finite numbers may still overflow
        return
    finite = samples.detach().isfinite().all(dim=1)
    if not finite.all():
        row = start + int(finite.int().argmin())
        raise ValueError(f"row {row} contains NaN, infinity or a number too large for float32; leave such rows out")


@torch.no_grad()
def encode_sparse(coder: SparseCoder, samples: Samples, rows: int) -> scipy.sparse.csr_array:
    """Return the active latents of N samples (N x n_q), encoded ``rows`` samples at a time and without gradients."""
    blocks = [coder.encode_csr(block) for block in samples.blocks(rows, coder.W_enc)]
    return scipy.sparse.csr_array(scipy.sparse.vstack(blocks, format="csr"))


def decode_sparse(coder: SparseCoder, codes: scipy.sparse.csr_array) -> np.ndarray:
    """Decode sparse codes (N x n_q) to reconstructions (N x n_r), without gradients.

    The codes are checked, since scipy would read beyond the weights at latents that do not exist.
    """
    if codes.shape[1] != coder.config.n_q:
        raise ValueError(f"codes have {codes.shape[1]} latents, but the dictionary has {coder.config.n_q}")
    codes.check_format(full_check=True)
    if not np.isfinite(codes.data).all():
        raise ValueError("codes contain NaN or infinity; leave such samples out")
    W_dec, b_dec = (weights.numpy(force=True) for weights in (coder.W_dec, coder.b_dec))
    return np.asarray(codes.astype(W_dec.dtype) @ W_dec + b_dec)
