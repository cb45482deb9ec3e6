"""Deprecated: `sdlcore.sparse.support` under its old name."""

from sdlcore.deprecation import moved_module

__getattr__ = moved_module("sdlcore.model.support", "sdlcore.sparse.support")
