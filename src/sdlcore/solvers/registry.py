"""Solvers by the names that configurations have: ours, and those of plugins."""

from collections.abc import Callable
from importlib import import_module
from typing import TypeVar, get_args

from sdlcore.plugins.own import settings_class
from sdlcore.plugins.registry import Extension, register, registered
from sdlcore.solvers.search import Search
from sdlcore.solvers.settings import Solver, SolverConfig

AnySearch = TypeVar("AnySearch", bound=Callable[..., object])


def solver(name: str, *, libraries: tuple[str, ...] = ()) -> Callable[[AnySearch], AnySearch]:
    """Register a generator as a solver (`sdlcore.solvers.search.Search`).

    It is given batches, the settings of all solvers, a stream, and atoms to start from or None. After each step it
    yields the atoms and a row of the history. Its keyword-only parameters are settings, which are checked as ours are.

    Parameters
    ----------
    name
        What configurations call it: lower-case letters, digits and underscores.
    libraries
        Distributions whose versions matter.

    Raises
    ------
    PluginError
        If the name is taken, or a setting has the name of one of ours or a type that no configuration can hold.
    """

    def add(search: AnySearch) -> AnySearch:
        settings = settings_class(search, f"solver {name}")
        found = Extension("solver", name, search, settings, {"libraries": libraries})
        register(found, get_args(Solver), SolverConfig().to_dict())
        return search

    return add


def solver_of(name: str) -> Search:
    """Return a solver: of the module of its name, which alone is imported, or of a plugin."""
    own = registered("solver", name)
    if own is not None:
        made = own.made
        return lambda batches, config, generator, start: made(batches, config, generator, start, **config.own)
    found: Search = import_module(f"sdlcore.solvers.{name}").SOLVER
    return found


def libraries_of(name: str) -> tuple[str, ...]:
    """Return the distributions that a solver is made by, beside those that all runs note."""
    own = registered("solver", name)
    if own is not None:
        found: tuple[str, ...] = own.facts["libraries"]
        return found
    return getattr(import_module(f"sdlcore.solvers.{name}"), "LIBRARIES", ())
