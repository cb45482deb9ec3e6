"""Edits of latents: functions from latents (N x n_q) to latents. `sdlcore.inside.splicing` applies them in a model."""

import operator
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np
from torch import Tensor

Edit = Callable[[Tensor], Tensor]
"""A function that receives a copy of the latents of N tokens (N x n_q), and returns the latents to replace them."""


@dataclass(frozen=True)
class Steer:
    """An edit that adds to one latent; see `steer`."""

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
    """An edit that sets latents to zero; see `ablate`."""

    latents: tuple[int, ...]

    def __call__(self, latents_NQ: Tensor) -> Tensor:
        latents_NQ[:, list(self.latents)] = 0
        return latents_NQ


def steer(latent: int, *, by: float) -> Steer:
    """Return an edit that adds ``by`` to a latent at every token, i.e. ``by`` decoder rows to the activations.

    ``by`` is in units of the latent's activation. Begin with the latent's largest activation in a text, which its page
    shows. A few times this value breaks the text. A negative number suppresses the latent. To steer several latents,
    nest splices.
    """
    return Steer(operator.index(latent), float(by))


def ablate(latents: int | Iterable[int] | np.ndarray | Tensor) -> Ablate:
    """Return an edit that sets latents to zero at every token.

    Parameters
    ----------
    latents
        The number of a latent, from 0 on, or a list, an array or a tensor of numbers. `splice` raises ValueError for
        numbers that the dictionary does not have.
    """
    several = latents.tolist() if isinstance(latents, np.ndarray | Tensor) else latents
    return Ablate(tuple(operator.index(latent) for latent in (several if isinstance(several, Iterable) else [several])))


def require_latents(latents: Iterable[int], n_q: int) -> None:
    """Raise ValueError, with the number of the first such latent, for latents outside of 0 to ``n_q`` - 1."""
    for latent in latents:
        if not 0 <= latent < n_q:
            raise ValueError(f"latent must be between 0 and {n_q - 1}, found {latent}")
