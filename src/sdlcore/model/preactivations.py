"""A deprecated name of `sdlcore.sparse.preactivations`."""

from sdlcore.deprecation import moved_module

__getattr__ = moved_module("sdlcore.model.preactivations", "sdlcore.sparse.preactivations")
