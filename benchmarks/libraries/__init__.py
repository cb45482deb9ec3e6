"""One module per library: how its users train with it, reduced to the benchmark's needs.

Each module has a function ``make(setting, weights)``, which returns a `Trainee`: initialised as the library does it, or
with the given weights (`benchmarks.states.load_state`). A library is imported only by the process that runs it.
"""

import importlib
from collections.abc import Callable, Mapping
from typing import Protocol, cast

import torch
from torch import Tensor, nn

from benchmarks.cases import Setting

State = Mapping[str, Tensor]


class Trainee(Protocol):
    """A training in progress."""

    def step(self, x: Tensor) -> None:
        """Take the library's complete step on a batch (B x dimension): forward, backward, optimiser, constraints."""

    def l0(self, x: Tensor) -> float:
        """Return the mean number of active latents, selected as in training."""


Make = Callable[[Setting, State | None], Trainee]


def load(library: str) -> Make:
    """Import a library and return its ``make``."""
    return cast(Make, importlib.import_module(f"benchmarks.libraries.{library}_steps").make)


def fill(module: nn.Module, tensors: Mapping[str, Tensor]) -> None:
    """Copy tensors into all parameters of a module, transposed if the library stores a matrix that way.

    Copying is in place, so that the memory layout stays the one that the library's users get.

    Raises
    ------
    ValueError
        If names of parameters and tensors differ, or shapes do not match.
    """
    parameters = dict(module.named_parameters())
    if parameters.keys() != tensors.keys():
        raise ValueError(f"parameters are {sorted(parameters)}, weights are given for {sorted(tensors)}")
    with torch.no_grad():
        for name, parameter in parameters.items():
            tensor = tensors[name]
            if tensor.ndim == 2 and tensor.shape != parameter.shape:
                tensor = tensor.T
            if tensor.shape != parameter.shape:
                raise ValueError(f"{name} is {tuple(parameter.shape)}, the weights are {tuple(tensor.shape)}")
            parameter.copy_(tensor)


def active(latents: Tensor) -> float:
    """Return the mean number of active latents per row."""
    return float((latents != 0).sum(-1).double().mean())
