"""Layouts of weights in files: each format declares its tensors once, for reading, checking and writing."""

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import torch
from safetensors.torch import load_file
from torch import Tensor

from sdlcore.errors import SourceError
from sdlcore.interop.weights import InteropWeights
from sdlcore.text import listed, short_text

Layout: TypeAlias = dict[str, tuple[str, str]]
"""Name of a tensor in the file -> its name in `InteropWeights`, and its dimensions in the file: "n_p n_q"."""
_DIMENSIONS = {
    "W_enc": ["n_q", "n_p"],
    "b_enc": ["n_q"],
    "W_dec": ["n_q", "n_r"],
    "b_dec": ["n_r"],
    "threshold": ["n_q"],
    "log_scale": ["n_q"],
    "b_magnitude": ["n_q"],
    "W_skip": ["n_p", "n_r"],
}
"""Dimensions of `InteropWeights`. In a layout with sites, "sites" comes before the last dimension."""


def to_file(weights: InteropWeights, layout: Layout, sites: int = 1) -> dict[str, Tensor]:
    """Return the tensors of a file from weights. A single threshold is repeated for each latent if the file needs it.

    Parameters
    ----------
    weights
        The weights; sites are concatenated.
    layout
        The file's tensors.
    sites
        Number of a crosscoder's sites.
    """
    tensors = {}
    for name, (weight, dimensions) in layout.items():
        value, axes, file = getattr(weights, weight), [*_DIMENSIONS[weight]], dimensions.split()
        if "sites" in file:
            value = value.unflatten(-1, (sites, -1))
            axes.insert(-1, "sites")
        if file == ["n_q"]:
            value = value.expand(len(weights.b_enc))
        tensors[name] = value.permute([axes.index(dimension) for dimension in file]).contiguous()
    return tensors


def from_file(tensors: Mapping[str, Tensor], layout: Layout) -> InteropWeights:
    """Return weights from the tensors of a file: the inverse of `to_file`. Tensors outside the layout are ignored."""
    weights: dict[str, Tensor] = {}
    for name, (weight, dimensions) in layout.items():
        axes, file = [*_DIMENSIONS[weight]], dimensions.split()
        if "sites" in file:
            axes.insert(-1, "sites")
        value = tensors[name].permute([file.index(dimension) for dimension in axes if dimension in file])
        weights[weight] = value.flatten(-2) if "sites" in file else value
    return InteropWeights(**weights)


def check_tensors(
    path: Path,
    tensors: Mapping[str, Tensor],
    layout: Layout,
    sizes: Mapping[str, int] | None = None,
    optional: Collection[str] = (),
) -> None:
    """Check names, shapes and values of the tensors in a file.

    Parameters
    ----------
    path
        The file, for messages.
    tensors
        Its tensors.
    layout
        Tensors that it must contain.
    sizes
        Known sizes of dimensions, from the settings beside the file; all others must only agree with each other.
    optional
        Names of further tensors that it may contain.

    Raises
    ------
    SourceError
        If a tensor is missing, unknown, of another shape, or not finite in float32.
    """
    if missing := layout.keys() - tensors.keys():
        raise SourceError(f"{path}: lacks the tensors {listed(sorted(missing))}, found {listed(sorted(tensors))}")
    if unknown := tensors.keys() - layout.keys() - set(optional):
        raise SourceError(f"{path}: contains unknown tensors {listed(sorted(unknown))}, expected {listed(layout)}")
    agreed = dict(sizes or {})
    for name, (_, dimensions) in layout.items():
        value = tensors[name]
        if not _fits(value, dimensions, agreed):
            expected = ", ".join(f"{dimension} = {agreed.get(dimension, 'any')}" for dimension in dimensions.split())
            raise SourceError(f"{path}: {name} has shape {tuple(value.shape)}, expected ({expected})")
        if not value.is_floating_point():
            raise SourceError(f"{path}: {name} contains {value.dtype}, expected floating-point weights")
        if not value.float().isfinite().all():
            raise SourceError(f"{path}: {name} contains NaN, infinity or numbers too large for float32")


def fits(tensors: Mapping[str, Tensor], layout: Layout) -> bool:
    """Return whether the shapes of tensors agree with a layout and with each other."""
    agreed: dict[str, int] = {}
    return all(_fits(tensors[name], dimensions, agreed) for name, (_, dimensions) in layout.items())


def _fits(tensor: Tensor, dimensions: str, sizes: dict[str, int]) -> bool:
    """Return whether a shape agrees with the known sizes; add its new sizes to ``sizes``."""
    names = dimensions.split()
    return tensor.ndim == len(names) and all(
        sizes.setdefault(name, size) == size for name, size in zip(names, tensor.shape, strict=True)
    )


def count_in(path: Path, name: str, values: Tensor) -> int:
    """Return the whole number above 0 that a tensor of one element contains."""
    if values.numel() != 1 or values.is_complex() or (number := float(values)) != number // 1 or number < 1:
        raise SourceError(f"{path}: {name} is {short_text(values.tolist())}, expected a whole number above 0")
    return int(number)


def read_tensors(path: Path) -> dict[str, Tensor]:
    """Read all tensors of a .safetensors or .npz file, or of a state dict that `torch.save` wrote. No code is run."""
    if path.suffix == ".safetensors":
        return load_file(path)
    if path.suffix == ".npz":
        with np.load(path, allow_pickle=False) as arrays:
            return {name: torch.from_numpy(_native(arrays[name])) for name in arrays}
    state: Any = torch.load(path, map_location="cpu", weights_only=True)
    if not isinstance(state, Mapping) or not all(isinstance(value, Tensor) for value in state.values()):
        raise SourceError(f"{path}: contains something other than tensors by name")
    return dict(state)


def _native(values: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(values, values.dtype.newbyteorder("="))
