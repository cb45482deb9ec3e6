"""Edits of latents: functions from latents (N x n_q) to latents, which `sdlcore.inside.splicing` applies in a model."""

import operator
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from torch import Tensor

from sdlcore.settings import checked

Edit = Callable[[Tensor], Tensor]
"""Takes the latents of N tokens (N x n_q, its own copy), and returns the latents that replace them."""


@dataclass(frozen=True)
class Steer:
    """Adds to one latent; made by `steer`."""

    latent: int
    by: float

    @property
    def latents(self) -> tuple[int, ...]:
        return (self.latent,)

    def __call__(self, latents_NQ: Tensor) -> Tensor:
        latents_NQ[:, self.latent] += self.by
        return latents_NQ


@dataclass(frozen=True)
class Ablate:
    """Sets latents to zero; made by `ablate`."""

    latents: tuple[int, ...]

    def __call__(self, latents_NQ: Tensor) -> Tensor:
        latents_NQ[:, list(self.latents)] = 0
        return latents_NQ


def steer(latent: int, *, by: float) -> Steer:
    """Return the edit that adds ``by`` to a latent at every token, i.e. ``by`` decoder rows to the activations.

    ``by`` is in units of the latent's activation. Begin with its largest activation in a text, which its page shows; a
    few times that breaks the text. A negative number suppresses. Splices nest, so that several latents can be steered.

    Raises
    ------
    ValueError
        If latent is no whole number, or ``by`` no number.
    """
    return Steer(checked("latent", int, latent), float(checked("by", float, by)))


def ablate(latents: int | Iterable[int]) -> Ablate:
    """Return the edit that sets one latent, or several, to zero at every token."""
    several = latents if isinstance(latents, Iterable) else [latents]
    return Ablate(tuple(operator.index(latent) for latent in several))


def require_latents(latents: Iterable[int], n_q: int) -> None:
    """Refuse latents that a dictionary of ``n_q`` does not have.

    Raises
    ------
    ValueError
        Naming the first.
    """
    for latent in latents:
        if not 0 <= latent < n_q:
            raise ValueError(
                f"latent must be between 0 and {n_q - 1}, found {latent}; the dictionary has {n_q} latents"
            )
