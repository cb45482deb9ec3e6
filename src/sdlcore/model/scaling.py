"""Scalings of activations for training, which fold into the weights of a trained model."""

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor

if TYPE_CHECKING:
    from sdlcore.model.coder import SparseCoder

IN_UNITS_OF_LATENTS = ("threshold", "start", "offset")
"""Parameters and buffers of built-in activations that are compared with, or added to, pre-activations."""


class Scaling(NamedTuple):
    """x -> (x - mean) * scale for x_p and x_r: normalisation with one scale for all dimensions of a site, or whitening.

    Whitening multiplies by the matrix Sigma^-1/2, which gives zero mean and, up to a ridge, unit covariance. The best
    linear read-out of an uncorrelated feature w is Sigma^-1 w (docs/solvers.md). For whitened activations, Sigma is the
    identity, so feature, read-out and pattern are the same direction.
    """

    mean_p: Tensor
    scale_p: Tensor
    """n_p, or for whitening Sigma^-1/2 (n_p x n_p, symmetric)."""
    mean_r: Tensor
    scale_r: Tensor
    latent_scale: Tensor
    """A latent is multiplied by it in training, and its decoder row divided by it (0-d)."""
    root_p: Tensor | None = None
    """Sigma^1/2, the inverse of ``scale_p``; None for normalisation."""
    root_r: Tensor | None = None

    def to(self, device: torch.device) -> "Scaling":
        return Scaling(*(value.to(device) for value in self if value is not None))

    def __call__(self, x_p: Tensor, x_r: Tensor) -> tuple[Tensor, Tensor]:
        scaled_p = _times(x_p - self.mean_p, self.scale_p)
        return scaled_p, scaled_p if x_r is x_p else _times(x_r - self.mean_r, self.scale_r)

    def rows(self, w_p: Tensor, w_r: Tensor) -> tuple[Tensor, Tensor]:
        """Return the encoder and decoder rows that `fold` turns into ``w_p`` (k x n_p) and ``w_r`` (k x n_r).

        Normalisation changes no direction, unless the sites of a crosscoder have different scales.
        """
        return _over(w_p, self.scale_p, self.root_p), _times(w_r, self.scale_r)

    @torch.no_grad()
    def fold(self, model: "SparseCoder") -> None:
        """Convert ``model`` in place from scaled to raw activations. Latents are divided by ``latent_scale``."""
        model.untie()
        model.W_enc.copy_(_times(model.W_enc, self.scale_p))
        model.b_enc.sub_(model.W_enc @ self.mean_p)
        model.W_dec.copy_(_over(model.W_dec, self.scale_r, self.root_r))
        model.b_dec.copy_(_over(model.b_dec, self.scale_r, self.root_r) + self.mean_r)
        if model.config.skip:  # which is never whitened
            model.W_skip.mul_(self.scale_p[:, None]).div_(self.scale_r)
            model.b_dec.sub_(self.mean_p @ model.W_skip)
        scale_latents(model, 1 / self.latent_scale)

    @torch.no_grad()
    def unfold(self, model: "SparseCoder") -> None:
        """Convert ``model`` in place from raw to scaled activations: the inverse of `fold`, up to rounding."""
        if model.config.skip:
            model.b_dec.add_(self.mean_p @ model.W_skip)
            model.W_skip.div_(self.scale_p[:, None]).mul_(self.scale_r)
        model.b_dec.copy_(_times(model.b_dec - self.mean_r, self.scale_r))
        model.W_dec.copy_(_times(model.W_dec, self.scale_r))
        model.b_enc.add_(model.W_enc @ self.mean_p)
        model.W_enc.copy_(_over(model.W_enc, self.scale_p, self.root_p))
        scale_latents(model, self.latent_scale)

    def raw_rows(self, model: "SparseCoder") -> dict[str, Tensor]:
        """Return the encoder and decoder rows that `fold` would produce, without changing the model."""
        return {
            "encoder": _times(model.W_enc, self.scale_p),
            "decoder": _over(model.W_dec, self.scale_r, self.root_r),
        }


def _times(x: Tensor, scale: Tensor) -> Tensor:
    return x * scale if scale.ndim == 1 else x @ scale


def _over(x: Tensor, scale: Tensor, root: Tensor | None) -> Tensor:
    """Return what `_times` turns into x."""
    return x / scale if root is None else x @ root


@torch.no_grad()
def scale_latents(model: "SparseCoder", factors: Tensor) -> None:
    """Multiply latents by factors (n_q, or one for all) and divide their decoder rows by them, in place.

    The model stays the same, except that a selection of the largest latents changes if factors differ.
    """
    model.W_dec.div_(factors[:, None] if factors.ndim else factors)
    model.W_enc.mul_(factors[:, None] if factors.ndim else factors)
    model.b_enc.mul_(factors)
    for name, value in model.sigma.state_dict().items():
        if name in IN_UNITS_OF_LATENTS:
            value.mul_(factors if value.ndim else factors.mean())


def directions(scaling: Scaling, w_p: Tensor, w_r: Tensor) -> tuple[Tensor, Tensor]:
    """Convert directions ``w_p`` and ``w_r`` of raw activations to unit directions of scaled activations.

    A model whose rows have the unit directions has rows along ``w_p`` and ``w_r`` after `fold`.
    """
    row_p, row_r = scaling.rows(w_p, w_r)
    return row_p / row_p.norm(dim=1, keepdim=True), row_r / row_r.norm(dim=1, keepdim=True)


def no_scaling(n_p: int, n_r: int) -> Scaling:
    """Return the scaling that does not change activations."""
    p, r = ((torch.zeros(n, dtype=torch.float32), torch.ones(n, dtype=torch.float32)) for n in (n_p, n_r))
    return Scaling(*p, *r, torch.ones(()))


def mean_and_scale(blocks: Callable[[], Iterable[Tensor]], rows: int) -> tuple[Tensor, Tensor]:
    """Return the mean of a site's samples, and for each dimension the scale that gives a mean norm of sqrt(dimension).

    Parameters
    ----------
    blocks
        Returns the samples in blocks (float64); called twice.
    rows
        Number of samples.
    """
    total = sum(x.sum(0) for x in blocks())
    mean = torch.as_tensor(total / rows)
    norms = sum(float((x - mean).norm(dim=1).sum()) for x in blocks())
    scale = len(mean) ** 0.5 * rows / norms if norms else 1.0
    return mean.float(), torch.full((len(mean),), scale, dtype=torch.float32)
