"""Samples to encode, read in blocks from arrays, tensors, files and stores, and sparse codes of them."""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import numpy as np
import scipy.sparse
import torch
from torch import Tensor

from sdlcore.data.arrays import Activations, Arrays
from sdlcore.data.conversion import activations, floats, is_pair, is_store
from sdlcore.data.pairs import site_columns
from sdlcore.model.coder import SparseCoder
from sdlcore.settings import Pair

ROWS_AT_ONCE = 1024


class SiteSamples(NamedTuple):
    """Samples of x_p (N x width), whose sites are concatenated."""

    leading: tuple[int, ...]
    """Leading dimensions of the input, such as (batch, position). Their product is the number of samples, N."""
    stored: Activations
    columns: tuple[str, ...]
    """The sites to concatenate."""

    @property
    def shape(self) -> tuple[int, ...]:
        """The leading dimensions and the width of x_p."""
        return *self.leading, sum(self.stored.widths[: len(self.columns)])

    def blocks(self, like: Tensor) -> Iterator[Tensor]:
        """Yield blocks of samples with the type and device of ``like``; one empty block if there are no samples."""
        for start in range(0, max(self.stored.rows, 1), ROWS_AT_ONCE):
            sites = [self.stored.read(column, start, start + ROWS_AT_ONCE) for column in self.columns]
            yield torch.from_numpy(np.concatenate(sites, axis=1)).to(like)


@contextmanager
def samples_of(x: Any, pair: Pair, name: str = "x") -> Iterator[SiteSamples]:
    """Open samples: an array, a tensor, a store, the path of an .npy file or a store, or a list with a site each.

    Arrays, tensors and .npy files have any leading dimensions. ValueError for other than finite floating-point numbers;
    ``name`` is the argument's name in the message.
    """
    parts = [*x] if is_pair(x) and x else [x]
    if any(map(is_store, parts)):
        with activations(x) as store:
            yield SiteSamples((store.rows,), store, site_columns(len(store.widths) if pair == "crosscoder" else 1))
        return
    sites = [np.atleast_1d(floats(part, name)) for part in parts]
    leading = sites[0].shape[:-1]
    rows = [site.reshape(math.prod(site.shape[:-1]), site.shape[-1]) for site in sites]
    names = [f"{name}[{site}]" for site in range(len(rows))] if is_pair(x) else [name]
    yield SiteSamples(leading, Arrays(*rows, names=names), site_columns(len(rows)))


def require_width(shape: tuple[int, ...], width: int) -> None:
    """Raise `ValueError` if samples of this shape have another width."""
    if shape[-1:] != (width,):
        raise ValueError(f"expected {width} numbers in the last dimension, found {' x '.join(map(str, shape))}")


def require_finite(samples: Tensor) -> None:
    """Raise `ValueError` naming the first row (of B x width) with NaN or infinity."""
    finite = samples.detach().isfinite().all(dim=1)
    if not finite.all():
        row = int(finite.int().argmin())
        raise ValueError(f"row {row} contains NaN, infinity or a number too large for float32; leave such rows out")


@torch.no_grad()
def encode_sparse(coder: SparseCoder, samples: SiteSamples) -> scipy.sparse.csr_array:
    """Return the active latents of N samples (N x n_q), encoded block by block and without gradients."""
    blocks = [coder.encode_csr(block) for block in samples.blocks(coder.W_enc)]
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
