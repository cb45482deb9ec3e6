"""Command lines from the signatures of functions, by tyro: `cli` for scripts of the workflow, and what it shares with
`sdlcore.commands`.

A parameter is an option: ``n_anchors: float`` is read from ``--n-anchors 0.1``. Help comes from the docstrings of the
function and of its module; ``Args:`` describes the options. Scripts of the workflow have two rules besides tyro's: a
mapping or a class of settings is one value of JSON, and an option that may be None is None where its value is missing.
"""

import inspect
import json
import logging
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, Union, get_args, get_origin

import tyro
from tyro.constructors import ConstructorRegistry, PrimitiveConstructorSpec, PrimitiveTypeInfo

from sdlcore.errors import PluginError, SourceError
from sdlcore.plugins.importing import load_for_jobs
from sdlcore.settings import Settings
from sdlcore.text import printable_lines

TALKATIVE = ("fontTools", "httpx", "httpx2")
"""Loggers of libraries that report every embedded glyph or every request."""


def cli(main: Callable[..., None], log: str = "%(asctime)s %(message)s", argv: list[str] | None = None) -> None:
    """Call a function with the arguments of a command line, and log to standard error in the format ``log``.

    Fields of a dataclass among the function's arguments are options themselves. ``argv`` replaces the process's own
    arguments.

    Raises
    ------
    SystemExit
        With tyro's message if an argument is wrong, with one line for SourceError and PluginError, and with status 130
        after an interruption. Other errors pass.
    """
    handler = logging.StreamHandler()
    handler.setFormatter(_Printable(log))
    logging.basicConfig(level=logging.INFO, handlers=[handler])
    for name in TALKATIVE:
        logging.getLogger(name).setLevel(logging.WARNING)
    with reported(Path(sys.argv[0]).name, SourceError, PluginError):
        load_for_jobs()
        main.__doc__ = f"{main.__globals__['__doc__']}\n\n{inspect.getdoc(main) or ''}"
        tyro.cli(main, args=argv, config=(tyro.conf.OmitArgPrefixes,), registry=RULES)


class _Printable(logging.Formatter):
    """Escapes control characters in messages, which may repeat foreign names of files and classes."""

    def format(self, record: logging.LogRecord) -> str:
        return printable_lines(super().format(record))


@contextmanager
def reported(program: str, *errors: type[Exception]) -> Iterator[None]:
    """Print errors of some kinds without a traceback and without control characters, and exit."""
    try:
        yield
    except errors as error:
        print(f"{program}: {printable_lines(error)}", file=sys.stderr)
        raise SystemExit(1) from error
    except KeyboardInterrupt as interrupt:
        print(f"{program}: {printable_lines(str(interrupt) or 'interrupted')}", file=sys.stderr)
        raise SystemExit(130) from None


RULES = ConstructorRegistry()


@RULES.primitive_rule
def _json(info: PrimitiveTypeInfo) -> PrimitiveConstructorSpec[Any] | None:
    kind = info.type if isinstance(info.type, type) and issubclass(info.type, Settings) else None
    is_list_of_mappings = info.type_origin is list and get_origin(get_args(info.type)[0]) is dict
    if kind is None and info.type_origin is not dict and not is_list_of_mappings:
        return None

    def read(texts: list[str]) -> Any:
        value = json.loads(texts[0])
        return value if kind is None or value is None else kind.from_dict(value)

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
