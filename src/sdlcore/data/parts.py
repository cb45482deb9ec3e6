"""A deprecated name of `sdlcore.data.resumable`."""

from sdlcore.deprecation import moved_module

__getattr__ = moved_module("sdlcore.data.parts", "sdlcore.data.resumable")
