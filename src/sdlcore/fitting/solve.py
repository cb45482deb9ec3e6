"""`solve`: find a dictionary without gradient descent, by alternating convex search or a classical solver."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch

from sdlcore.benches.known_features import KnownFeatures
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
from sdlcore.model.coder import SparseCoder
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

    A solver finds *atoms*, the decoder columns, which have unit norm.

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
        A dictionary, or its path. Its decoder columns, scaled to unit norm, are the initial atoms.
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
        opened_solve(x, solver, target, seed=seed, start=start, watch=watch, **settings) as (config, facts, find),
        progress_bar(config.max_steps, progress) as bar,
    ):

        def make(_: Any, rows: Sequence[Sink]) -> Dictionary:
            history = History(sinks=[shown_on(bar), *rows])
            history.show()
            return Dictionary(find(history), facts, history.rows)

        return open_or_make(folder, facts, make)


@contextmanager
def opened_solve(
    x: Any, solver: str, target: Any = None, *, seed: int = 0, start: Any = None, watch: Any = None, **settings: Any
) -> Iterator[tuple[SolverConfig, dict[str, Any], Callable[[History], SparseCoder]]]:
    """Check the arguments of `solve`, and open its data; yield the settings, the provenance and the search.

    The provenance has the run's identity, so a caller can look for the finished run elsewhere.
    """
    settings["pair"] = pair_of(x, target, settings.get("pair"))
    config, seed = SolverConfig.from_dict({"solver": solver, **settings}), checked("seed", Seed, seed)
    first, directions = opened_start(start), opened_watch(watch)
    with activations(x, target) as samples:
        batches = stored_batches(samples)
        if directions is not None:
            check_sites("watch", tuple(map(len, directions.sites)), batches, config.pair)
        if first is not None:
            check_finite_start(first.coder)
            n_r = sum(pair_sites(config.pair, *batches.widths)[1])
            if first.W_dec.shape[1] != n_r:
                raise ValueError(
                    f"start writes {first.W_dec.shape[1]} dimensions, but the inputs have {n_r}; give another start"
                )
        facts = provenance_of("solve", config, seed, torch.device("cpu"), batches, first, directions)
        atoms = None if first is None else first.W_dec.cpu()
        watched = None if directions is None else watch_directions(directions.sites, config.pair)
        yield config, facts, lambda history: solve_dictionary(samples, config, seed, history, atoms, watched)
