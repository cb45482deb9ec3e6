"""Deprecated: parts of activations under the old name of their module."""

from sdlcore.deprecation import renamed_names
from sdlcore.model.activation import Activation, Selecting
from sdlcore.sparse.support import kept

__getattr__ = renamed_names(
    "sdlcore.model.sigma",
    {
        "Sigma": ("sdlcore.model.activation.Activation", Activation),
        "Selecting": ("sdlcore.model.activation.Selecting", Selecting),
        "kept": ("sdlcore.sparse.support.kept", kept),
    },
)
