"""A user's callbacks, which receive each row of the history and may stop the training."""

from collections.abc import Callable, Iterable

import numpy as np
import torch

from sdlcore.training.history import Row

Callback = Callable[[Row], object]


def stops(answer: object) -> bool:
    """Return whether a callback's answer stops the training. Only True does, not other objects such as the number that
    ``csv.writer(...).writerow`` returns."""
    if isinstance(answer, torch.Tensor) and answer.dtype == torch.bool and answer.numel() == 1:
        return bool(answer)
    return isinstance(answer, bool | np.bool_) and bool(answer)


def check_callbacks(callbacks: object) -> tuple[Callback, ...]:
    """Return callbacks as a tuple; ValueError if they are not a list of functions."""
    if callable(callbacks) or not isinstance(callbacks, Iterable):
        raise ValueError(
            f"callbacks are a {type(callbacks).__name__}, expected a list of functions: callbacks=[lambda row: ...]"
        )
    functions = tuple(callbacks)
    for number, callback in enumerate(functions):
        if not callable(callback):
            raise ValueError(
                f"callbacks[{number}] is {callback!r:.60}, expected a function that takes a row of the history"
            )
    return functions
