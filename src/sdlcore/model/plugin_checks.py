"""Check the results of a plugin's activation, and derive the methods that it leaves out.

Without checks, kernels would read beyond the end of short tensors. A class that extends a built-in one may override
`Activation.forward` alone, or `Activation.values` alone. Such a class inherits the other method, which would then
compute different latents.
"""

import inspect
from collections.abc import Callable
from functools import wraps
from types import FunctionType
from typing import Any

import torch
from torch import Tensor

from sdlcore.model.activation import Activation
from sdlcore.plugins.registry import in_words
from sdlcore.sparse.kernels.choice import kernels_for
from sdlcore.sparse.support import Support


def checked_methods(cls: type[Activation], called: str) -> dict[str, Callable[..., Any]]:
    """Return the methods that a plugin's class overrides, wrapped with checks of their results.

    Parameters
    ----------
    cls
        The plugin's class. The class is not modified.
    called
        Name for errors, such as ``activation soft_topk``.
    """
    methods = {}
    for name in ("forward", "values", "gates", "encode"):
        method = inspect.getattr_static(cls, name, None)
        if isinstance(method, FunctionType | staticmethod) and method.__module__.partition(".")[0] != "sdlcore":
            methods[name] = _checked(method, name, cls.signed or name == "gates", called)
    return methods


def _checked(method: Any, name: str, signed: bool, called: str) -> Callable[..., Any]:
    @wraps(method)
    def checked(self: Activation, *arguments: Any, **by_name: Any) -> Any:
        result = method.__get__(self, type(self))(*arguments, **by_name)
        given = [*arguments, *by_name.values()][0]
        if problem := _problem(result, given, name, signed):
            raise ValueError(f"{called}: {name} returned {problem}")
        return result

    return checked


def _problem(result: Any, given: Tensor, name: str, signed: bool) -> str | None:
    """Return what is wrong with the result of a method, which got pre-activations or, for encode, samples."""
    if name == "gates" and result is None:
        return None
    is_fit = isinstance(result, Tensor) and result.dtype == given.dtype
    if name == "encode":
        if not is_fit or result.ndim != 2 or len(result) != len(given):
            kind = str(given.dtype).partition(".")[2]
            return f"{in_words(result)}, expected latents of {len(given)} samples in {kind}"
    elif not is_fit or result.shape != given.shape:
        return f"{in_words(result)}, expected {in_words(given)}, an entry for each of pre"
    if signed or not result.numel():
        return None
    least = result.detach().min()  # NaN if any is
    if least >= 0:
        return None
    return f"{float(least):g}, " + ("expected none below zero; clamp it" if least < 0 else "expected finite numbers")


def derived_methods(cls: type[Activation]) -> dict[str, Any]:
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
