"""Find a dictionary of raw activations with a solver."""

from functools import partial

import torch

from sdlcore.data.batches import BatchReader
from sdlcore.data.memory import Activations
from sdlcore.data.pairs import pair_sites
from sdlcore.model.coder import SparseCoder
from sdlcore.model.finite import not_finite
from sdlcore.random_streams import stream, torch_stream
from sdlcore.solvers.settings import SolverConfig
from sdlcore.solvers.solve import solve
from sdlcore.training import normalisation
from sdlcore.training.history import History, Watch


def solve_dictionary(
    store: Activations,
    config: SolverConfig,
    seed: int,
    history: History,
    start: torch.Tensor | None = None,
    watch: Watch | None = None,
) -> SparseCoder:
    """Find a dictionary of raw activations with a solver, and fit its encoder.

    Parameters
    ----------
    store
        Activations.
    config, seed
        Settings, and the seed of the sample order and initial atoms.
    history
        An open history; receives one row per step.
    start
        Initial atoms (K x n_r), instead of drawn ones.
    watch
        Called with the atoms; returns further entries for each history row.

    Raises
    ------
    ValueError
        If the weights found are not finite.
    """
    sites = pair_sites(config.pair, *store.widths)
    reader = BatchReader(store, config.pair, min(config.batch_size, store.rows), partial(stream, seed, "order"))
    if config.normalise:
        scaling = normalisation.fit_normalisation(store, config.pair)
    else:
        scaling = normalisation.no_scaling(*(sum(widths) for widths in sites))
    if start is not None:
        start = start * scaling.scale_r

    def pairs(step: int) -> tuple[torch.Tensor, torch.Tensor]:
        x_p, x_r = reader(step)
        first = torch.from_numpy(x_p)
        return first, first if x_r is x_p else torch.from_numpy(x_r)

    model = solve(pairs, config, sites, torch_stream(seed, "initialisation"), scaling, history, start, watch)
    scaling.fold(model)
    if broken := not_finite(model.state_dict()):
        raise ValueError(
            f"{store.path}: {config.solver} found weights that are not finite ({broken}); look for activations that "
            "are huge or tiny beside other activations"
        )
    return model
