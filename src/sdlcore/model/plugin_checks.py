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

from sdlcore.errors import PluginError
from sdlcore.model.activation import Activation
from sdlcore.plugins.registry import in_words
from sdlcore.sparse.kernels.choice import kernels_for
from sdlcore.sparse.search import Search
from sdlcore.sparse.support import Support


def checked_methods(cls: type[Activation], called: str) -> dict[str, Callable[..., Any]]:
    """Return the methods that a plugin's class overrides, wrapped with checks of their results.

    Parameters
    ----------
    cls
        The plugin's class. The class is not modified.
    called
        Name for errors, such as ``activation soft_topk``.

    Raises
    ------
    PluginError
        If a method takes other arguments than the method that it overrides.
    """
    methods = {}
    for name, (takes, problem_of) in _CHECKS.items():
        if not hasattr(cls, name):
            continue
        method = inspect.getattr_static(cls, name)
        if isinstance(method, FunctionType | staticmethod) and method.__module__.partition(".")[0] != "sdlcore":
            try:
                inspect.signature(method.__get__(cls)).bind(*takes)
            except TypeError:
                message = f"{name} of {called} must take {', '.join(takes) or 'no arguments'}"
                raise PluginError(f"{cls.__module__}: {message}") from None
            problem_of = _SIGNED.get(name, problem_of) if cls.signed else problem_of
            methods[name] = _checked(method, problem_of, f"{called}: {name} returned")
    return methods


def _checked(method: Any, problem_of: Callable[[Any, Any], str | None], subject: str) -> Callable[..., Any]:
    @wraps(method)
    def checked(self: Activation, *arguments: Any, **by_name: Any) -> Any:
        result = method.__get__(self, type(self))(*arguments, **by_name)
        if problem := problem_of(result, [*arguments, *by_name.values(), None][0]):
            raise ValueError(f"{subject} {problem}")
        return result

    return checked


def _of_entries(values: Any, pre_N: Tensor) -> str | None:
    if not isinstance(values, Tensor) or (values.shape, values.dtype) != (pre_N.shape, pre_N.dtype):
        return f"{in_words(values)}, expected {in_words(pre_N)}, an entry for each of pre"
    return None


def _of_values(values: Any, pre_N: Tensor) -> str | None:
    if problem := _of_entries(values, pre_N):
        return problem
    least = values.detach().min() if len(values) else values.new_zeros(())  # NaN if any is
    if least >= 0:
        return None
    place = int(values.detach().argmin())
    found = f"{float(least):g} where pre is {float(pre_N.detach().flatten()[place]):g}"
    return f"{found}, {_expected(least)}"


def _expected(least: Tensor) -> str:
    """Return the remedy for latents whose least value is below zero, or NaN."""
    return "expected none below zero; clamp it" if least < 0 else "expected finite numbers"


def _of_declared(search: Any, _: Any) -> str | None:
    if search is None or isinstance(search, Search):
        return None
    return f"{in_words(search)}, expected a Search, such as LargestPerSample(k), or None"


def _of_gates(gates: Any, pre: Tensor) -> str | None:
    return None if gates is None else _of_entries(gates, pre)


def _of_signed_latents(latents: Any, x_BP: Tensor) -> str | None:
    if not isinstance(latents, Tensor) or latents.ndim != 2 or len(latents) != len(x_BP) or latents.dtype != x_BP.dtype:
        return f"{in_words(latents)}, expected latents of {len(x_BP)} samples in {str(x_BP.dtype).partition('.')[2]}"
    return None


def _of_latents(latents: Any, x_BP: Tensor) -> str | None:
    if problem := _of_signed_latents(latents, x_BP):
        return problem
    least = latents.detach().min() if latents.numel() else latents.new_zeros(())
    return None if least >= 0 else f"{float(least):g}, {_expected(least)}"


_CHECKS: dict[str, tuple[tuple[str, ...], Callable[[Any, Any], str | None]]] = {
    "forward": (("pre",), _of_values),
    "search": ((), _of_declared),
    "values": (("pre", "support"), _of_values),
    "gates": (("pre",), _of_gates),
    "encode": (("x", "weights"), _of_latents),
}
"""The arguments of each method, and the check of its result."""
_SIGNED = {"forward": _of_entries, "values": _of_entries, "encode": _of_signed_latents}
"""The checks of a class whose latents may be below zero (`Activation.signed`)."""


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
