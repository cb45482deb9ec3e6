"""Mini-batch k-means (scikit-learn's) on the directions of samples, as a dictionary.

A sample belongs to one cluster, so this is sparse coding with one active atom: a centre is the mean of the samples
that one direction dominates, with what else is active in them averaged.
"""

from collections.abc import Iterator

import torch
from torch import Tensor
from torch.nn.functional import normalize

from sdlcore.solvers.search import Batches, Row, initial_atoms, learnt, read_batch
from sdlcore.solvers.settings import SolverConfig

LIBRARIES = ("scikit-learn",)
"""Distributions whose versions matter."""


def kmeans(
    batches: Batches, config: SolverConfig, generator: torch.Generator, start: Tensor | None = None
) -> Iterator[tuple[Tensor, Row]]:
    """Yield the directions of centres (n_atoms x n_r, unit rows) and the history's row of each step, until it settles.

    Arguments, rows and errors as of `sdlcore.solvers.acs.alternating_convex_search`; none is pruned. Samples are taken
    at unit norm (zeros stay zero), so that clusters are of directions.

    Raises
    ------
    ModuleNotFoundError
        If scikit-learn is not installed.
    ValueError
        If a batch has fewer samples than there are atoms.
    """
    from sklearn.cluster import MiniBatchKMeans  # only here: it takes a while to import

    first = read_batch(batches, 0)
    atoms = initial_atoms(first, config.n_atoms, generator, start)
    if len(first) < len(atoms):
        raise ValueError(
            f"kmeans needs a sample a step for each atom at least, found {len(first)} samples and {len(atoms)} atoms; "
            "lower n_atoms, or raise batch_size if there are more samples"
        )
    learner = MiniBatchKMeans(len(atoms), init=atoms.numpy().copy(), n_init=1, random_state=0)

    def learn(x_BR: Tensor) -> Tensor:
        return torch.from_numpy(learner.partial_fit(normalize(x_BR).numpy()).cluster_centers_)

    yield from learnt(batches, config, atoms, learn)


SOLVER = kmeans
