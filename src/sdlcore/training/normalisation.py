"""Centre, scale or whiten activations for training, and fold the scaling into the trained weights."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor

from sdlcore.data.batches import Readable
from sdlcore.data.memory import ROWS_AT_ONCE
from sdlcore.data.pairs import site_column, wiring_of
from sdlcore.model.coder import SparseCoder

RIDGE = 1e-3
"""Share of the mean variance that whitening adds to every direction's variance. Without it, directions that contain
only rounding errors would weigh as much as any other."""

SMALLEST = 1e-34
"""Smallest mean distance from the mean that can be normalised: float32 ends at 1e38, and the weights for raw
activations grow as the distance shrinks."""

IN_UNITS_OF_LATENTS = ("threshold", "start", "offset")
"""Parameters and buffers of built-in activations that are compared with, or added to, pre-activations."""
EQUAL_NORMS = 0.01
"""Rows whose norms differ by less than this share count as equally long."""


class Normalisation(NamedTuple):
    """x -> (x - mean) * scale, for each dimension; all dimensions of a site share one scale.

    A latent is multiplied by ``latent_scale``, and its decoder row divided by it.
    """

    mean_p: Tensor
    scale_p: Tensor
    mean_r: Tensor
    scale_r: Tensor
    latent_scale: Tensor

    def to(self, device: torch.device) -> "Normalisation":
        return Normalisation(*(value.to(device) for value in self))

    def __call__(self, x_p: Tensor, x_r: Tensor) -> tuple[Tensor, Tensor]:
        normalised_p = (x_p - self.mean_p) * self.scale_p
        return normalised_p, normalised_p if x_r is x_p else (x_r - self.mean_r) * self.scale_r

    def rows(self, w_p: Tensor, w_r: Tensor) -> tuple[Tensor, Tensor]:
        """Return the encoder and decoder rows that `fold` turns into ``w_p`` (k x n_p) and ``w_r`` (k x n_r).

        Both are the same directions as ``w_p`` and ``w_r``, unless the sites of a crosscoder have different scales.
        """
        return w_p / self.scale_p, w_r * self.scale_r

    @torch.no_grad()
    def fold(self, model: SparseCoder) -> None:
        """Convert ``model`` in place from normalised to raw activations.

        Latents are divided by ``latent_scale``; reconstructions are in raw units.
        """
        mean_p, scale_p, mean_r, scale_r, latent_scale = self
        model.untie()
        model.W_enc.mul_(scale_p)
        model.b_enc.sub_(model.W_enc @ mean_p)
        model.W_dec.div_(scale_r)
        model.b_dec.div_(scale_r).add_(mean_r)
        if model.config.skip:
            model.W_skip.mul_(scale_p[:, None]).div_(scale_r)
            model.b_dec.sub_(mean_p @ model.W_skip)
        scale_latents(model, 1 / latent_scale)

    @torch.no_grad()
    def unfold(self, model: SparseCoder) -> None:
        """Convert ``model`` in place from raw to normalised activations: the inverse of `fold`, up to rounding."""
        mean_p, scale_p, mean_r, scale_r, latent_scale = self
        if model.config.skip:
            model.b_dec.add_(mean_p @ model.W_skip)
            model.W_skip.div_(scale_p[:, None]).mul_(scale_r)
        model.b_dec.sub_(mean_r).mul_(scale_r)
        model.W_dec.mul_(scale_r)
        model.b_enc.add_(model.W_enc @ mean_p)
        model.W_enc.div_(scale_p)
        scale_latents(model, latent_scale)

    def raw_rows(self, model: SparseCoder) -> dict[str, Tensor]:
        """Return the encoder and decoder rows that `fold` would produce, without changing the model."""
        return {"encoder": model.W_enc * self.scale_p, "decoder": model.W_dec / self.scale_r}


class Whitening(NamedTuple):
    """x -> (x - mean) Sigma^-1/2, which gives zero mean and, up to a ridge, unit covariance.

    The best linear read-out of an uncorrelated feature w is Sigma^-1 w (docs/solvers.md). For whitened activations,
    Sigma is the identity, so feature, read-out and pattern are the same direction.
    """

    mean_p: Tensor
    inverse_root_p: Tensor
    """Sigma^-1/2, symmetric."""
    root_p: Tensor
    """Sigma^1/2."""
    mean_r: Tensor
    inverse_root_r: Tensor
    root_r: Tensor
    latent_scale: Tensor
    """As in `Normalisation`."""

    def to(self, device: torch.device) -> "Whitening":
        return Whitening(*(value.to(device) for value in self))

    def __call__(self, x_p: Tensor, x_r: Tensor) -> tuple[Tensor, Tensor]:
        white_p = (x_p - self.mean_p) @ self.inverse_root_p
        return white_p, white_p if x_r is x_p else (x_r - self.mean_r) @ self.inverse_root_r

    def rows(self, w_p: Tensor, w_r: Tensor) -> tuple[Tensor, Tensor]:
        """Return the encoder and decoder rows that `fold` turns into ``w_p`` (k x n_p) and ``w_r`` (k x n_r)."""
        return w_p @ self.root_p, w_r @ self.inverse_root_r

    @torch.no_grad()
    def fold(self, model: SparseCoder) -> None:
        """Convert ``model`` in place from whitened to raw activations."""
        model.untie()
        model.W_enc.copy_(model.W_enc @ self.inverse_root_p)
        model.b_enc.sub_(model.W_enc @ self.mean_p)
        model.W_dec.copy_(model.W_dec @ self.root_r)
        model.b_dec.copy_(model.b_dec @ self.root_r + self.mean_r)
        scale_latents(model, 1 / self.latent_scale)

    @torch.no_grad()
    def unfold(self, model: SparseCoder) -> None:
        """Convert ``model`` in place from raw to whitened activations: the inverse of `fold`, up to rounding."""
        model.b_dec.copy_((model.b_dec - self.mean_r) @ self.inverse_root_r)
        model.W_dec.copy_(model.W_dec @ self.inverse_root_r)
        model.b_enc.add_(model.W_enc @ self.mean_p)
        model.W_enc.copy_(model.W_enc @ self.root_p)
        scale_latents(model, self.latent_scale)

    def raw_rows(self, model: SparseCoder) -> dict[str, Tensor]:
        """Return the encoder and decoder rows that `fold` would produce, without changing the model."""
        return {"encoder": model.W_enc @ self.inverse_root_p, "decoder": model.W_dec @ self.root_r}


Scaling = Normalisation | Whitening


@torch.no_grad()
def scale_latents(model: SparseCoder, factors: Tensor) -> None:
    """Multiply latents by factors (n_q, or one for all) and divide their decoder rows by them, in place.

    The model stays the same, except that a selection of the largest latents changes if factors differ.
    """
    model.W_dec.div_(factors[:, None] if factors.ndim else factors)
    model.W_enc.mul_(factors[:, None] if factors.ndim else factors)
    model.b_enc.mul_(factors)
    for name, value in model.sigma.state_dict().items():
        if name in IN_UNITS_OF_LATENTS:
            value.mul_(factors if value.ndim else factors.mean())


@torch.no_grad()
def with_latents_of(scaling: Scaling, start: SparseCoder) -> Scaling:
    """Return the scaling for a training that starts from a dictionary of raw activations.

    If its decoder rows are equally long, as after a search for codes, their length says nothing about the unit of the
    activations. They then get a mean norm of 1 in training, so that the result is the same in every unit.
    """
    W_enc, W_dec = start.W_enc.float().cpu(), start.W_dec.float().cpu()
    norms_Q = W_dec.double().norm(dim=1)
    is_row = norms_Q > 0
    if not is_row.any() or norms_Q[is_row].max() > (1 + EQUAL_NORMS) * norms_Q[is_row].min():
        return scaling
    _, rows_QR = scaling.rows(W_enc, W_dec)
    return scaling._replace(latent_scale=rows_QR[is_row].double().norm(dim=1).mean().float())


def directions(normalisation: Scaling, w_p: Tensor, w_r: Tensor) -> tuple[Tensor, Tensor]:
    """Convert directions ``w_p`` and ``w_r`` of raw activations to unit directions of normalised activations.

    A model whose rows have the unit directions has rows along ``w_p`` and ``w_r`` after `fold`.
    """
    row_p, row_r = normalisation.rows(w_p, w_r)
    return row_p / row_p.norm(dim=1, keepdim=True), row_r / row_r.norm(dim=1, keepdim=True)


def no_scaling(n_p: int, n_r: int) -> Normalisation:
    """Return the scaling that does not change activations."""
    kind = torch.float32
    p, r = ((torch.zeros(n, dtype=kind), torch.ones(n, dtype=kind)) for n in (n_p, n_r))
    return Normalisation(*p, *r, torch.ones(()))


def fit_normalisation(store: Readable, pair: str) -> Normalisation:
    """Return the normalisation that gives each site of a pair zero mean and a mean norm of sqrt(dimension).

    Raises
    ------
    ValueError
        If activations are so close to their mean that float32 cannot scale them (`SMALLEST`).
    """
    return Normalisation(*_of_pair(store, pair, partial(_scale, store)))


def fit_whitening(store: Readable, pair: str) -> Whitening:
    """Return the whitening of a pair; the sites of a crosscoder are whitened separately.

    Raises
    ------
    ValueError
        As in `fit_normalisation`.
    """
    return Whitening(*_of_pair(store, pair, partial(_whiten, store)))


def _of_pair(store: Readable, pair: str, of_site: Callable[[str], tuple[Tensor, ...]]) -> tuple[Tensor, ...]:
    """Return the statistics of x_p, then of x_r, from the statistics of their sites, and the scale of latents, 1."""
    wiring = wiring_of(pair, len(store.widths))
    statistics = {site: of_site(site_column(site)) for site in wiring.sites}

    def beside(sites: Sequence[int]) -> tuple[Tensor, ...]:
        parts = zip(*(statistics[site] for site in sites), strict=True)
        return tuple(torch.cat(p) if p[0].ndim == 1 else torch.block_diag(*p) for p in parts)

    x_p = beside(wiring.reads)
    return *x_p, *(x_p if wiring.writes == wiring.reads else beside(wiring.writes)), torch.ones(())


def _scale(store: Readable, column: str) -> tuple[Tensor, Tensor]:
    """Return the mean and the scale of a column."""
    starts = range(0, store.rows, ROWS_AT_ONCE)
    total = sum(_read(store, column, s).sum(0) for s in starts)
    mean = torch.as_tensor(total / store.rows)
    norms = sum(float((_read(store, column, s) - mean).norm(dim=1).sum()) for s in starts)
    scale = len(mean) ** 0.5 * store.rows / norms if norms else 1.0
    _check_size(column, norms / store.rows)
    return mean.float(), torch.full((len(mean),), scale, dtype=torch.float32)


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
    _check_size(column, float(values.sum()) ** 0.5)
    return mean.float(), (vectors / roots @ vectors.T).float(), (vectors * roots @ vectors.T).float()


def _check_size(column: str, size: float) -> None:
    """Reject activations that are too close to their mean to be scaled in float32."""
    if 0 < size < SMALLEST:
        raise ValueError(
            f"activations ({column}) are on average {size:.2g} from their mean, too little to normalise in float32; "
            f"multiply them by a constant so that this distance is at least {SMALLEST:.0e}"
        )


def _read(store: Readable, column: str, start: int) -> Tensor:
    return torch.from_numpy(store.read(column, start, start + ROWS_AT_ONCE)).double()
