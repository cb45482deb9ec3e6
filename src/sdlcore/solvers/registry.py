"""Look up solvers by their names in configurations: built-in solvers and plugins."""

from collections.abc import Callable, Iterable, Iterator
from functools import partial
from importlib import import_module
from numbers import Real
from typing import Any, TypeVar, get_args

import torch
from torch import Tensor

from sdlcore.plugins.plugin_settings import settings_class
from sdlcore.plugins.registry import Extension, check_named, in_words, register, registered
from sdlcore.run import TAKEN
from sdlcore.solvers.search import Batches, Row, Search
from sdlcore.solvers.settings import Solver, SolverConfig

AnySearch = TypeVar("AnySearch", bound=Callable[..., object])
ROW = ("step", "samples", "loss", "fvu", "l0", "support", "seconds")
"""Keys that every row of a solver's history must contain."""


def solver(name: str) -> Callable[[AnySearch], AnySearch]:
    """Register a generator function as a solver (`sdlcore.solvers.search.Search`).

    The function's arguments are batches, the settings of all solvers, a random generator, and initial atoms or None.
    After each step the function yields the atoms and a history row. The function's keyword-only parameters become
    settings, validated like built-in ones.

    Parameters
    ----------
    name
        Name in configurations: lower-case letters, digits and underscores.

    Raises
    ------
    PluginError
        If the name is taken, or a setting has the name of a built-in setting or a type that configurations cannot hold.
    """
    check_named(name, "solver")

    def add(search: AnySearch) -> AnySearch:
        settings = settings_class(search, f"solver {name}", takes=("batches", "config", "generator", "start"))
        extension = Extension("solver", name, search, settings)
        register(extension, get_args(Solver), [*SolverConfig().to_dict(), *TAKEN])
        return search

    return add


def solver_of(name: str) -> Search:
    """Return a solver by name, importing only its module or taking it from a plugin."""
    plugin = registered("solver", name)
    if plugin is not None:
        return partial(_run_plugin, plugin)
    search: Search = import_module(f"sdlcore.solvers.{name}").SOLVER
    return search


def _run_plugin(
    plugin: Extension, batches: Batches, config: SolverConfig, generator: torch.Generator, start: Tensor | None
) -> Iterator[tuple[Tensor, Row]]:
    """Run a plugin's solver and check each dictionary; raise ValueError, naming the solver, if it is invalid."""
    width: int | None = None

    def read(step: int) -> Tensor:
        nonlocal width
        x_BR = batches(step)
        width = x_BR.shape[1]
        return x_BR

    steps, yielded = plugin.implementation(read, config, generator, start, **config.settings_of_plugin), None
    for yielded in steps if isinstance(steps, Iterable) else ():
        if problem := _problem(yielded, width):
            raise ValueError(f"solver {plugin.name} yielded {problem}")
        atoms, row = yielded
        yield atoms.detach(), {**row}  # the solver may change its row before the next step
    if yielded is None:
        raise ValueError(f"solver {plugin.name} yielded nothing, expected atoms and a history row for each step")


def _problem(yielded: Any, width: int | None) -> str | None:
    """Describe the problem with an item that a solver yielded, or return None."""
    if not isinstance(yielded, tuple) or len(yielded) != 2 or not isinstance(yielded[1], dict):
        return f"{in_words(yielded)}, expected atoms and a row of the history"
    atoms, row = yielded
    if missing := [name for name in ROW if name not in row]:
        return f"a row of the history without {', '.join(missing)}"
    if wrong := next((name for name, value in row.items() if not isinstance(value, Real)), None):
        return f"a row of the history whose {wrong} is {in_words(row[wrong])}, expected a number"
    if not isinstance(atoms, Tensor) or atoms.ndim != 2 or atoms.dtype != torch.float32:
        return f"{in_words(atoms)}, expected atoms as a Tensor of shape (K, n_r) and type float32"
    if not len(atoms) or atoms.shape[1] != (width or atoms.shape[1]):
        return f"atoms of shape {tuple(atoms.shape)}, expected one or more of {width} dimensions"
    if not bool(((atoms.norm(dim=1) - 1).abs() < 1e-3).all()):
        return "atoms that are not of norm 1"
    return None
