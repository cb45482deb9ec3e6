"""Sparse codes as `scipy.sparse.csr_array`: the active latents of each sample, without the dense N x n_q matrix."""

from collections.abc import Iterator

import numpy as np
import scipy.sparse
import torch

from sdlcore.api.samples import Samples
from sdlcore.model.coder import SparseCoder
from sdlcore.sparse.kernels.choice import kernels_for
from sdlcore.sparse.products import decode_at
from sdlcore.sparse.support import Support


@torch.no_grad()
def encode_sparse(coder: SparseCoder, samples: Samples, rows: int) -> scipy.sparse.csr_array:
    """Return the active latents of N samples (N x n_q), encoded ``rows`` samples at a time and without gradients.

    Offsets are 64-bit integers from 2^31 active latents on, and 32-bit integers below.
    """
    blocks = [coder.encode_csr(block) for block in samples.blocks(rows, coder.W_enc)]
    counts = np.concatenate([np.diff(block.indptr) for block in blocks])
    columns, values = [block.indices for block in blocks], [block.data for block in blocks]
    blocks.clear()
    indices = np.concatenate(columns)
    columns.clear()  # freed before values are joined, since the parts take as much memory as the result
    offsets = np.concatenate([[0], np.cumsum(counts, dtype=np.int64)])
    # scipy would widen the indices to match 64-bit offsets
    offsets = offsets.astype(np.int32) if offsets[-1] < 2**31 else offsets
    return scipy.sparse.csr_array((np.concatenate(values), indices, offsets), shape=(len(counts), coder.config.n_q))


@torch.no_grad()
def decode_sparse(coder: SparseCoder, codes: scipy.sparse.csr_array, rows: int) -> np.ndarray:
    """Decode sparse codes (N x n_q) to reconstructions (N x n_r), ``rows`` samples at a time and without gradients.

    Raises
    ------
    ValueError
        If the codes have another number of latents than the dictionary, contain NaN or infinity, or name latents that
        do not exist, beyond which kernels would read.
    """
    if codes.shape[1] != coder.config.n_q:
        raise ValueError(f"codes have {codes.shape[1]} latents, but the dictionary has {coder.config.n_q}")
    codes.check_format(full_check=True)
    if not np.isfinite(codes.data).all():
        raise ValueError("codes contain NaN or infinity; leave such samples out")
    weights = coder.W_dec
    kernels, parts = kernels_for(weights.device), [np.empty((0, weights.shape[1]), np.float32)]
    for block in _blocks(codes, rows):
        offsets, columns = (torch.from_numpy(part).to(weights.device) for part in (block.indptr, block.indices))
        support = Support(offsets.long(), columns.int(), coder.config.n_q, kernels)
        values = torch.from_numpy(block.data).to(weights)
        parts.append((decode_at(values, support, weights).rows.squeeze(1) + coder.b_dec).cpu().numpy())
    return np.concatenate(parts[1:] or parts)


def _blocks(codes: scipy.sparse.csr_array, rows: int) -> Iterator[scipy.sparse.csr_array]:
    return (codes[start : start + rows] for start in range(0, codes.shape[0], rows))
