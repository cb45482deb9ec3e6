"""Run a solver and write the files of its run."""

from functools import partial
from pathlib import Path

import torch

from sdlcore.data.batches import BatchReader
from sdlcore.data.memory import Activations
from sdlcore.data.pairs import pair_sites
from sdlcore.data.reading import open_checked
from sdlcore.model.coder import SparseCoder
from sdlcore.model.finite import not_finite
from sdlcore.model.saving import load_model
from sdlcore.random_streams import stream, torch_stream
from sdlcore.solvers.registry import libraries_of
from sdlcore.solvers.settings import SolverConfig
from sdlcore.solvers.solve import solve
from sdlcore.training import normalisation
from sdlcore.training.history import History, Watch, csv_file
from sdlcore.training.runner import Run, leave_run


def run_solver(run: Run, config: SolverConfig, script: str, start: Path | None = None) -> None:
    """Find a dictionary with a solver, and write the run's files.

    Parameters
    ----------
    run, config
        The run (store, seed, files), and the solver's settings.
    script
        File of the calling script; its code counts as part of the run.
    start
        Saved model whose dictionary initialises the solver.
    """
    libraries = libraries_of(config.solver)
    leave_run(run, config, lambda _: _solve(run, config, start), script, {"start": start}, libraries=libraries)


def _solve(run: Run, config: SolverConfig, start: Path | None) -> SparseCoder:
    with open_checked(run.store) as store, History(sinks=[partial(csv_file, run.history)]) as history:
        atoms = load_model(start).W_dec.detach() if start else None
        return solve_dictionary(store, config, run.seed, history, atoms, run.watching(config.pair))


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
        If the initial atoms do not have the width of x_r, or the weights found are not finite.
    """
    sites = pair_sites(config.pair, *store.widths)
    reader = BatchReader(store, config.pair, min(config.batch_size, store.rows), partial(stream, seed, "order"))
    if config.normalise:
        scaling = normalisation.fit(store, config.pair)
    else:
        scaling = normalisation.no_scaling(*(sum(widths) for widths in sites))
    if start is not None:
        if start.shape[1] != sum(sites[1]):
            raise ValueError(f"start has atoms of {start.shape[1]} dimensions, but x_r has {sum(sites[1])}")
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
