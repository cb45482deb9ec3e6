"""Measure the scaling of a training's activations: centre and scale them, or whiten them."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from sdlcore.data.arrays import ROWS_AT_ONCE, Readable
from sdlcore.data.pairs import reads_and_writes, site_column
from sdlcore.model.coder import SparseCoder
from sdlcore.model.scaling import Scaling, mean_and_scale

RIDGE = 1e-3
"""Share of the mean variance that whitening adds to every direction's variance. Without it, directions that contain
only rounding errors would weigh as much as any other."""

EQUAL_NORMS = 0.01
"""Rows whose norms differ by less than this share count as equally long."""


@torch.no_grad()
def with_latents_of(scaling: Scaling, start: SparseCoder) -> Scaling:
    """Return the scaling for a training that starts from a dictionary of raw activations.

    If its decoder rows are equally long, as after a search for codes, their length does not show the unit of the
    activations. They then get a mean norm of 1 in training, so that the result is the same in every unit.
    """
    W_enc, W_dec = start.W_enc.float().cpu(), start.W_dec.float().cpu()
    norms_Q = W_dec.double().norm(dim=1)
    is_row = norms_Q > 0
    if not is_row.any() or norms_Q[is_row].max() > (1 + EQUAL_NORMS) * norms_Q[is_row].min():
        return scaling
    _, rows_QR = scaling.rows(W_enc, W_dec)
    return scaling._replace(latent_scale=rows_QR[is_row].double().norm(dim=1).mean().float())


def fit_normalisation(store: Readable, pair: str) -> Scaling:
    """Return the normalisation that gives each site of a pair zero mean and a mean norm of sqrt(dimension)."""
    return _of_pair(store, pair, _scale)


def fit_whitening(store: Readable, pair: str) -> Scaling:
    """Return the whitening of a pair. Sites of a crosscoder are whitened separately."""
    return _of_pair(store, pair, _whiten)


def _of_pair(store: Readable, pair: str, measure: Callable[[Readable, str], tuple[Tensor, ...]]) -> Scaling:
    """Return the scaling of x_p and x_r, from the statistics of their sites. The scale of latents is 1."""
    reads, writes = reads_and_writes(pair, len(store.widths))
    statistics = {site: measure(store, site_column(site)) for site in sorted({*reads, *writes})}

    def beside(sites: Sequence[int]) -> list[Tensor]:
        parts = zip(*(statistics[site] for site in sites), strict=True)
        return [torch.cat(p) if p[0].ndim == 1 else torch.block_diag(*p) for p in parts]

    x_p = beside(reads)
    mean_p, scale_p, *root_p = x_p
    mean_r, scale_r, *root_r = x_p if writes == reads else beside(writes)
    return Scaling(mean_p, scale_p, mean_r, scale_r, torch.ones(()), *root_p, *root_r)


def _scale(store: Readable, column: str) -> tuple[Tensor, Tensor]:
    """Return the mean and the scale of a column."""
    starts = range(0, store.rows, ROWS_AT_ONCE)
    return mean_and_scale(lambda: (_read(store, column, start) for start in starts), store.rows)


def _whiten(store: Readable, column: str) -> tuple[Tensor, Tensor, Tensor]:
    """Return the mean, Sigma^-1/2 and Sigma^1/2 of a column."""
    total, products = torch.zeros(()), torch.zeros(())
    for start in range(0, store.rows, ROWS_AT_ONCE):
        x = _read(store, column, start)
        total, products = total + x.sum(0), products + x.T @ x
    mean = total / store.rows
    values, vectors = torch.linalg.eigh(products / store.rows - torch.outer(mean, mean))
    values = values.clamp(min=0)
    # equal activations have no variance: the ridge is at least float32's rounding error, or 1 if all are zero
    rounding = torch.finfo(torch.float32).eps ** 2 * float(products.diagonal().mean()) / store.rows
    roots = (values + (max(RIDGE * float(values.mean()), rounding) or 1.0)).sqrt()
    return mean.float(), (vectors / roots @ vectors.T).float(), (vectors * roots @ vectors.T).float()


def _read(store: Readable, column: str, start: int) -> Tensor:
    return torch.from_numpy(store.read(column, start, start + ROWS_AT_ONCE)).double()
