"""Every activation of ours: what a file of a dictionary may name, and so what opening one hangs on."""

from sdlcore.model.activations import batchtopk, gated, jumprelu, relu, topk

__all__ = ["batchtopk", "gated", "jumprelu", "relu", "topk"]
