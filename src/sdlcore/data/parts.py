"""Deprecated: `sdlcore.data.resumable` under its old name."""

from sdlcore.deprecation import moved_module

__getattr__ = moved_module("sdlcore.data.parts", "sdlcore.data.resumable")
