"""A user's callbacks, which receive each row of the history and may stop the training."""

from collections.abc import Callable

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
