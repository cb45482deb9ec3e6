"""Check the results of a plugin's activation; without checks, kernels would read beyond the end of short tensors."""

import inspect
from collections.abc import Callable
from functools import wraps
from types import FunctionType
from typing import Any

from torch import Tensor

from sdlcore.errors import PluginError
from sdlcore.model.activation import Activation
from sdlcore.plugins.registry import in_words
from sdlcore.sparse.search import Search


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
    found = {}
    for name, (takes, problem_of) in _CHECKS.items():
        if not hasattr(cls, name):
            continue
        method = inspect.getattr_static(cls, name)
        if isinstance(method, FunctionType | staticmethod) and method.__module__.partition(".")[0] != "sdlcore":
            try:
                inspect.signature(method.__get__(cls)).bind(*takes)
            except TypeError:
                said = f"{name} of {called} must take {', '.join(takes) or 'no arguments'}"
                raise PluginError(f"{cls.__module__}: {said}") from None
            problem_of = _SIGNED.get(name, problem_of) if cls.signed else problem_of
            found[name] = _checked(method, problem_of, f"{called}: {name} returned")
    return found


def _checked(method: Any, problem_of: Callable[[Any, Any], str | None], said: str) -> Callable[..., Any]:
    @wraps(method)
    def checked(self: Activation, *given: Any, **by_name: Any) -> Any:
        found = method.__get__(self, type(self))(*given, **by_name)
        if problem := problem_of(found, [*given, *by_name.values(), None][0]):
            raise ValueError(f"{said} {problem}")
        return found

    return checked


def _of_entries(found: Any, pre_N: Tensor) -> str | None:
    if not isinstance(found, Tensor) or (found.shape, found.dtype) != (pre_N.shape, pre_N.dtype):
        return f"{in_words(found)}, expected {in_words(pre_N)}, an entry for each of pre"
    return None


def _of_values(found: Any, pre_N: Tensor) -> str | None:
    if problem := _of_entries(found, pre_N):
        return problem
    least = found.detach().min() if len(found) else found.new_zeros(())  # NaN if any is
    if least >= 0:
        return None
    place = int(found.detach().argmin())
    return (
        f"{float(least):g} where pre is {float(pre_N.detach().flatten()[place]):g}, expected none below zero; clamp it"
    )


def _of_declared(found: Any, _: Any) -> str | None:
    if found is None or isinstance(found, Search):
        return None
    return f"{in_words(found)}, expected a Search, such as LargestPerSample(k), or None"


def _of_gates(found: Any, pre: Tensor) -> str | None:
    return None if found is None else _of_entries(found, pre)


def _of_signed_latents(found: Any, x_BP: Tensor) -> str | None:
    if not isinstance(found, Tensor) or found.ndim != 2 or len(found) != len(x_BP) or found.dtype != x_BP.dtype:
        return f"{in_words(found)}, expected latents of {len(x_BP)} samples in {str(x_BP.dtype).partition('.')[2]}"
    return None


def _of_latents(found: Any, x_BP: Tensor) -> str | None:
    if problem := _of_signed_latents(found, x_BP):
        return problem
    least = found.detach().min() if found.numel() else found.new_zeros(())
    return None if least >= 0 else f"{float(least):g}, expected no latent below zero; clamp it"


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
