"""Activation functions by the names that configurations have."""

from importlib import import_module

from sdlcore.model.sigma import Sigma
from sdlcore.run import ModelConfig


def make_sigma(config: ModelConfig) -> Sigma:
    """Return the activation function of a model, made by the module of its name, which alone is imported."""
    found: Sigma = import_module(f"sdlcore.model.activations.{config.activation}").make(config)
    return found
