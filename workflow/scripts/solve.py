"""Fit one dictionary to an activation store with a solver, without gradient descent."""

from pathlib import Path

from runs.folder import Run
from runs.training import Training, train
from sdlcore.command_line import cli
from sdlcore.data.reading import ActivationStore
from sdlcore.solvers.settings import SolverConfig


def main(run: Run, *, settings: SolverConfig, start: Path | None = None) -> None:
    """
    Args:
        start: model with the dictionary that the solver starts from
    """
    with ActivationStore(run.store) as store:
        train(store, run, Training(start=start, device="cpu"), settings)


if __name__ == "__main__":
    cli(main)
