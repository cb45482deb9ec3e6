"""A deprecated name of `sdlcore.model.coder`."""

from sdlcore.deprecation import moved_module

__getattr__ = moved_module("sdlcore.model.sparse_coder", "sdlcore.model.coder")
