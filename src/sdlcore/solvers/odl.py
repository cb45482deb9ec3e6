"""Online dictionary learning (Mairal et al. 2010) by scikit-learn.

Codes come from coordinate descent on the lasso, and the dictionary step is one pass of block coordinate descent on the
running sums. scikit-learn computes both steps; this module passes it batches and records the history.
"""

import warnings
from collections.abc import Iterator

import torch
from torch import Tensor

from sdlcore.extras import extra
from sdlcore.solvers.search import ReadTargets, Row, initial_atoms, read_batch, run_learner
from sdlcore.solvers.settings import SolverConfig


def online_dictionary_learning(
    batches: ReadTargets, config: SolverConfig, generator: torch.Generator, start: Tensor | None = None
) -> Iterator[tuple[Tensor, Row]]:
    """Yield the dictionary (n_atoms x n_r, unit rows) and a history row after each step, until the search settles.

    Arguments, rows and errors as in `sdlcore.solvers.acs.alternating_convex_search`; no atom is pruned. ``l1`` is the
    weight of the lasso. As for all solvers, a row's error belongs to the non-negative codes of `sdlcore.solvers.codes`;
    their computation does not count towards ``seconds``.

    Raises
    ------
    ModuleNotFoundError
        If scikit-learn is not installed.
    ValueError
        If ``l1`` is so large that all codes are zero.
    """
    # only here: importing them is slow
    with extra("sklearn"):
        from sklearn.decomposition import MiniBatchDictionaryLearning
        from sklearn.exceptions import ConvergenceWarning

    first = read_batch(batches, 0)
    atoms = initial_atoms(first, config.n_atoms, generator, start)
    # if the weight exceeds every product, all codes are zero (Tibshirani 1996) and nothing is learned
    if (largest := float((first @ atoms.T).max())) <= config.l1:
        raise ValueError(
            f"l1 is {config.l1 / max(largest, 1e-300):.3g} times the largest product of a sample and an atom, so all "
            "codes are zero; lower l1, or multiply activations by a constant"
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
        # float64, because scikit-learn stops a sample's iterations by a duality gap that is mostly rounding error in
        # float32. That error depends on the memory alignment in OpenBLAS's sasum, so equal seeds gave different bits
        # in different processes, and most iterations were wasted.
        with warnings.catch_warnings():
            # scikit-learn warns of each sample that does not reach its tolerance
            warnings.simplefilter("ignore", ConvergenceWarning)
            return torch.from_numpy(learner.partial_fit(x_BR.double().numpy()).components_)

    yield from run_learner(batches, config, atoms, learn)


SOLVER = online_dictionary_learning
