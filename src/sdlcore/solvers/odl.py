"""Online dictionary learning (Mairal et al. 2010) by scikit-learn.

Its codes are those of LARS or coordinate descent on the lasso, its dictionary step is one pass of block coordinate
descent on the running sums. Both are scikit-learn's; here is only what gives it batches and keeps its history.
"""

import warnings
from collections.abc import Iterator

import torch
from torch import Tensor

from sdlcore.solvers.search import Batches, Row, initial_atoms, learnt, read_batch
from sdlcore.solvers.settings import SolverConfig

LIBRARIES = ("scikit-learn",)
"""Distributions whose versions matter."""


def online_dictionary_learning(
    batches: Batches, config: SolverConfig, generator: torch.Generator, start: Tensor | None = None
) -> Iterator[tuple[Tensor, Row]]:
    """Yield the dictionary (n_atoms x n_r, unit rows) and the history's row of each step, until it settles.

    Arguments, rows and errors as of `sdlcore.solvers.acs.alternating_convex_search`; none is pruned. ``l1`` is the
    weight of the lasso. The row's error is, as for all solvers, that of the non-negative codes of
    `sdlcore.solvers.codes`, whose time is not counted.

    Raises
    ------
    ModuleNotFoundError
        If scikit-learn is not installed.
    ValueError
        If ``l1`` is so large that no sample has a code.
    """
    # only here: they take a while to import
    from sklearn.decomposition import MiniBatchDictionaryLearning
    from sklearn.exceptions import ConvergenceWarning

    first = read_batch(batches, 0)
    atoms = initial_atoms(first, config.n_atoms, generator, start)
    # codes are all zero where the weight reaches every product (Tibshirani 1996), and nothing is learned from them
    if (largest := float((first @ atoms.T).max())) <= config.l1:
        raise ValueError(
            f"l1 is {config.l1 / max(largest, 1e-300):.3g} times the largest product of a sample and an atom, so that "
            "all codes are zero; lower l1, or multiply activations by a constant"
        )
    learner = MiniBatchDictionaryLearning(
        n_components=len(atoms),
        alpha=config.l1,
        batch_size=config.batch_size,
        fit_algorithm="cd",
        transform_algorithm="lasso_cd",
        dict_init=atoms.double().numpy(),
        positive_code=True,
        random_state=0,
    )

    def learn(x_BR: Tensor) -> Tensor:
        # In float64. In float32 its duality gaps, by which it ends a sample's iterations, are rounding errors for many
        # samples, and hang on where in memory a sum of absolute values lies (OpenBLAS's sasum): a seed did not have the
        # same bits in every process, and most iterations were in vain.
        with warnings.catch_warnings():
            # some samples do not come to its tolerance, of which it warns one by one
            warnings.simplefilter("ignore", ConvergenceWarning)
            return torch.from_numpy(learner.partial_fit(x_BR.double().numpy()).components_)

    yield from learnt(batches, config, atoms, learn)


SOLVER = online_dictionary_learning
