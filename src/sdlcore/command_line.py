"""Make command lines from the signatures of functions: `cli` for scripts of the workflow, and what `sdlcore.commands`
shares with it.

A parameter is an option: ``n_anchors: float`` is read from ``--n-anchors 0.1``. Help comes from the docstrings of the
function and of its module; ``Args:`` describes the options. Two rules are added to tyro's:

- a mapping, a list of mappings, or settings (`sdlcore.settings.Settings`) are one value of JSON;
- an option whose type allows None may be given without a value, which means None, so callers need not omit it.
"""

import contextlib
import inspect
import io
import json
import logging
import re
import sys
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from functools import partial
from inspect import Parameter
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, Union, get_args, get_origin

import tyro
from tyro.constructors import ConstructorRegistry, PrimitiveConstructorSpec, PrimitiveTypeInfo

from sdlcore.errors import PluginError, SourceError
from sdlcore.plugins.importing import load_for_jobs
from sdlcore.settings import Settings
from sdlcore.suggestions import answer, did_you_mean, quoted
from sdlcore.text import printable, printable_lines

TALKATIVE = ("fontTools", "httpx", "httpx2")
"""Loggers of libraries that report every embedded glyph or every request."""


def cli(main: Callable[..., None], log: str = "%(asctime)s %(message)s", argv: list[str] | None = None) -> None:
    """Call a function with the arguments of a command line, and log to standard error.

    Parameters
    ----------
    main
        Takes arguments with types that tyro reads. The fields of a dataclass among them are options themselves.
    log
        Format of log messages.
    argv
        Arguments; None for the process's own.

    Raises
    ------
    SystemExit
        With one line on standard error. It names the option if an argument is missing, unknown or unreadable, and
        repeats the message if the function raises SourceError. An interruption ends with status 130. Other errors pass.
    """

    program = Path(sys.argv[0]).name
    import_plugins(program)
    text = f"{main.__globals__['__doc__']}\n\n{inspect.getdoc(main) or ''}"
    with errors_in_a_line(program):
        call = tyro.cli(called_later(main, text), args=argv, config=(tyro.conf.OmitArgPrefixes,), registry=RULES)
    handler = logging.StreamHandler()
    handler.setFormatter(_Printable(log))
    logging.basicConfig(level=logging.INFO, handlers=[handler])
    for name in TALKATIVE:
        logging.getLogger(name).setLevel(logging.WARNING)
    try:
        call()
    except SourceError as error:
        raise SystemExit(f"{program}: {printable_lines(error)}") from error
    except KeyboardInterrupt as interrupt:
        print(f"{program}: {printable_lines(str(interrupt) or 'interrupted')}", file=sys.stderr)
        raise SystemExit(130) from None


class _Printable(logging.Formatter):
    """Escapes control characters in messages, which may repeat foreign names of files and classes."""

    def format(self, record: logging.LogRecord) -> str:
        return printable_lines(super().format(record))


def import_plugins(program: str) -> None:
    """Import the plugins that the environment names; SystemExit with one line if one cannot be imported."""
    try:
        load_for_jobs()
    except PluginError as error:
        raise SystemExit(f"{program}: {error}") from error


def with_parameters(function: Callable[..., Any], parameters: Iterable[Parameter]) -> Callable[..., Any]:
    """Return a function with the given parameters that passes its arguments on to ``function``."""

    def call(**arguments: Any) -> Any:
        return function(**arguments)

    signature = inspect.Signature(list(parameters))
    call.__signature__ = signature  # type: ignore[attr-defined]
    call.__annotations__ = {name: one.annotation for name, one in signature.parameters.items()}
    return call


def called_later(function: Callable[..., None], text: str | None) -> Callable[..., partial[None]]:
    """Return a function that only collects the arguments of ``function``, so that tyro does not catch its errors.

    ``text`` is the help; its section ``Args:`` describes the options.
    """
    collect = with_parameters(partial(partial, function), inspect.signature(function).parameters.values())
    collect.__doc__ = text
    return collect


@contextlib.contextmanager
def errors_in_a_line(
    program: str, elsewhere: Mapping[str, str] | None = None, names: Collection[str] = ()
) -> Iterator[None]:
    """Print tyro's error about wrong arguments in one line.

    Parameters
    ----------
    program
        Name that the line begins with.
    elsewhere
        Option -> another command that has it.
    names
        Python names of the options, for answers to settings of other libraries.
    """
    stderr = io.StringIO()
    try:
        with contextlib.redirect_stderr(stderr):
            yield
    except SystemExit as end:
        if end.code:
            print(f"{program}: {printable(_one_line(stderr.getvalue(), elsewhere or {}, names))}", file=sys.stderr)
        raise


def _one_line(box: str, elsewhere: Mapping[str, str], names: Collection[str]) -> str:
    """Return the error message in a box that tyro draws, without the title, on one line."""
    below = re.sub("[╭╮╰╯│]", " ", box).partition("\n")[2]
    parts = [" ".join(part.split()) for part in re.split(r"(?m)^\s*[─-]{8,}\s*$", below)]
    line = next(filter(None, parts), "")
    if unread := _UNREAD.search(line):
        option, allowed, kind, value = unread.groups()
        number = "a whole number" if "int" in kind else "a number"
        return f"{option} must be {number}{' or None' if 'None' in allowed else ''}, found {value}"
    # if settings conflict, tyro names a parameter of its own
    match = re.search(r"Error parsing __tyro[\w.-]*: (.*)", line)
    if of_another := re.search(r"misplaced options: (--[\w-]+) \(applied to [\w-]+ ([\w-]+)\)", line):
        option, command = of_another[1], of_another[2]
        return f"{command} has no option {option}" + (f"; {elsewhere[option]} has" if option in elsewhere else "")
    if unread := re.search(r"Error parsing (--[\w-]+): Could not find valid parse for arguments: \[(.*)\]", line):
        return f"{unread[1]} cannot be {unread[2]}; --help shows its values"
    if line.startswith("Unrecognized options: ") and (hint := _of_other_libraries(line, names)):
        return f"{line}; {hint}"
    if wrong := re.search(r"invalid choice '(.*?)' for argument '--[\w-]+'\. Expected one of \((.*)\)", line):
        return line.rstrip(".") + did_you_mean(wrong[1], re.findall(r"'([^']*)'", wrong[2]))
    meant = re.search(r"Perhaps you meant:\W*?(--[\w-]+)", below)
    return (match[1] if match else line) + (f"; did you mean {meant[1]}?" if meant else "")


def _of_other_libraries(line: str, names: Collection[str]) -> str:
    """Return the answers to settings of other libraries among unrecognised options."""
    options = re.findall(r"--([\w-]+)", line)
    advice = {option: answer(option.replace("-", "_"), set(names)) for option in options}
    text = "; ".join(f"--{one}: {text}" if len(options) > 1 else text for one, text in advice.items() if text)
    return quoted.sub(lambda name: f"--{name[1].replace('_', '-')}" if name[1] in names else name[1], text)


_UNREAD = re.compile(r"Error parsing (--[\w-]+): (.*?)(literal for int\(\) with base 10|string to float): ('.*?')")
"""Matches tyro's error for a text that is not a number."""
RULES = ConstructorRegistry()
"""Adds this module's two rules to tyro's."""


def read_json(text: str, kind: type[Settings] | None = None) -> Any:
    """Parse an option's JSON, into settings if ``kind`` is given; null is None.

    Raises
    ------
    ValueError
        If the text is no JSON, or the settings do not fit.
    """
    try:
        value = json.loads(text)
    except json.JSONDecodeError as error:
        raise ValueError(f"expected JSON: {error}") from None
    if kind is None or value is None:
        return value
    if not isinstance(value, dict):
        raise ValueError(f"expected a mapping of {', '.join(kind.model_fields)}, found {text}")
    return kind.from_dict(value)


@RULES.primitive_rule
def _json(info: PrimitiveTypeInfo) -> PrimitiveConstructorSpec[Any] | None:
    kind = info.type if isinstance(info.type, type) and issubclass(info.type, Settings) else None
    is_list_of_mappings = info.type_origin is list and get_origin(get_args(info.type)[0]) is dict
    if kind is None and info.type_origin is not dict and not is_list_of_mappings:
        return None
    return PrimitiveConstructorSpec(
        1, "JSON", lambda texts: read_json(texts[0], kind), lambda value: True, lambda value: [json.dumps(value)]
    )


@RULES.primitive_rule
def _or_none(info: PrimitiveTypeInfo) -> PrimitiveConstructorSpec[Any] | None:
    kinds = get_args(info.type)
    if info.type_origin not in (Union, UnionType) or NoneType not in kinds or len(kinds) != 2:
        return None
    (kind,) = (kind for kind in kinds if kind is not NoneType)
    spec = ConstructorRegistry.get_primitive_spec(PrimitiveTypeInfo.make(kind, info.markers))
    if not isinstance(spec, PrimitiveConstructorSpec):
        return None

    def read(texts: list[str]) -> Any:
        if texts and len(texts) != spec.nargs:
            raise ValueError(f"expected {spec.metavar} or nothing, not {' '.join(texts)}")
        return spec.instance_from_str(texts) if texts else None

    return PrimitiveConstructorSpec("*", f"[{spec.metavar}]", read, lambda value: True, lambda value: [str(value)])
