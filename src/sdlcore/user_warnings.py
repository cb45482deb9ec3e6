"""Warnings that point at the user's line."""

import inspect
import os
import warnings


def is_first_process() -> bool:
    """Whether this process is the first that torchrun started, or runs without torchrun. Only the first one prints."""
    return os.environ.get("RANK", "0") == "0"


def warn_at_call(message: str) -> None:
    """Warn at the user's line: the innermost calling line outside sdlcore and torch.

    Torch is left out because its decorators, such as ``no_grad``, wrap functions of sdlcore. Of processes that train
    together, only the first warns.
    """
    if not is_first_process():
        return
    level, frame = 1, inspect.currentframe()
    while frame and frame.f_globals.get("__name__", "").partition(".")[0] in ("sdlcore", "torch"):
        level, frame = level + 1, frame.f_back
    warnings.warn(message, stacklevel=level)
