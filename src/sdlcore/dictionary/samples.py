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
    """Samples of x_p, with the sites of a crosscoder concatenated."""

    leading: tuple[int, ...]
    """Leading dimensions of the input, such as (batch, position). Their product is the number of samples, N."""
    width: int
    """Width of x_p."""
    read: Callable[[int, int], np.ndarray | Tensor]
    """Returns the rows from ``start`` to before ``stop`` of N x width."""
    tensors: bool = False
    """Whether ``read`` returns tensors instead of arrays."""

    @property
    def shape(self) -> tuple[int, int]:
        """N and the width."""
        return math.prod(self.leading), self.width

    def check_width(self, width: int) -> None:
        """Raise `ValueError` if the samples have another width."""
        if self.width != width:
            shape = " x ".join(map(str, (*self.leading, self.width)))
            raise ValueError(f"expected {width} numbers in the last dimension, found {shape}")

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
    parts = [*x] if is_pair(x) else [x]
    if any(map(is_store, parts)):
        with activations(x) as stored:
            yield _of_store(stored, pair)
    else:
        yield join_sites(parts)


def _of_store(store: Activations, pair: Pair) -> Samples:
    if pair == "crosscoder" and len(store.widths) < 2:
        raise ValueError(f"{store.path}: contains no target, which a crosscoder needs besides the input")
    widths = store.widths if pair == "crosscoder" else store.widths[:1]
    columns = site_columns(len(widths))

    def read(start: int, stop: int) -> np.ndarray:
        return np.concatenate([store.read(column, start, stop) for column in columns], axis=1)

    return Samples((store.rows,), sum(widths), read)


def join_sites(parts: Sequence[Any], name: str = "x") -> Samples:
    """Concatenate sites of the same samples, each an array, an .npy file or a tensor with any leading dimensions.

    A file of other than two dimensions is read as a whole. ValueError for other than floating-point numbers.
    """
    tensors = all(isinstance(part, Tensor) and part.is_floating_point() for part in parts)
    sites: list[Any] = [part if tensors else floats(part, name) for part in parts]
    if not sites or not all(site.ndim for site in sites):
        raise ValueError(
            f"{name} is an empty list or a single number, expected an array, or a list with one for each site"
        )
    leading = tuple(sites[0].shape[:-1])
    if any(tuple(site.shape[:-1]) != leading for site in sites):
        shapes = " and ".join(str(tuple(site.shape)) for site in sites)
        raise ValueError(f"the sites of {name} have shapes {shapes}, expected the same shape up to the last dimension")
    rows = [site.reshape(math.prod(leading), site.shape[-1]) for site in sites]

    def read(start: int, stop: int) -> Any:
        blocks = [site[start:stop] for site in rows]
        if len(blocks) == 1:
            return blocks[0]
        return torch.cat(blocks, dim=1) if tensors else np.concatenate(blocks, axis=1)

    return Samples(leading, sum(site.shape[-1] for site in sites), read, tensors)


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
