"""BatchTopK: keep the k B largest pre-activations of a batch, and learn a threshold for single samples."""

import torch
from torch import Tensor

from sdlcore.model.activation import Selecting
from sdlcore.sparse.search import Above, LargestPerBatch, Search, largest
from sdlcore.sparse.support import Support


class BatchTopK(Selecting):
    """In training, z if z is positive and among the k B largest of its batch of B, else zero (Bussmann et al. 2024).

    Outside training, z above a threshold, so that a sample's latents do not depend on its batch. The threshold is the
    running mean of the smallest value kept in each training batch. Every pass in training mode updates it. It is saved
    with the model, and negative before the first training batch.
    """

    # The threshold falls during training. A mean over some ten steps follows it; a longer memory (the common .99 and
    # above) is stale at the end of a run of hundreds of steps.
    DECAY = 0.9

    def __init__(self, k: int | None) -> None:
        super().__init__(k)
        self.register_buffer("threshold", torch.tensor(-1.0, dtype=torch.float32))
        self.batch_search = LargestPerBatch(self.k)

    def forward(self, pre: Tensor) -> Tensor:
        if not self.training:
            return torch.where(pre > self._learned(), pre, 0.0)
        is_largest = largest(pre.flatten(), self.k * len(pre)).view_as(pre)
        latents = torch.where(is_largest, torch.relu(pre), 0.0)
        self._follow(latents[latents > 0].min() if latents.any() else latents.new_tensor(torch.inf))
        return latents

    def search(self) -> Search:
        return self.batch_search if self.training else Above(self._learned())

    def values(self, pre: Tensor, support: Support) -> Tensor:
        latents = torch.relu(pre)
        if self.training:
            smallest = support.smallest_positive(latents.detach())
            self._follow(self.batch_search.processes.minimum(smallest))
        return latents

    def _learned(self) -> Tensor:
        if self.threshold < 0:
            raise RuntimeError("BatchTopK has no threshold before its first training batch")
        return self.threshold

    @torch.no_grad()
    def _follow(self, smallest: Tensor) -> None:
        # a batch without positive values leaves the threshold as it is, or sets it to zero if it is the first batch
        smallest = torch.where(smallest.isinf(), self.threshold.clamp(min=0.0), smallest)
        mean = self.DECAY * self.threshold + (1 - self.DECAY) * smallest
        self.threshold.copy_(torch.where(self.threshold < 0, smallest, mean))


ACTIVATION = BatchTopK
