"""The built-in activations. A saved dictionary names one of them, so code that loads dictionaries depends on all."""

from sdlcore.model.activations import abstopk, batchtopk, gated, jumprelu, lista, matching_pursuit, relu, topk

__all__ = ["abstopk", "batchtopk", "gated", "jumprelu", "lista", "matching_pursuit", "relu", "topk"]
