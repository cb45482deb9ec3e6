"""Import one dictionary that other software trained, as a run."""

from sdlcore.command_line import cli
from sdlcore.interop.run_import import run_import
from sdlcore.interop.settings import ImportConfig
from sdlcore.training.runner import Run


def main(run: Run, *, settings: ImportConfig) -> None:
    run_import(run, settings, __file__)


if __name__ == "__main__":
    cli(main)
