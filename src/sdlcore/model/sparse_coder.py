"""Deprecated: `sdlcore.model.coder` under its old name."""

from sdlcore.deprecation import moved_module

__getattr__ = moved_module("sdlcore.model.sparse_coder", "sdlcore.model.coder")
