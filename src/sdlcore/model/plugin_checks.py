"""Check the results of a plugin's activation: kernels would read beyond the end of a short tensor."""

import inspect
from collections.abc import Callable
from functools import wraps
from types import FunctionType
from typing import Any

import numpy as np
import torch
from torch import Tensor

from sdlcore.errors import PluginError
from sdlcore.model.preactivations import Preactivations
from sdlcore.model.sigma import Selecting, Sigma
from sdlcore.model.support import Support
from sdlcore.plugins.registry import in_words


def checked_methods(cls: type[Sigma], called: str) -> dict[str, Callable[..., Any]]:
    """Return the methods that a plugin's class overrides, each with a check of its result.

    Parameters
    ----------
    cls
        The plugin's class, which is not changed.
    called
        Name for errors, such as ``activation soft_topk``.

    Raises
    ------
    PluginError
        If a method takes other arguments than the one that it overrides.
    """
    ours = Selecting if issubclass(cls, Selecting) else Sigma
    found = {}
    for name in _CHECKS.keys() & set(dir(ours)):
        method = inspect.getattr_static(cls, name)
        if isinstance(method, FunctionType | staticmethod) and method.__module__.partition(".")[0] != "sdlcore":
            _, *takes = inspect.signature(getattr(ours, name)).parameters
            try:
                inspect.signature(method.__get__(cls)).bind(*takes)
            except TypeError:
                instead = "; write values(pre, support) instead, which gives the latents" * (name == "forward")
                said = f"{name} of {called} must take {', '.join(takes)}{instead}"
                raise PluginError(f"{cls.__module__}: {said}") from None
            found[name] = _checked(method, _CHECKS[name], f"{called}: {name} returned")
    return found


def _checked(method: Any, problem_of: Callable[[Any, Any], str | None], said: str) -> Callable[..., Any]:
    @wraps(method)
    def checked(self: Sigma, *given: Any, **by_name: Any) -> Any:
        found = method.__get__(self, type(self))(*given, **by_name)
        if problem := problem_of(found, [*given, *by_name.values()][0]):
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
    return f"{float(least):g} where pre is {float(pre_N.detach()[place]):g}, expected none below zero; clamp it"


def _of_codes(found: Any, z_BN: np.ndarray) -> str | None:
    if not isinstance(found, np.ndarray) or found.shape != z_BN.shape or found.dtype.kind != "f":
        return f"{in_words(found)}, expected {in_words(z_BN)}, a code for each sample"
    return None if (found >= 0).all() else f"{found.min():g}, expected none below zero"


def _of_search(found: Any, searched: Any) -> str | None:
    if not isinstance(found, tuple) or len(found) != 2 or not isinstance(found[0], Support):
        return f"{in_words(found)}, expected a Support and its pre-activations"
    support, pre_N = found
    if not isinstance(pre_N, Tensor) or pre_N.shape != support.columns.shape:
        return f"{in_words(pre_N)}, expected a pre-activation for each of {len(support)} entries"
    rows, n_q = searched.shape if isinstance(searched, Preactivations) else (searched[0].n_rows, searched[0].n_q)
    offsets, columns = support.offsets, support.columns
    if (support.n_rows, support.n_q) != (rows, n_q) or offsets[0] != 0 or offsets[-1] != len(columns):
        return f"entries of {support.n_rows} x {support.n_q} latents, expected {rows} x {n_q}"
    if len(columns) and (bool((torch.diff(offsets) < 0).any()) or columns.min() < 0 or columns.max() >= n_q):
        return f"latents {int(columns.min())} to {int(columns.max())}, expected 0 to {n_q - 1}, row by row"
    return None


def _of_loss(found: Any, _: Any) -> str | None:
    if isinstance(found, dict) and all(isinstance(one, Tensor) and one.ndim == 0 for one in found.values()):
        return None
    return f"{in_words(found)}, expected names with a tensor of shape () each"


_CHECKS: dict[str, Callable[[Any, Any], str | None]] = {
    "values": _of_values,
    "forward": _of_values,
    "penalised": _of_entries,
    "select": _of_search,
    "narrow": _of_search,
    "oracle": _of_codes,
    "largest": _of_codes,
    "loss": _of_loss,
}
