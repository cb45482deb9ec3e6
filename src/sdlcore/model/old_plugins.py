"""Plugins' activations that were written before activations declared their searches.

Until November 2026 an activation searched by itself (``select``, ``narrow``), gave its latents by `Activation.values`
alone, and could override ``penalised``, ``loss``, ``oracle`` and ``of``. Such classes still work. The registry adds the
methods of `adapted` to such activations. The functions at the end call the other old methods.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor

from sdlcore.model.activation import Activation
from sdlcore.model.derived import overrides
from sdlcore.parallel.groups import ALONE, Processes
from sdlcore.parallel.search import divided
from sdlcore.sparse.preactivations import Entries, Preactivations
from sdlcore.sparse.search import Above, Search
from sdlcore.sparse.support import Support


class OldMethods:
    """Former methods of `Activation`, which old classes call through ``super()``. This class comes last among the bases
    of old classes."""

    processes = ALONE

    def select(self: Any, pre_BQ: Preactivations, slack: float = 1.0) -> Entries:
        """Return the entries of the declared search."""
        return _declared(self).find(pre_BQ, slack)

    def narrow(self: Any, found: Entries) -> Entries:
        """Return the entries that the declared search keeps."""
        return _declared(self).narrow(found)


def _declared(activation: Any) -> Search:
    search = activation.declared_search() or Above(0.0)
    return divided(search, activation.processes)


class _BySelect(Search):
    """The search of a class that overrides ``select``."""

    def __init__(self, activation: Any) -> None:
        self.activation = activation

    def mask(self, pre: Tensor) -> Tensor:
        found = self.find(_as_given(pre))
        return found.support.dense(torch.ones_like(found.pre)).bool()

    def find(self, pre_BQ: Preactivations, slack: float = 1.0) -> Entries:
        return self.activation.select(pre_BQ, slack)

    def narrow(self, found: Entries) -> Entries:
        return self.activation.narrow(found)

    def ranks(self, pre_N: Tensor, support: Support) -> Tensor:
        return _declared(self.activation).ranks(pre_N, support)


def adapted(cls: type[Activation]) -> dict[str, Any]:
    """Return the methods to add to a class.

    A class that overrides ``select`` or ``narrow`` gets a search that calls them. A class that overrides ``values``
    alone and inherits no search gets the search for positive pre-activations.
    """
    if overrides(cls, "select", "search") or overrides(cls, "narrow", "search"):
        return {"declared_search": cls.search, "search": _by_select}
    if cls.search is Activation.search and cls.values is not Activation.values:
        return {"declared_search": cls.search, "search": _of_positive}
    return {"declared_search": cls.search}


def _by_select(self: Activation) -> Search:
    return _BySelect(self)


def _of_positive(self: Activation) -> Search:
    return Above(0.0)


def _as_given(pre: Tensor) -> Preactivations:
    """Wrap pre-activations as a product with the identity, to make them searchable."""
    n_q = pre.shape[1]
    return Preactivations(pre, torch.eye(n_q, dtype=pre.dtype, device=pre.device), pre.new_zeros(n_q))


def let_search_among(sigma: Activation, processes: Processes) -> None:
    """Pass an activation with its own search the processes that compute other entries."""
    if isinstance(sigma, OldMethods):
        sigma.processes = processes


def old_loss(
    sigma: Activation, x_BR: Tensor, pre_N: Tensor, support: Support, W_dec: Tensor, b_dec: Tensor
) -> dict[str, Tensor]:
    """Return the squared errors from the activation's ``loss``, by name; empty if it has none."""
    own = getattr(sigma, "loss", None)
    return {} if own is None else own(x_BR, pre_N, support, W_dec, b_dec)


def old_penalised(sigma: Activation, pre_N: Tensor, values_N: Tensor) -> Tensor:
    """Return the numbers that the L1 penalty sums (N): the latents, or the result of the activation's ``penalised``."""
    own = getattr(sigma, "penalised", None)
    return values_N if own is None else own(pre_N, values_N)


def old_oracle(sigma: Activation) -> Callable[[np.ndarray, np.ndarray], np.ndarray] | None:
    """Return the activation's ``oracle``, None without one."""
    return getattr(sigma, "oracle", None)
