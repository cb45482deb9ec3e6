"""Fit one dictionary to an activation store with a solver, without gradient descent."""

from pathlib import Path

from sdlcore.command_line import cli
from sdlcore.solvers.run_solver import run_solver
from sdlcore.solvers.settings import SolverConfig
from sdlcore.training.runner import Run


def main(run: Run, *, settings: SolverConfig, start: Path | None = None) -> None:
    """
    Args:
        start: model with the dictionary that the solver starts from
    """
    run_solver(run, settings, __file__, start)


if __name__ == "__main__":
    cli(main)
