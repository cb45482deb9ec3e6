"""The interface of loss terms, and terms by the names that settings give them."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from typing import NamedTuple

from torch import Tensor

from sdlcore.model.sparse_coder import Forward, SparseCoder
from sdlcore.run import LossConfig


class Given(NamedTuple):
    """What a term is computed from."""

    model: SparseCoder
    target: Tensor
    """x_r (B x n_r)."""
    out: Forward
    """The model's pass over the input."""
    config: LossConfig
    anchors: tuple[Tensor, Tensor] | None = None
    """k x n_p and k x n_r anchor directions of the model's first k latents."""
    held: tuple[Tensor, Tensor] | None = None
    """k x n_p and k x n_r rows of encoder and decoder that the anchors' term reads; None for the model's own."""


@dataclass(frozen=True)
class Term:
    """A summand of the loss. The module of its name has it as ``TERM``."""

    name: str
    """What histories call it."""
    compute: Callable[[Given], Tensor]
    """Returns it without its weight (0-d): a sum over dimensions, a mean over the batch."""
    weight: str | None
    """The setting that it is multiplied by; None of a term that takes the place of the reconstruction."""
    rises: bool = False
    """Whether warm-up and ``target_l0`` change its weight."""
    norms: Callable[[LossConfig], bool] = lambda config: False
    """Whether the pass has to give the norms of decoder rows."""
    falls: bool = False
    """Whether ``anchor_until`` and ``anchor_fall`` change its weight."""


@cache
def term_of(name: str) -> Term:
    """Return a term, from the module of its name, which alone is imported."""
    found: Term = import_module(f"sdlcore.losses.{name}").TERM
    return found
