"""Sparse codes: the active latents of each sample, without the dense N x n_q matrix; their encoding and decoding."""

from collections.abc import Iterator
from dataclasses import dataclass
from numbers import Integral
from typing import Any, NamedTuple, Self

import numpy as np
import scipy.sparse
import torch

from sdlcore.api.samples import Samples
from sdlcore.model.coder import SparseCoder
from sdlcore.sparse.kernels.choice import kernels_for
from sdlcore.sparse.products import decode_at
from sdlcore.sparse.search import LargestPerSample
from sdlcore.sparse.support import Support


class Row(NamedTuple):
    """The active latents of one sample, in ascending order, and their values."""

    indices: np.ndarray
    values: np.ndarray


@dataclass(frozen=True, eq=False, repr=False)
class SparseCodes:
    """The active latents of N samples and their values, as `Dictionary.encode(x, sparse=True)` returns them.

    TopK keeps at most k latents per sample, so ``indices`` and ``values`` are N x k matrices. If fewer than k latents
    are active, the remaining entries have value 0 and arbitrary inactive latents. With other activations the number of
    active latents varies: ``indices`` and ``values`` are then flat, as in `scipy.sparse.csr_array`, and sample i has
    the entries ``indptr[i]`` to ``indptr[i + 1]``.

    ``codes[i]`` returns the active latents of sample i and their values. A slice, an array of rows or a mask returns
    the codes of these rows.

    Parameters
    ----------
    indices
        Indices of latents, ascending within each sample: N x k, or flat; int32.
    values
        Values of these latents, of the same shape; float32, unless the dictionary has weights of another type.
    n_q
        Number of latents of the dictionary.
    indptr
        Offsets of the samples (N + 1, int64) if indices and values are flat; None if they are N x k.

    Raises
    ------
    ValueError
        If shapes or types are inconsistent, a latent is out of range, or a value is NaN or infinite.
    """

    indices: np.ndarray
    values: np.ndarray
    n_q: int
    indptr: np.ndarray | None = None

    def __post_init__(self) -> None:
        check(self)

    @classmethod
    def from_csr(cls, matrix: Any) -> Self:
        """Convert an N x n_q scipy.sparse matrix, such as `scipy.sparse.load_npz` reads, to codes."""
        rows = scipy.sparse.csr_array(matrix, copy=True)
        rows.sum_duplicates()
        return cls(rows.indices.astype(np.int32), rows.data, rows.shape[1], rows.indptr.astype(np.int64))

    @property
    def shape(self) -> tuple[int, int]:
        """N and n_q."""
        return len(self), self.n_q

    def __len__(self) -> int:
        return len(self.indices) if self.indptr is None else len(self.indptr) - 1

    def __getitem__(self, rows: Any) -> Any:
        """Return the active latents of one sample as a `Row`, or the codes of several samples."""
        if isinstance(rows, Integral):
            row = range(len(self))[int(rows)]
            indices, values = (part[self._span(row, row + 1)].ravel() for part in (self.indices, self.values))
            active = values != 0
            return Row(indices[active], values[active])
        if self.indptr is None:
            return type(self)(self.indices[rows], self.values[rows], self.n_q)
        chosen = np.arange(len(self))[rows]
        counts = np.diff(self.indptr)[chosen]
        indptr = np.concatenate([[0], np.cumsum(counts)])
        places = np.arange(indptr[-1]) + np.repeat(self.indptr[chosen] - indptr[:-1], counts)
        return type(self)(self.indices[places], self.values[places], self.n_q, indptr)

    def __iter__(self) -> Iterator[Row]:
        return (self[row] for row in range(len(self)))

    def to_csr(self) -> scipy.sparse.csr_array:
        """Return an N x n_q sparse matrix of the nonzero values, which shares no memory with these codes."""
        active = self.values != 0
        if self.indptr is None:
            indptr = np.concatenate([[0], np.cumsum(active.sum(axis=1))])
        else:
            indptr = np.concatenate([[0], np.cumsum(active)])[self.indptr]
        # with 64-bit offsets, scipy would also widen the indices
        indptr = indptr.astype(np.int32 if indptr[-1] < 2**31 else np.int64)
        return scipy.sparse.csr_array((self.values[active], self.indices[active], indptr), shape=self.shape)

    def to_dense(self) -> np.ndarray:
        """Return the dense N x n_q latents, as `Dictionary.encode(x)` does."""
        return np.asarray(self.to_csr().toarray())

    def _span(self, start: int, stop: int) -> slice:
        return slice(start, stop) if self.indptr is None else slice(self.indptr[start], self.indptr[stop])

    def __repr__(self) -> str:
        """Return the number of samples and latents on one line."""
        width = f"k={self.indices.shape[1]}" if self.indptr is None else f"{len(self.indices)} active"
        return f"SparseCodes({len(self)} x {self.n_q}, {width})"


def check(codes: SparseCodes) -> None:
    """Raise ValueError if arrays are no valid codes; decoding kernels would read beyond the dictionary."""
    indices, values, indptr = codes.indices, codes.values, codes.indptr
    if indices.shape != values.shape or indices.ndim != (2 if indptr is None else 1):
        expected = "N x k each" if indptr is None else "flat arrays of the same length, since indptr is given"
        raise ValueError(f"indices and values have shapes {indices.shape} and {values.shape}, expected {expected}")
    if indices.dtype.kind not in "iu" or values.dtype.kind != "f":
        raise ValueError(f"indices are {indices.dtype} and values {values.dtype}, expected integers and floats")
    if indptr is not None and not _ascends(indptr, len(indices)):
        raise ValueError(f"indptr must be whole numbers that ascend from 0 to {len(indices)}, the number of entries")
    if indices.size and not 0 <= indices.min() <= indices.max() < codes.n_q:
        raise ValueError(f"indices are {indices.min()} to {indices.max()}, expected latents 0 to {codes.n_q - 1}")
    if not np.isfinite(values).all():
        raise ValueError("values contain NaN or infinity; leave such samples out")


def _ascends(indptr: np.ndarray, last: int) -> bool:
    if indptr.ndim != 1 or not len(indptr) or indptr.dtype.kind not in "iu":
        return False
    return bool(indptr[0] == 0 and indptr[-1] == last and (indptr[1:] >= indptr[:-1]).all())


def blocks_of(codes: SparseCodes, rows: int) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """Yield offsets, indices and values of ``rows`` samples at a time, as compressed sparse rows."""
    for start in range(0, len(codes), rows):
        part = codes[start : start + rows]
        offsets = part.indptr
        if offsets is None:
            offsets = np.arange(len(part) + 1) * part.indices.shape[1]
        yield offsets, part.indices.ravel(), part.values.ravel()


def rows_of_width(
    offsets: np.ndarray, columns: np.ndarray, values: np.ndarray, k: int
) -> tuple[np.ndarray, np.ndarray]:
    """Convert compressed sparse rows of at most k <= n_q entries to B x k indices and values.

    Shorter rows are filled with zeros at the first latents that they do not contain. So no latent occurs twice in a
    row, and scattering the values into a dense matrix gives the latents.
    """
    counts = np.diff(offsets)
    entry_mask = np.arange(k) < counts[:, None]
    if entry_mask.all():
        return columns.reshape(-1, k), values.reshape(-1, k)
    indices, padded = np.zeros(entry_mask.shape, columns.dtype), np.zeros(entry_mask.shape, values.dtype)
    indices[entry_mask], padded[entry_mask] = columns, values
    short = np.flatnonzero(counts < k)
    # a row with c entries contains at most c of the first k latents, so at least k - c are free
    filled, entry_mask = indices[short], entry_mask[short]
    row, place = np.nonzero(entry_mask & (filled < k))
    used_mask = np.zeros(filled.shape, dtype=bool)
    used_mask[row, filled[row, place]] = True
    free = np.argsort(used_mask, axis=1, kind="stable")
    filled[~entry_mask] = free[np.arange(k) < (k - counts[short])[:, None]]
    order = np.argsort(filled, axis=1)
    indices[short] = np.take_along_axis(filled, order, axis=1)
    padded[short] = np.take_along_axis(padded[short], order, axis=1)
    return indices, padded


def encoded(coder: SparseCoder, samples: Samples, rows: int) -> SparseCodes:
    """Encode samples to sparse codes, ``rows`` samples at a time and without gradients."""
    k, parts = _largest_width(coder), _encoded_blocks(coder, samples, rows)
    return _ragged(parts, coder.config.n_q) if k is None else _of_width(parts, samples.shape[0], k, coder.config.n_q)


def _largest_width(coder: SparseCoder) -> int | None:
    """Return the largest number of active latents per sample; None if the activation has no such limit."""
    search = coder.sigma.search()
    return search.k if isinstance(search, LargestPerSample) else None


@torch.no_grad()
def _encoded_blocks(coder: SparseCoder, samples: Samples, rows: int) -> Iterator[scipy.sparse.csr_array]:
    for block in samples.blocks(rows, coder.W_enc):
        yield coder(block).csr()


def _ragged(batches: Iterator[scipy.sparse.csr_array], n_q: int) -> SparseCodes:
    parts = [(np.diff(rows.indptr), rows.indices, rows.data) for rows in batches]
    counts, columns, values = (list(column) for column in zip(*parts, strict=True))
    parts.clear()
    indices = np.concatenate(columns)
    columns.clear()  # freed before values are joined, since the parts take as much memory as the result
    indptr = np.concatenate([[0], np.cumsum(np.concatenate(counts), dtype=np.int64)])
    return SparseCodes(indices, np.concatenate(values), n_q, indptr)


def _of_width(batches: Iterator[scipy.sparse.csr_array], n_samples: int, k: int, n_q: int) -> SparseCodes:
    indices, values, start = np.empty((n_samples, k), np.int32), np.empty((0, k), np.float32), 0
    for rows in batches:
        if not start:
            values = np.empty((n_samples, k), rows.dtype)
        part = slice(start, start + rows.shape[0])
        indices[part], values[part] = rows_of_width(rows.indptr, rows.indices, rows.data, k)
        start = part.stop
    return SparseCodes(indices, values, n_q)


@torch.no_grad()
def decoded(coder: SparseCoder, codes: SparseCodes, rows: int) -> np.ndarray:
    """Decode sparse codes to reconstructions (N x n_r), ``rows`` samples at a time and without gradients.

    ValueError if they have another number of latents than the dictionary, or are invalid (`check`).
    """
    if codes.n_q != coder.config.n_q:
        raise ValueError(f"codes have {codes.n_q} latents, but the dictionary has {coder.config.n_q}")
    check(codes)  # checked again, since the arrays may have been changed
    weights = coder.W_dec
    kernels, out = kernels_for(weights.device), []
    for offsets, indices, values in blocks_of(codes, rows):
        starts, columns = (torch.from_numpy(part).to(weights.device) for part in (offsets, indices.astype(np.int32)))
        support = Support(starts, columns, coder.config.n_q, kernels)
        reconstruction = decode_at(torch.from_numpy(values).to(weights), support, weights).rows.squeeze(1) + coder.b_dec
        out.append(reconstruction.cpu().numpy())
    return np.concatenate(out) if out else np.empty((0, weights.shape[1]), np.float32)
