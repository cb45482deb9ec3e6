"""Run a command."""

import inspect
import logging
import sys
import warnings
from typing import get_args

import tyro

import sdlcore
from sdlcore.command_line import called_later, reported
from sdlcore.commands.advising import judge, judged_bench, suggest
from sdlcore.commands.evaluating import contexts, evaluate, top_images
from sdlcore.commands.exchange import export, import_
from sdlcore.commands.extracting import extract
from sdlcore.commands.fitting import bench, fit, fit_many, solve
from sdlcore.commands.language import compare, language_scores, probe, stability
from sdlcore.commands.options import options_of
from sdlcore.commands.planning import plan
from sdlcore.commands.searching import reencode, refine, search
from sdlcore.errors import DivergedError, FitManyError
from sdlcore.plugins.importing import load_for_jobs
from sdlcore.suggestions import did_you_mean
from sdlcore.text import printable_lines
from sdlcore.user_warnings import is_first_process

PROGRAM = "sdlcore"
COMMANDS = {
    command.__name__.rstrip("_").replace("_", "-"): command
    for command in (
        *(bench, extract, suggest, fit, fit_many, solve),
        *(search, refine, reencode),
        *(evaluate, judge, judged_bench, language_scores, probe, stability, compare),
        *(export, import_, contexts, top_images, plan),
    )
}
REPORTED = (ValueError, OSError, ImportError, DivergedError, FitManyError)
"""Errors that the user can mend, which are printed without a traceback."""


def main(argv: list[str] | None = None) -> None:
    """Run the command that comes first with the arguments that follow; None for the arguments of the process.

    Raises
    ------
    SystemExit
        With tyro's message if an argument has a wrong type, and with one line if the command raises one of `REPORTED`;
        with a line more for each run of several that failed.
    """
    name, *arguments = (sys.argv[1:] if argv is None else argv) or ["--help"]
    if name == "--version":
        print(f"{PROGRAM} {sdlcore.__version__}")
    elif name in ("-h", "--help"):
        print(f"usage: {PROGRAM} COMMAND [OPTIONS]; {PROGRAM} COMMAND --help lists the options\n")
        for command, function in COMMANDS.items():
            print(f"    {command:<17}{(inspect.getdoc(function) or '').partition(chr(10))[0]}")
    else:
        if not is_first_process():
            logging.disable(logging.WARNING)
        warnings.showwarning = lambda text, *_, **__: print(f"{PROGRAM}: {printable_lines(text)}", file=sys.stderr)
        with reported(PROGRAM, *REPORTED):
            _run(name, arguments)


def _run(name: str, arguments: list[str]) -> None:
    if name not in COMMANDS:
        advice = did_you_mean(name, COMMANDS) or f"; expected one of {', '.join(COMMANDS)}"
        raise ValueError(f"no such command {name}{advice}")
    load_for_jobs()
    command = COMMANDS[name]
    parameters = inspect.signature(command).parameters
    options = {
        one: options_of(parameters, *get_args(each.annotation)[1:])
        for one, each in parameters.items()
        if one == "settings"
    }
    call, unknown = tyro.cli(
        called_later(command, inspect.getdoc(command), **options),
        prog=f"{PROGRAM} {name}",
        args=arguments,
        return_unknown_args=True,
        config=(tyro.conf.OmitArgPrefixes,),
    )
    if unknown:
        names = {*parameters, *(setting for each in options.values() for setting in each.__annotations__)}
        hint = did_you_mean(unknown[0].lstrip("-").replace("-", "_"), names)
        raise ValueError(f"{name} has no option {unknown[0]}{hint}")
    call()
