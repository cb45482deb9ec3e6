"""Groups of correlated features, where the paper's are independent."""

from typing import NamedTuple

import numpy as np


class Groups(NamedTuple):
    """Groups of features that are active together more often than chance has it.

    The first features are a group, the next another, and so on; the last may have fewer.
    """

    size: int
    """Features of a group."""
    correlation: float
    """From 0 to 1: the correlation of the activity of two features of a group, as a share of the largest that their
    probabilities allow. That is 1, and this the correlation itself, where both are as probable."""

    def couple(self, u: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Return uniform numbers that agree within groups, where feature i is active below its probability p_i.

        A group has a number of its own in every sample, and each of its features takes it with probability
        sqrt(correlation), independently, in the place of its own number. So every number stays uniform, and two
        features of a group have cov(a_i, a_j) = correlation (min(p_i, p_j) - p_i p_j), of which the bracket is the
        largest that there can be (Frechet's bound).

        Parameters
        ----------
        u
            N x n independent numbers, uniform in [0, 1).
        rng
            Where the groups' numbers are drawn from, and who takes them.
        """
        n_samples, n = u.shape
        shared = rng.random((n_samples, -(-n // self.size)))
        takes = rng.random((n_samples, n)) < np.sqrt(self.correlation)
        return np.where(takes, np.repeat(shared, self.size, axis=1)[:, :n], u)
