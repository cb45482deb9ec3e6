"""Open one dictionary that was made elsewhere, as a run."""

import os

# before torch starts its threads: those that wait must leave the cores to those of the kernels
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

from sdlcore.command_line import cli
from sdlcore.interop.run_import import run_import
from sdlcore.interop.settings import ImportConfig
from sdlcore.training.runner import Run


def main(run: Run, *, settings: ImportConfig) -> None:
    run_import(run, settings, __file__)


if __name__ == "__main__":
    cli(main)
