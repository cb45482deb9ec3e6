"""Deprecated: `sdlcore.sparse.preactivations` under its old name."""

from sdlcore.deprecation import moved_module

__getattr__ = moved_module("sdlcore.model.preactivations", "sdlcore.sparse.preactivations")
