"""Process groups for data-parallel and latent-parallel training.

`Group` is one process by itself, which has nothing to tell: its sums are what it has. `sdlcore.training.distributed`
has the one of several processes. Every method of a group is called by all of its processes, in the same order.
"""

from collections.abc import Sequence
from typing import NamedTuple

from torch import Tensor


class Group:
    """Processes among which something is divided into equal parts, in the order of their ranks: here, one alone."""

    rank = 0
    size = 1

    def part(self, n: int) -> slice:
        """Return which of ``n`` things are this process's."""
        return slice(self.rank * n // self.size, (self.rank + 1) * n // self.size)

    def counts(self, n: int) -> list[int]:
        """Return the number that each process gives."""
        return [n]

    def sum(self, x: Tensor) -> Tensor:
        """Return the sum over processes, of which each has the whole gradient."""
        return x

    def mean(self, x: Tensor) -> Tensor:
        """Return the mean over processes."""
        return self.sum(x) / self.size if self.size > 1 else x

    def add(self, tensors: Sequence[Tensor]) -> None:
        """Put sums over processes in the place of tensors."""

    def least(self, x: Tensor) -> Tensor:
        """Return the least over processes, element by element."""
        return x

    def any(self, mask: Tensor) -> Tensor:
        """Return what is true in any process."""
        return mask

    def gather(self, x: Tensor) -> Tensor:
        """Return the tensors of all processes, one after the other in a dimension before theirs.

        In their last, in which they may differ, those that are shorter are filled with -inf.
        """
        return x[None]

    def whole(self, x: Tensor) -> Tensor:
        """Return the parts of all processes, one below the other, to the first; to the others, something of no use."""
        return x

    def first(self, x: Tensor) -> Tensor:
        """Return the first process's tensor."""
        return x


class Processes(NamedTuple):
    """What is divided among the processes of a training."""

    samples: Group = Group()
    """The samples of each batch (data parallel): each process has the whole dictionary."""
    latents: Group = Group()
    """The latents (tensor parallel): each process has all samples, and the encoder and decoder rows of its latents."""

    @property
    def all(self) -> Group:
        """All of them."""
        return self.samples if self.samples.size > 1 else self.latents


ALONE = Processes()
