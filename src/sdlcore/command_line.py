"""Make command lines from the signatures of functions, for every script of the workflow.

A parameter is an option: ``n_anchors: float`` is read from ``--n-anchors 0.1``. Help comes from the docstring of the
function's module, and from ``Args:`` in its own. Two rules are added to tyro's:

- a mapping, a list of mappings, or settings (`sdlcore.settings.FromJson`) are one value of JSON;
- an option whose type allows None may stand without a value, and is None then, so that callers need not leave it out.
"""

import contextlib
import inspect
import io
import json
import logging
import re
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, Union, get_args, get_origin

import tyro
from tyro.constructors import ConstructorRegistry, PrimitiveConstructorSpec, PrimitiveTypeInfo

from sdlcore.settings import FromJson

TALKATIVE = ("fontTools", "httpx", "httpx2")
"""Loggers of libraries that tell of every glyph that they embed, and of every request."""


def cli(main: Callable[..., None], log: str = "%(asctime)s %(message)s", argv: list[str] | None = None) -> None:
    """Call a function with the arguments of a command line, and log to standard error.

    Parameters
    ----------
    main
        Takes arguments with types that tyro reads. The fields of a dataclass among them are options themselves.
    log
        Format of what is logged.
    argv
        Arguments; None for the process's own.

    Raises
    ------
    SystemExit
        With one line on standard error that names the option, if an argument is missing, unknown or cannot be read.
    """

    # parsed apart from the call, so that only what is wrong with arguments is said as such
    def given(**arguments: Any) -> Callable[[], None]:
        return partial(main, **arguments)

    given.__signature__ = inspect.signature(main)  # type: ignore[attr-defined]
    given.__annotations__ = main.__annotations__
    given.__doc__ = f"{main.__globals__['__doc__']}\n\n{inspect.getdoc(main) or ''}"
    said = io.StringIO()
    try:
        with contextlib.redirect_stderr(said):
            call = tyro.cli(given, args=argv, config=(tyro.conf.OmitArgPrefixes,), registry=RULES)
    except SystemExit as end:
        if end.code:
            print(f"{Path(sys.argv[0]).name}: {_one_line(said.getvalue())}", file=sys.stderr)
        raise
    logging.basicConfig(level=logging.INFO, format=log)
    for name in TALKATIVE:
        logging.getLogger(name).setLevel(logging.WARNING)
    call()


def _one_line(box: str) -> str:
    """Return the part of a box that tyro draws which says what is wrong, below its title, on one line."""
    what = re.split(r"\n│ ─+ │\n", box.partition("\n")[2])[0]
    return " ".join(re.sub("[╭╮╰╯│─]", " ", what).split())


RULES = ConstructorRegistry()


@RULES.primitive_rule
def _json(info: PrimitiveTypeInfo) -> PrimitiveConstructorSpec[Any] | None:
    values, kind = get_args(info.type), info.type
    settings = kind if isinstance(kind, type) and issubclass(kind, FromJson) else None
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
