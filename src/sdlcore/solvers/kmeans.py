"""Mini-batch k-means (scikit-learn's) on the directions of samples, as a dictionary.

Each sample belongs to one cluster, so k-means is sparse coding with one active atom. A centre is the mean of the
samples that one direction dominates; their other features average out.
"""

from collections.abc import Iterator

import torch
from torch import Tensor
from torch.nn.functional import normalize

from sdlcore.extras import extra
from sdlcore.solvers.search import ReadTargets, Row, initial_atoms, read_batch, run_learner
from sdlcore.solvers.settings import SolverConfig


def kmeans(
    batches: ReadTargets, config: SolverConfig, generator: torch.Generator, start: Tensor | None = None
) -> Iterator[tuple[Tensor, Row]]:
    """Yield the directions of centres (n_atoms x n_r, unit rows) and a history row after each step, until it settles.

    Arguments, rows and errors as in `sdlcore.solvers.acs.alternating_convex_search`; no atom is pruned. Samples are
    scaled to unit norm (zeros stay zero), so that clusters group directions.

    Raises
    ------
    ModuleNotFoundError
        If scikit-learn is not installed.
    ValueError
        By scikit-learn, if a batch has fewer samples than there are atoms.
    """
    with extra("sklearn"):
        from sklearn.cluster import MiniBatchKMeans  # only here: importing it is slow

    atoms = initial_atoms(read_batch(batches, 0), config.n_atoms, generator, start)
    learner = MiniBatchKMeans(len(atoms), init=atoms.numpy().copy(), n_init=1, random_state=0)

    def learn(x_BR: Tensor) -> Tensor:
        return torch.from_numpy(learner.partial_fit(normalize(x_BR).numpy()).cluster_centers_)

    yield from run_learner(batches, config, atoms, learn)


SOLVER = kmeans
