"""Derive the methods that a plugin's activation leaves out from the methods that it overrides.

A class that extends a built-in one may override `Activation.forward` alone, or `Activation.values` alone. Such a class
inherits the other method, which would then compute different latents.
"""

from typing import Any

import torch
from torch import Tensor

from sdlcore.model.activation import Activation
from sdlcore.sparse.kernels.choice import kernels_for
from sdlcore.sparse.support import Support


def derived(cls: type[Activation]) -> dict[str, Any]:
    """Return methods to add to a class, by name.

    A class that overrides only ``values`` gets a ``forward`` derived from it. A class that overrides only ``forward``
    gets a ``search`` that returns None, so it is computed densely.
    """
    if overrides(cls, "values", "forward"):
        return {"forward": _forward_by_values}
    if overrides(cls, "forward", "values") and overrides(cls, "forward", "search"):
        return {"search": _no_search}
    return {}


def overrides(cls: type, name: str, other: str) -> bool:
    """Return whether the first method is overridden further down the class hierarchy than the second."""
    return _place(cls, name) < _place(cls, other)


def _place(cls: type, name: str) -> int:
    """Return the position in the method resolution order of the first class that defines a method."""
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
