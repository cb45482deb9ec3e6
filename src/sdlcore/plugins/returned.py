"""Say what other people's code returned, for the error that refuses it."""

from typing import Any


def in_words(value: Any) -> str:
    """Return what a value is: shape and type of an array or a tensor, else the value where it is short."""
    kind = type(value).__name__
    if hasattr(value, "shape") and hasattr(value, "dtype"):
        return f"{kind} of shape {tuple(value.shape)} and type {str(value.dtype).removeprefix('torch.')}"
    text = repr(value)
    return text if len(text) <= 40 else kind
