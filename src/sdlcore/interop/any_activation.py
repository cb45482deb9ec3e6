"""The built-in activations. A saved dictionary names one of them, so code that loads dictionaries depends on all."""

from sdlcore.model.activations import batchtopk, gated, jumprelu, relu, topk

__all__ = ["batchtopk", "gated", "jumprelu", "relu", "topk"]
