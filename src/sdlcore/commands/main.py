"""Run a command."""

import sys

import sdlcore
from sdlcore.command_line import commands
from sdlcore.commands.exchange import export, import_
from sdlcore.commands.fitting import bench, fit, fit_layers, fit_many, solve
from sdlcore.commands.judging import contexts, evaluate
from sdlcore.commands.planning import plan
from sdlcore.run import MAIN, METHODS

COMMANDS = {
    command.__name__.rstrip("_").replace("_", "-"): command
    for command in (bench, fit, fit_many, fit_layers, solve, evaluate, export, import_, contexts, plan)
}


def main(argv: list[str] | None = None) -> None:
    """Run the command that comes first with the arguments that follow; None for the arguments of the process."""
    if (sys.argv[1:] if argv is None else argv) == ["--version"]:
        print(f"sdlcore {sdlcore.__version__}")
        return
    described = "Train, solve for, judge and exchange sparse dictionaries."
    commands("sdlcore", described, COMMANDS, argv, {"--solver": "solve"}, {"": MAIN, **METHODS})
