"""Look up solvers by their names in configurations: built-in solvers and plugins."""

from collections.abc import Callable, Iterator
from functools import partial
from importlib import import_module
from typing import TypeVar, get_args

import torch
from torch import Tensor

from sdlcore.config import TAKEN
from sdlcore.plugins.registry import Extension, extension, registered
from sdlcore.solvers.search import ReadTargets, Row, SolverSteps
from sdlcore.solvers.settings import Solver, SolverConfig

AnySearch = TypeVar("AnySearch", bound=Callable[..., object])
ROW = ("step", "samples", "loss", "fvu", "l0", "support", "seconds")
"""Keys that every row of a solver's history must contain."""


def solver(name: str) -> Callable[[AnySearch], AnySearch]:
    """Register a generator function as a solver.

    Its arguments are ``batches``, a function that returns the targets (B x n_r) of a step, counted from 0; the settings
    of all solvers; a random generator for initial atoms; and given initial atoms (K x n_r) or None. After each step it
    yields the atoms (K x n_r, float32 rows of unit norm) and a history row: a dictionary with the keys step, samples,
    loss, fvu, l0, support and seconds. Its keyword-only parameters become settings, validated like built-in ones.

    Parameters
    ----------
    name
        Name in configurations: lower-case letters, digits and underscores.

    Raises
    ------
    PluginError
        If the name is taken, or a setting is named like a built-in one or has a type that configurations cannot hold.
    """
    return extension("solver", name, get_args(Solver), [*SolverConfig.model_fields, *TAKEN], takes=4)


def solver_of(name: str) -> SolverSteps:
    """Return a solver by name, importing only its module or taking it from a plugin."""
    plugin = registered("solver", name)
    if plugin is not None:
        return partial(_run_plugin, plugin)
    search: SolverSteps = import_module(f"sdlcore.solvers.{name}").SOLVER
    return search


def _run_plugin(
    plugin: Extension, batches: ReadTargets, config: SolverConfig, generator: torch.Generator, start: Tensor | None
) -> Iterator[tuple[Tensor, Row]]:
    """Run a plugin's solver; raise ValueError, naming the solver, for atoms or a history row that others cannot use."""
    found = False
    for atoms, row in plugin.implementation(batches, config, generator, start, **(config.model_extra or {})):
        found = True
        if missing := [name for name in ROW if name not in row]:
            raise ValueError(f"solver {plugin.name} yielded a row of the history without {', '.join(missing)}")
        if atoms.dtype != torch.float32 or not bool(((atoms.norm(dim=1) - 1).abs() < 1e-3).all()):
            raise ValueError(f"solver {plugin.name} yielded atoms that are not float32 rows of norm 1")
        yield atoms.detach(), {**row}  # the solver may change its row before the next step
    if not found:
        raise ValueError(f"solver {plugin.name} yielded nothing, expected atoms and a history row for each step")
