"""Run a command."""

import contextlib
import inspect
import logging
import os
import sys
import warnings
from collections.abc import Iterator

import tyro

import sdlcore
from sdlcore.command_line import called_later, errors_in_a_line, import_plugins
from sdlcore.commands.evaluating import contexts, evaluate
from sdlcore.commands.exchange import export, import_
from sdlcore.commands.fitting import bench, fit, fit_many, solve
from sdlcore.commands.help import method_in_help, showing
from sdlcore.commands.language import compare, language_scores, probe, stability
from sdlcore.commands.options import RULES, option_names, with_named_options, with_plugins
from sdlcore.commands.planning import plan
from sdlcore.commands.searching import reencode, refine, search
from sdlcore.errors import DivergedError, FitManyError
from sdlcore.suggestions import did_you_mean
from sdlcore.text import printable, printable_lines
from sdlcore.user_warnings import is_first_process

PROGRAM = "sdlcore"
COMMANDS = {
    command.__name__.rstrip("_").replace("_", "-"): command
    for command in (
        *(bench, fit, fit_many, solve),
        *(search, refine, reencode),
        *(evaluate, language_scores, probe, stability, compare),
        *(export, import_, contexts, plan),
    )
}
OPTIONS_ELSEWHERE = {"--solver": "solve"}
"""Option -> its command, which the error names if the option is given to another command."""

REPORTED = (ValueError, OSError, ImportError, DivergedError, FitManyError)
"""Errors that the user can mend, which are printed without a traceback."""


def main(argv: list[str] | None = None) -> None:
    """Run the command that comes first with the arguments that follow; None for the arguments of the process.

    ``--help`` shows the settings that matter most, ``--help METHOD`` also the settings of a method, ``--help all`` all.

    Raises
    ------
    SystemExit
        With one line on standard error, if an argument is wrong, or the command raises one of `REPORTED`; with a line
        more for each run of several that failed.
    """
    argv = (sys.argv[1:] if argv is None else argv) or ["--help"]
    if argv == ["--version"]:
        print(f"{PROGRAM} {sdlcore.__version__}")
        return
    first = argv[0]
    if not first.startswith("-") and first not in COMMANDS:
        advice = did_you_mean(first, COMMANDS) or f"; expected one of {', '.join(COMMANDS)}"
        print(f"{PROGRAM}: no such command {printable(first)}{advice}", file=sys.stderr)
        raise SystemExit(2)
    import_plugins(PROGRAM)
    if not is_first_process():
        logging.disable(logging.WARNING)
    warnings.showwarning = lambda message, *_, **__: print(f"{PROGRAM}: {printable_lines(message)}", file=sys.stderr)
    commands = {name: with_named_options(command, argv) for name, command in COMMANDS.items()}
    callables = {name: called_later(command, inspect.getdoc(COMMANDS[name])) for name, command in commands.items()}
    names = set[str]()
    if first in COMMANDS:
        command, text = with_plugins(commands[first]), inspect.getdoc(COMMANDS[first])
        names = option_names(commands[first])
        argv, method = method_in_help(argv)
        if method is not None:
            command, hint = showing(command, method, PROGRAM)
            description, args, options = (text or "").partition("\n\nArgs:")
            text = f"{description}\n\n{hint}".rstrip() + args + options
        callables[first] = called_later(command, text)
    with _reader_gone(), errors_in_a_line(PROGRAM, OPTIONS_ELSEWHERE, names):
        call = tyro.extras.subcommand_cli_from_dict(
            callables,
            prog=PROGRAM,
            description="Train, solve for, judge and exchange sparse dictionaries.",
            args=argv,
            config=(tyro.conf.OmitArgPrefixes,),
            registry=RULES,
        )
    try:
        with _reader_gone():
            call()
    except REPORTED as error:
        for each in (error, *(error.exceptions if isinstance(error, FitManyError) else ())):
            print(f"{PROGRAM}: {printable_lines(each)}", file=sys.stderr)
        raise SystemExit(1) from error
    except KeyboardInterrupt as interrupt:
        message = str(interrupt).replace("the same call", "the same command")
        print(f"{PROGRAM}: {message or 'interrupted; the same command goes on where it can'}", file=sys.stderr)
        raise SystemExit(130) from None


@contextlib.contextmanager
def _reader_gone() -> Iterator[None]:
    """End quietly where whoever reads the output has seen enough, such as ``head``."""
    try:
        try:
            yield
        finally:  # help ends by an exception
            sys.stdout.flush()
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise SystemExit(1) from None
