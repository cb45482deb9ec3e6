"""A method of one's own: TopK whose latents are shrunk, registered from outside the package."""

from typing import Annotated

from annotated_types import Ge
from torch import Tensor

import sdlcore as sdl
from sdlcore.sparse.support import Support


@sdl.activation("soft_topk")
class SoftTopK(sdl.TopK):
    """The k largest pre-activations of a sample, minus a constant: TopK with soft thresholding."""

    shrink: Annotated[float, Ge(0)] = 0.1
    """Constant to subtract from each pre-activation."""

    def values(self, pre: Tensor, support: Support) -> Tensor:
        return (super().values(pre, support) - self.shrink).clamp(min=0)
