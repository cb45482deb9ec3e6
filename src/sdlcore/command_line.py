"""Make command lines from the signatures of functions, for every script of the workflow.

A parameter is an option: ``n_anchors: float`` is read from ``--n-anchors 0.1``. Help comes from the docstring of the
function's module, and from ``Args:`` in its own. Two rules are added to tyro's:

- a mapping, a list of mappings, or settings (`sdlcore.settings.Settings`) are one value of JSON;
- an option whose type allows None may stand without a value, and is None then, so that callers need not leave it out.
"""

import contextlib
import inspect
import io
import json
import logging
import os
import re
import sys
import warnings
from collections.abc import Callable, Collection, Iterator, Mapping
from functools import partial
from inspect import Parameter
from pathlib import Path
from types import NoneType, UnionType
from typing import Annotated, Any, Union, get_args, get_origin

import tyro
from tyro.constructors import ConstructorRegistry, PrimitiveConstructorSpec, PrimitiveTypeInfo

from sdlcore.elsewhere import answers, did_you_mean, quoted
from sdlcore.errors import PluginError, SourceError
from sdlcore.plugins.extensible import Extensible
from sdlcore.plugins.importing import load_for_jobs
from sdlcore.plugins.plugin_settings import own_settings
from sdlcore.plugins.registry import Extension
from sdlcore.settings import Settings, type_of
from sdlcore.storage.paths import user_path
from sdlcore.text import printable, printable_lines

TALKATIVE = ("fontTools", "httpx", "httpx2")
"""Loggers of libraries that tell of every glyph that they embed, and of every request."""


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
        With one line on standard error that names the option, if an argument is missing, unknown or cannot be read, or
        what is wrong with a file or a setting, where the function raises SourceError. Other errors pass.
    """

    program = Path(sys.argv[0]).name
    _load_plugins(program)
    text = f"{main.__globals__['__doc__']}\n\n{inspect.getdoc(main) or ''}"
    with _errors_in_a_line(program):
        call = tyro.cli(_later(main, text), args=argv, config=(tyro.conf.OmitArgPrefixes,), registry=RULES)
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


def commands(
    name: str,
    description: str,
    functions: Mapping[str, Callable[..., None]],
    argv: list[str] | None,
    elsewhere: Mapping[str, str] | None = None,
    methods: Mapping[str, Collection[str]] | None = None,
) -> None:
    """Call one of several functions, whose name comes first, with the arguments that follow.

    ``--help`` shows the settings that matter most, ``--help METHOD`` also the settings of a method, ``--help all`` all.

    Parameters
    ----------
    name, description
        Of the program, for its help.
    functions
        Functions by name. As in `cli`, parameters are options; so is each setting, also of plugins. Help comes from
        the docstrings of the functions.
    argv
        Arguments; None for the process's own.
    elsewhere
        Option -> the function that has it, for whoever gives it to another one.
    methods
        Method -> its settings. The empty name stands for the settings that matter most. Plugins add methods.

    Raises
    ------
    SystemExit
        With one line on standard error, if an argument is wrong, or the function raises ValueError or OSError.
    """

    argv = sys.argv[1:] if argv is None else argv
    argv = argv or ["--help"]
    first = argv[0]
    if not first.startswith("-") and first not in functions:
        meant = did_you_mean(first, functions) or f"; expected one of {', '.join(functions)}"
        print(f"{name}: no such command {printable(first)}{meant}", file=sys.stderr)
        raise SystemExit(2)
    _load_plugins(name)
    warnings.showwarning = lambda message, *_, **__: print(f"{name}: {printable_lines(message)}", file=sys.stderr)
    known = _options_of(functions[first]) if first in functions else set()
    made = {command: _later(function, inspect.getdoc(function)) for command, function in functions.items()}
    if first in functions:
        extended = _with_plugins(functions[first])
        argv, asked = _asked_help(argv)
        shown, text = extended, inspect.getdoc(functions[first])
        if asked is not None:
            shown, hint = _showing(extended, asked, methods or {}, name)
            described, args, options = (text or "").partition("\n\nArgs:")
            text = f"{described}\n\n{hint}".rstrip() + args + options
        made[first] = _later(shown, text)
    with _reader_gone(), _errors_in_a_line(name, elsewhere, known):
        call = tyro.extras.subcommand_cli_from_dict(
            made,
            prog=name,
            description=description,
            args=argv,
            config=(tyro.conf.OmitArgPrefixes,),
            registry=NESTED,
        )
    try:
        with _reader_gone():
            call()
    except (ValueError, OSError) as error:
        print(f"{name}: {printable_lines(error)}", file=sys.stderr)
        raise SystemExit(1) from error
    except KeyboardInterrupt as interrupt:
        said = str(interrupt).replace("the same call", "the same command")
        print(f"{name}: {said or 'interrupted; the same command goes on where it can'}", file=sys.stderr)
        raise SystemExit(130) from None


class _Printable(logging.Formatter):
    """Escapes control characters in messages, which may repeat foreign names of files and classes."""

    def format(self, record: logging.LogRecord) -> str:
        return printable_lines(super().format(record))


def _load_plugins(program: str) -> None:
    try:
        load_for_jobs()
    except PluginError as error:
        raise SystemExit(f"{program}: {error}") from error


def _with_plugins(function: Callable[..., None]) -> Callable[..., None]:
    """Return a function with an option for each setting that plugins add to the settings among its parameters."""
    signature = inspect.signature(function)
    parameters = dict(signature.parameters)
    extended = {name: one.annotation for name, one in parameters.items() if _is_extensible(one.annotation)}
    found = own_settings(*(kind.extended_by for kind in extended.values()))
    # a setting with the name of another parameter can only be given in a configuration
    theirs = {setting: its for setting, its in found.items() if setting not in parameters}
    if not theirs:
        return function
    for setting, its in theirs.items():
        help = "; ".join(_said_of(setting, one) for one in its)
        hint = f"(default: {' or '.join(dict.fromkeys(_default_of(setting, one) for one in its))})"
        shown = tyro.conf.arg(help=help, help_behavior_hint=hint)
        annotation: Any = Annotated[Union[*(type_of(one.settings.model_fields[setting]) for one in its), None], shown]
        parameters[setting] = Parameter(setting, Parameter.KEYWORD_ONLY, default=None, annotation=annotation)
    for name, kind in extended.items():
        # what goes together is checked with the plugins' settings, when all are there
        unchecked: Any = type(kind.__name__, (kind,), {"check_together": lambda _: None, "__module__": kind.__module__})
        default = unchecked(**dict(parameters[name].default))
        parameters[name] = parameters[name].replace(annotation=unchecked, default=default)

    def call(**given: Any) -> None:
        own = {setting: value for setting in theirs if (value := given.pop(setting)) is not None}
        for name, kind in extended.items():
            its = {setting: own[setting] for setting in own.keys() & own_settings(kind.extended_by)}
            given[name] = kind(**dict(given[name]), **its)
        function(**given)

    call.__signature__ = inspect.Signature(list(parameters.values()))  # type: ignore[attr-defined]
    call.__annotations__ = {name: one.annotation for name, one in parameters.items()}
    return call


def _asked_help(argv: list[str]) -> tuple[list[str], str | None]:
    """Return the arguments without what follows ``--help``, and that word; None where no help is asked for."""
    at = next((place for place, one in enumerate(argv) if one in ("-h", "--help")), None)
    if at is None:
        return argv, None
    word = argv[at + 1] if at + 1 < len(argv) and not argv[at + 1].startswith("-") else ""
    return [argv[0], "--help"], word


def _showing(
    function: Callable[..., None], asked: str, methods: Mapping[str, Collection[str]], program: str
) -> tuple[Callable[..., None], str]:
    """Return a function whose help shows the settings of a method, and a sentence on what else there is.

    Raises
    ------
    SystemExit
        With one line on standard error, if there is no such method.
    """
    signature = inspect.signature(function)
    main = set(methods.get("", ()))
    settings = {name: one for name, one in signature.parameters.items() if _is_settings(one.annotation)}
    every = {name for one in settings.values() for name in one.annotation.model_fields}
    if asked == "all" or not main or not main <= every:
        return function, ""
    kinds = [one.annotation for one in settings.values()]
    of_plugins = own_settings(*(kind.extended_by for kind in kinds if _is_extensible(kind)))
    known = {name: set(its) for name, its in methods.items() if name}
    for setting, plugins in of_plugins.items():
        for plugin in plugins:
            known.setdefault(plugin.name, set()).add(setting)
    if asked and asked not in known:
        meant = did_you_mean(asked, known) or f"; expected all, or one of {', '.join(known)}"
        print(f"{program}: no such method {printable(asked)}{meant}", file=sys.stderr)
        raise SystemExit(2)
    shown = main | known.get(asked, set())
    parameters = dict(signature.parameters)
    for name, one in parameters.items():
        if name in settings:
            hiding = _hiding(one.annotation, shown)
            parameters[name] = one.replace(annotation=hiding, default=hiding(**dict(one.default)))
        elif name in of_plugins and name not in shown:
            parameters[name] = one.replace(annotation=_hidden(one.annotation))

    def call(**given: Any) -> None:
        function(**given)

    call.__signature__ = inspect.Signature(list(parameters.values()))  # type: ignore[attr-defined]
    call.__annotations__ = {name: one.annotation for name, one in parameters.items()}
    hint = f"These are the settings that matter most{f', and the settings of {asked}' if asked else ''}. "
    return call, f"{hint}--help METHOD also shows the settings of {', '.join(known)}; --help all shows every setting."


def _hiding(cls: type[Settings], shown: Collection[str]) -> type[Settings]:
    """Return a class whose help shows some of its settings."""
    hidden = {name: field for name, field in cls.model_fields.items() if name not in shown}
    space: dict[str, Any] = {name: field.default for name, field in hidden.items()}
    space["__annotations__"] = {name: _hidden(type_of(field)) for name, field in hidden.items()}
    return type(cls.__name__, (cls,), space | {"__module__": cls.__module__, "__doc__": cls.__doc__})


def _hidden(annotation: Any) -> Any:
    suppress: Any = tyro.conf.Suppress
    return suppress[annotation]


def _said_of(setting: str, its: Extension) -> str:
    """Return the description of a plugin's setting, with the plugin's name."""
    said, of = its.text_of(setting), f"of {its.kind} {its.name}"
    return f"{said} ({of})" if said else of


def _default_of(setting: str, its: Extension) -> str:
    field = its.settings.model_fields[setting]
    return f"none, {its.kind} {its.name} needs it" if field.is_required() else str(field.default)


def _is_settings(annotation: Any) -> bool:
    return isinstance(annotation, type) and issubclass(annotation, Settings)


def _is_extensible(annotation: Any) -> bool:
    return isinstance(annotation, type) and issubclass(annotation, Extensible)


def _later(function: Callable[..., None], text: str | None) -> Callable[..., partial[None]]:
    """Return a function that collects the arguments of another one, so that tyro does not catch errors of its call."""

    def given(**arguments: Any) -> partial[None]:
        return partial(function, **arguments)

    given.__signature__ = inspect.signature(function)  # type: ignore[attr-defined]
    given.__annotations__ = function.__annotations__
    given.__doc__ = text
    return given


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


@contextlib.contextmanager
def _errors_in_a_line(
    program: str, elsewhere: Mapping[str, str] | None = None, known: Collection[str] = ()
) -> Iterator[None]:
    """Print tyro's error about wrong arguments in one line."""
    said = io.StringIO()
    try:
        with contextlib.redirect_stderr(said):
            yield
    except SystemExit as end:
        if end.code:
            print(f"{program}: {printable(_one_line(said.getvalue(), elsewhere or {}, known))}", file=sys.stderr)
        raise


def _one_line(box: str, elsewhere: Mapping[str, str], known: Collection[str]) -> str:
    """Return the error message in a box that tyro draws, without the title, on one line."""
    below = re.sub("[╭╮╰╯│]", " ", box).partition("\n")[2]
    parts = [" ".join(part.split()) for part in re.split(r"(?m)^\s*[─-]{8,}\s*$", below)]
    line = next(filter(None, parts), "")
    if unread := _UNREAD.search(line):
        option, allowed, kind, given = unread.groups()
        number = "a whole number" if "int" in kind else "a number"
        return f"{option} must be {number}{' or None' if 'None' in allowed else ''}, found {given}"
    # of settings that do not go together tyro names a parameter of its own
    found = re.search(r"Error parsing __tyro[\w.-]*: (.*)", line)
    if of_another := re.search(r"misplaced options: (--[\w-]+) \(applied to [\w-]+ ([\w-]+)\)", line):
        option, command = of_another[1], of_another[2]
        return f"{command} has no option {option}" + (f"; {elsewhere[option]} has" if option in elsewhere else "")
    if unread := re.search(r"Error parsing (--[\w-]+): Could not find valid parse for arguments: \[(.*)\]", line):
        return f"{unread[1]} cannot be {unread[2]}; --help says what it takes"
    if line.startswith("Unrecognized options: ") and (hint := _of_other_libraries(line, known)):
        return f"{line}; {hint}"
    meant = re.search(r"Perhaps you meant:\W*?(--[\w-]+)", below)
    return (found[1] if found else line) + (f"; did you mean {meant[1]}?" if meant else "")


def _of_other_libraries(line: str, known: Collection[str]) -> str:
    """Return the answers to settings of other libraries among unrecognised options."""
    asked = re.findall(r"--([\w-]+)", line)
    found = {option: "; ".join(answers(option.replace("-", "_"), set(known))) for option in asked}
    said = "; ".join(f"--{one}: {answer}" if len(asked) > 1 else answer for one, answer in found.items() if answer)
    return quoted.sub(lambda name: f"--{name[1].replace('_', '-')}" if name[1] in known else name[1], said)


def _options_of(function: Callable[..., None]) -> set[str]:
    """Return the Python names of a function's options."""
    found = set()
    for name, one in inspect.signature(function).parameters.items():
        found |= set(one.annotation.model_fields) if _is_settings(one.annotation) else {name}
    return found


_UNREAD = re.compile(r"Error parsing (--[\w-]+): (.*?)(literal for int\(\) with base 10|string to float): ('.*?')")
"""Matches tyro's error for a text that is not a number."""
RULES = ConstructorRegistry()


@RULES.primitive_rule
def _json(info: PrimitiveTypeInfo) -> PrimitiveConstructorSpec[Any] | None:
    values, kind = get_args(info.type), info.type
    settings = kind if isinstance(kind, type) and issubclass(kind, Settings) else None
    if (
        not settings
        and info.type_origin is not dict
        and not (info.type_origin is list and get_origin(values[0]) is dict)
    ):
        return None

    def read(texts: list[str]) -> Any:
        try:
            found = json.loads(texts[0])
        except json.JSONDecodeError as error:
            raise ValueError(f"expected JSON: {error}") from None
        return found if settings is None or found is None else settings.from_dict(found)

    return PrimitiveConstructorSpec(1, "JSON", read, lambda value: True, lambda value: [json.dumps(value)])


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


NESTED = ConstructorRegistry()
"""Rules of `commands`: settings that may be left out are one value of JSON, others an option each; ``~`` is home."""


@NESTED.primitive_rule
def _path(info: PrimitiveTypeInfo) -> PrimitiveConstructorSpec[Path] | None:
    if info.type is not Path:
        return None
    return PrimitiveConstructorSpec(
        1, "PATH", lambda texts: user_path(texts[0]), lambda value: isinstance(value, Path), lambda value: [str(value)]
    )


@NESTED.primitive_rule
def _json_or_none(info: PrimitiveTypeInfo) -> PrimitiveConstructorSpec[Any] | None:
    kinds = [kind for kind in get_args(info.type) if kind is not NoneType]
    if info.type_origin not in (Union, UnionType) or len(kinds) != 1:
        return None
    (kind,) = kinds
    if not (isinstance(kind, type) and issubclass(kind, Settings)):
        return None
    return PrimitiveConstructorSpec(
        1, "JSON", lambda texts: kind.from_dict(json.loads(texts[0])), lambda value: True, lambda value: [str(value)]
    )
