"""Encode samples to sparse codes, and decode sparse codes, in batches."""

from collections.abc import Iterator

import numpy as np
import scipy.sparse
import torch

from sdlcore.api.codes import SparseCodes, blocks_of, check, rows_of_width
from sdlcore.api.samples import Samples
from sdlcore.model.coder import SparseCoder
from sdlcore.sparse.kernels.choice import kernels_for
from sdlcore.sparse.products import decode_at
from sdlcore.sparse.search import LargestPerSample
from sdlcore.sparse.support import Support


def encoded(coder: SparseCoder, samples: Samples, rows: int) -> SparseCodes:
    """Encode samples to sparse codes, ``rows`` samples at a time and without gradients."""
    k, parts = _most(coder), _rows(coder, samples, rows)
    return _ragged(parts, coder.config.n_q) if k is None else _of_width(parts, samples.shape[0], k, coder.config.n_q)


def _most(coder: SparseCoder) -> int | None:
    """Return the largest number of active latents per sample; None if the activation has no such limit."""
    search = coder.sigma.search()
    return search.k if isinstance(search, LargestPerSample) else None


@torch.no_grad()
def _rows(coder: SparseCoder, samples: Samples, rows: int) -> Iterator[scipy.sparse.csr_array]:
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
    """Decode sparse codes to reconstructions (N x n_r), ``rows`` samples at a time and without gradients."""
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
