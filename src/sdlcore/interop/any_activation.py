"""The built-in activations. A saved dictionary names one activation, so code that loads dictionaries depends on all
activations."""

from sdlcore.model.activations import abstopk, batchtopk, gated, jumprelu, lista, matching_pursuit, relu, topk

__all__ = ["abstopk", "batchtopk", "gated", "jumprelu", "lista", "matching_pursuit", "relu", "topk"]
