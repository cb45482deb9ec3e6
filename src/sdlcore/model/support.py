"""A deprecated name of `sdlcore.sparse.support`."""

from sdlcore.deprecation import moved_module

__getattr__ = moved_module("sdlcore.model.support", "sdlcore.sparse.support")
