"""`solve`: find a dictionary without gradient descent, by alternating convex search or a classical solver."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch

from sdlcore.benches.known_features import KnownFeatures
from sdlcore.data.arrays import Activations
from sdlcore.data.batches import stored_batches
from sdlcore.data.conversion import activations, pair_of
from sdlcore.data.pairs import pair_sites
from sdlcore.data.references import References
from sdlcore.dictionary.dictionary import Dictionary
from sdlcore.dictionary.load import open_or_make
from sdlcore.dictionary.run_folder import run_folder
from sdlcore.fitting.bars import progress_bar, shown_on
from sdlcore.fitting.checks import check_sites
from sdlcore.fitting.fit import opened_watch, provenance_of
from sdlcore.fitting.start import check_finite_start, opened_start
from sdlcore.identity import ENTRY
from sdlcore.settings import Seed, checked
from sdlcore.solvers.settings import SolverConfig
from sdlcore.solvers.solve import solve_dictionary
from sdlcore.training.history import History, Sink
from sdlcore.training.watch import watch_directions


def solve(
    x: Any,
    solver: str = "acs",
    target: Any = None,
    *,
    seed: int = 0,
    start: Dictionary | str | Path | None = None,
    watch: KnownFeatures | References | np.ndarray | Sequence[np.ndarray] | None = None,
    progress: bool = True,
    out: str | Path | None = None,
    **settings: Any,
) -> Dictionary:
    """Find a dictionary of activations without gradient descent, on the CPU. It encodes raw activations.

    Parameters
    ----------
    x
        N x n_p activations, as in `fit`: an array, a tensor, a path of an .npy file, or an activation store. Solvers
        read all samples several times, so batches are refused. ``[x1, x2]`` finds a crosscoder.
    solver
        acs: alternating convex search; ksvd: approximate K-SVD; odl: scikit-learn's online dictionary learning; kmeans:
        its mini-batch k-means; or a plugin's solver.
    target
        N x n_r activations that a transcoder writes.
    seed
        Seed of the sample order and the initial atoms. The same call gives the same bits.
    start
        A dictionary, or its path, whose decoder columns are the initial atoms.
    watch
        A bench or references, as in `evaluate`. The history then counts the recovered directions.
    progress
        Show a progress bar.
    out
        A folder for the dictionary, as in `fit`. A finished run is opened, and another run is never overwritten.
        Solvers write no checkpoints.
    **settings
        Settings of the solver (`sdlcore.solvers.settings.SolverConfig`), such as ``n_atoms`` and ``support``.

    Returns
    -------
    The dictionary. Its ``history`` has a row for each step; its ``provenance`` has settings, seed, data and versions.

    Raises
    ------
    ValueError
        Naming the setting, or the input, that is wrong.
    """
    folder = None if out is None else run_folder(out)
    with (
        _opened(x, solver, target, seed, start, watch, settings) as (samples, config, given_start, directions, facts),
        progress_bar(config.max_steps, progress) as bar,
    ):

        def make(_: Any, rows: Sequence[Sink]) -> Dictionary:
            history = History(sinks=[shown_on(bar), *rows])
            history.show()
            atoms = None if given_start is None else given_start.W_dec.cpu()
            counted = None if directions is None else watch_directions(directions.sites, config.pair)
            model = solve_dictionary(samples, config, seed, history, atoms, counted)
            return Dictionary(model, facts, history.rows)

        return open_or_make(folder, facts, make)


def identity_of_solve(
    x: Any,
    solver: str,
    *,
    seed: int = 0,
    start: Dictionary | None = None,
    watch: References | None = None,
    **settings: Any,
) -> dict[str, Any]:
    """Return the identity of the run that `solve` makes of the same arguments (`sdlcore.identity`)."""
    with _opened(x, solver, None, seed, start, watch, settings) as (*_, facts):
        run: dict[str, Any] = facts[ENTRY]
    return run


@contextmanager
def _opened(
    x: Any, solver: str, target: Any, seed: int, start: Any, watch: Any, settings: Mapping[str, Any]
) -> Iterator[tuple[Activations, SolverConfig, Dictionary | None, References | None, dict[str, Any]]]:
    """Check the arguments of `solve`; yield the samples, the settings, the start, the watch and the provenance."""
    settings = {**settings, "pair": pair_of(x, target, settings.get("pair"))}
    config, seed = SolverConfig.from_dict({"solver": solver, **settings}), checked("seed", Seed, seed)
    given_start, directions = opened_start(start), opened_watch(watch)
    with activations(x, target) as samples:
        batches = stored_batches(samples)
        if directions is not None:
            check_sites("watch", tuple(map(len, directions.sites)), batches, config.pair)
        if given_start is not None:
            check_finite_start(given_start.coder)
            n_r = sum(pair_sites(config.pair, *batches.widths)[1])
            if given_start.W_dec.shape[1] != n_r:
                raise ValueError(f"start writes {given_start.W_dec.shape[1]} dimensions, but the inputs have {n_r}")
        device = torch.device("cpu")
        facts = provenance_of("solve", config, seed, device, batches, given_start, directions)
        yield samples, config, given_start, directions, facts
