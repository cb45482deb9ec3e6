"""Solvers by the names that configurations have."""

from importlib import import_module

from sdlcore.solvers.search import Search


def solver_of(name: str) -> Search:
    """Return a solver, from the module of its name, which alone is imported."""
    found: Search = import_module(f"sdlcore.solvers.{name}").SOLVER
    return found


def libraries_of(name: str) -> tuple[str, ...]:
    """Return the distributions that a solver is made by, beside those that all runs note."""
    return getattr(import_module(f"sdlcore.solvers.{name}"), "LIBRARIES", ())
