"""Scalings of activations for training, which fold into the weights of a trained model."""

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor

if TYPE_CHECKING:
    from sdlcore.model.coder import SparseCoder

SMALLEST = 1e-34
"""Smallest mean distance from the mean that can be normalised: float32 ends at 1e38, and the weights for raw
activations grow as the distance shrinks."""
IN_UNITS_OF_LATENTS = ("threshold", "start", "offset")
"""Parameters and buffers of built-in activations that are compared with, or added to, pre-activations."""


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
    def fold(self, model: "SparseCoder") -> None:
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
    def unfold(self, model: "SparseCoder") -> None:
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

    def raw_rows(self, model: "SparseCoder") -> dict[str, Tensor]:
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
    def fold(self, model: "SparseCoder") -> None:
        """Convert ``model`` in place from whitened to raw activations."""
        model.untie()
        model.W_enc.copy_(model.W_enc @ self.inverse_root_p)
        model.b_enc.sub_(model.W_enc @ self.mean_p)
        model.W_dec.copy_(model.W_dec @ self.root_r)
        model.b_dec.copy_(model.b_dec @ self.root_r + self.mean_r)
        scale_latents(model, 1 / self.latent_scale)

    @torch.no_grad()
    def unfold(self, model: "SparseCoder") -> None:
        """Convert ``model`` in place from raw to whitened activations: the inverse of `fold`, up to rounding."""
        model.b_dec.copy_((model.b_dec - self.mean_r) @ self.inverse_root_r)
        model.W_dec.copy_(model.W_dec @ self.inverse_root_r)
        model.b_enc.add_(model.W_enc @ self.mean_p)
        model.W_enc.copy_(model.W_enc @ self.root_p)
        scale_latents(model, self.latent_scale)

    def raw_rows(self, model: "SparseCoder") -> dict[str, Tensor]:
        """Return the encoder and decoder rows that `fold` would produce, without changing the model."""
        return {"encoder": model.W_enc @ self.inverse_root_p, "decoder": model.W_dec @ self.root_r}


Scaling = Normalisation | Whitening


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


def mean_and_scale(blocks: Callable[[], Iterable[Tensor]], rows: int, column: str) -> tuple[Tensor, Tensor]:
    """Return the mean of a site's samples, and for each dimension the scale that gives a mean norm of sqrt(dimension).

    Parameters
    ----------
    blocks
        Returns the samples in blocks (float64); called twice.
    rows
        Number of samples.
    column
        Name of the site, for errors.

    Raises
    ------
    ValueError
        If the samples are so close to their mean that float32 cannot scale them (`SMALLEST`).
    """
    total = sum(x.sum(0) for x in blocks())
    mean = torch.as_tensor(total / rows)
    norms = sum(float((x - mean).norm(dim=1).sum()) for x in blocks())
    scale = len(mean) ** 0.5 * rows / norms if norms else 1.0
    check_size(column, norms / rows)
    return mean.float(), torch.full((len(mean),), scale, dtype=torch.float32)


def check_size(column: str, size: float) -> None:
    """Raise `ValueError` for activations that are too close to their mean to be scaled in float32."""
    if 0 < size < SMALLEST:
        raise ValueError(
            f"activations ({column}) are on average {size:.2g} from their mean, too little to normalise in float32; "
            f"multiply them by a constant so that this distance is at least {SMALLEST:.0e}"
        )
