"""Activation functions by the names that configurations have."""

from importlib import import_module

from sdlcore.model.sigma import Selecting, Sigma
from sdlcore.run import ModelConfig


def make_sigma(config: ModelConfig) -> Sigma:
    """Return the activation function of a model, made by the module of its name, which alone is imported.

    Raises
    ------
    TypeError
        If it keeps a given number of latents by `sdlcore.run.SELECTING`, and its class is not made for that.
    """
    found: Sigma = import_module(f"sdlcore.model.activations.{config.activation}").make(config)
    if config.selects and not isinstance(found, Selecting):
        raise TypeError(f"{type(found).__name__}: expected a subclass of Selecting, since SELECTING has its name")
    return found
