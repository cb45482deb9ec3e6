"""Derive the methods that a plugin's activation leaves out from those that it overrides.

A class that extends one of ours may override `Activation.forward` alone, or `Activation.values` alone. The other one,
which it inherits, then computes other latents than the class means.
"""

from typing import Any

import torch
from torch import Tensor

from sdlcore.model.activation import Activation
from sdlcore.sparse.kernels.choice import kernels_for
from sdlcore.sparse.support import Support


def derived(cls: type[Activation]) -> dict[str, Any]:
    """Return the methods to add to a class, by their names.

    A class that overrides ``values`` alone gets a ``forward`` made of it. A class that overrides ``forward`` alone gets
    a ``search`` that returns None, and so is computed densely.
    """
    if overrides(cls, "values", "forward"):
        return {"forward": _forward_by_values}
    if overrides(cls, "forward", "values") and overrides(cls, "forward", "search"):
        return {"search": _no_search}
    return {}


def overrides(cls: type, name: str, other: str) -> bool:
    """Tell whether the class that defines one method extends the class that defines another."""
    return _place(cls, name) < _place(cls, other)


def _place(cls: type, name: str) -> int:
    """Return the place of the class that defines a method, among the bases of another."""
    return next((place for place, base in enumerate(cls.__mro__) if name in vars(base)), len(cls.__mro__))


def _no_search(self: Activation) -> None:
    """Return None: every latent is computed."""


def _forward_by_values(self: Activation, pre: Tensor) -> Tensor:
    """Return the latents (B x n_q), from the values at the entries of the search."""
    search = type(self).search(self)
    if search is None:
        raise TypeError(f"{type(self).__name__} has values but no search; write forward(pre) instead")
    mask = search.mask(pre)
    offsets = torch.nn.functional.pad(mask.sum(1).cumsum(0), (1, 0))
    support = Support(offsets, mask.nonzero()[:, 1].int(), pre.shape[1], kernels_for(pre.device))
    return support.dense(self.values(pre[mask], support))
