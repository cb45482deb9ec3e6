"""The settings that extensions have of their own, as dataclasses: read from classes and functions, and checked."""

import ast
import inspect
import textwrap
from collections.abc import Callable, Mapping, Sequence
from dataclasses import MISSING, field, fields, make_dataclass
from itertools import pairwise
from typing import Annotated, Any, ClassVar, Literal, get_args, get_origin, get_type_hints

from sdlcore.errors import PluginError
from sdlcore.plugins.registry import Extension, Kind, extensions
from sdlcore.settings import FromJson, kinds

_PLAIN = (bool, int, float, str)


def settings_class(
    made: Any, called: str, more: Mapping[str, tuple[Any, Any]] | None = None, takes: Sequence[str] = ()
) -> type[FromJson]:
    """Return a dataclass of the settings that a class or a function declares.

    Of a class, its annotated fields, and those of its bases that are not ours or torch's. Of a function, its
    keyword-only parameters.

    Parameters
    ----------
    made
        The class or function.
    called
        What errors call it, such as ``activation soft_topk``.
    more
        Further settings: name -> type and default.
    takes
        The parameters that a function has to have before its settings; none are checked where this is empty.

    Raises
    ------
    PluginError
        If a setting has no type, one that no configuration can hold, or the name of a method, or a function other
        parameters.
    """
    if takes:
        _check_takes(made, called, takes)
    declared = {**(more or {}), **(_of_class(made) if isinstance(made, type) else _of_function(made))}
    for name, (kind, default) in declared.items():
        if kind is None:
            written = f"{name}: {_type_of(default)}" + ("" if default is MISSING else f" = {default!r}")
            raise PluginError(f"{made.__module__}: {name} of {called} has no type; write {written}")
        if not _is_plain(kind):
            raise PluginError(
                f"{made.__module__}: {name} of {called}: {kind!r} is no type of a setting; expected bool, int, float, "
                "str, Literal, a tuple of one of these, or one of them as Annotated with a range"
            )
    given = [
        (name, kind, field(kw_only=True, **({} if default is MISSING else {"default": default})))
        for name, (kind, default) in declared.items()
    ]
    space = {"called": f"settings of {called}"}
    made_of: type[FromJson] = make_dataclass("Settings", given, bases=(FromJson,), namespace=space, frozen=True)
    return made_of


def _of_class(cls: type) -> dict[str, tuple[Any, Any]]:
    found: dict[str, tuple[Any, Any]] = {}
    for base in reversed(cls.__mro__):
        if base.__module__.partition(".")[0] in ("sdlcore", "torch", "builtins"):
            continue
        types = get_type_hints(base, include_extras=True)
        annotated = vars(base).get("__annotations__", {})
        for name in annotated:
            # a tensor is declared for type checkers
            if get_origin(types[name]) is not ClassVar and "Tensor" not in getattr(types[name], "__name__", ""):
                if callable(hidden := getattr(super(base, base), name, None)) or isinstance(hidden, property):
                    raise PluginError(f"{base.__module__}: setting {name} of {base.__name__} hides a method; rename it")
                found[name] = (types[name], vars(base).get(name, MISSING))
        for name, value in vars(base).items():
            if name in annotated or name.startswith("_") or name.isupper() or not isinstance(value, (*_PLAIN, tuple)):
                continue
            if name in found:  # another default
                found[name] = (found[name][0], value)
            elif not hasattr(super(base, base), name):
                found[name] = (None, value)
    return found


def _type_of(value: Any) -> str:
    """Return the type that a setting without one probably should have."""
    if value is MISSING or value is None or value == ():
        return "float"
    return f"tuple[{type(value[0]).__name__}, ...]" if isinstance(value, tuple) else type(value).__name__


def _of_function(function: Callable[..., Any]) -> dict[str, tuple[Any, Any]]:
    types = get_type_hints(function, include_extras=True)
    return {
        name: (types.get(name), MISSING if parameter.default is parameter.empty else parameter.default)
        for name, parameter in inspect.signature(function).parameters.items()
        if parameter.kind is parameter.KEYWORD_ONLY
    }


def _check_takes(function: Callable[..., Any], called: str, takes: Sequence[str]) -> None:
    parameters = inspect.signature(function).parameters.values()
    by_place = [one.name for one in parameters if one.kind in (one.POSITIONAL_ONLY, one.POSITIONAL_OR_KEYWORD)]
    if len(by_place) != len(takes) and not any(one.kind is one.VAR_POSITIONAL for one in parameters):
        expected = f"expected {', '.join(takes)}, and settings after *"
        raise PluginError(f"{function.__module__}: {called} takes {', '.join(by_place) or 'nothing'}; {expected}")


def _is_plain(annotation: Any) -> bool:
    """Tell whether a type is one that a setting may have."""
    if get_origin(annotation) is Annotated:
        return _is_plain(annotation.__origin__)
    if get_origin(annotation) is tuple:
        return len(get_args(annotation)) == 2 and get_args(annotation)[1] is ... and _is_plain(get_args(annotation)[0])
    parts = list(kinds(annotation))
    if len(parts) != 1 or parts[0] is not annotation:
        return bool(parts) and all(map(_is_plain, parts))
    return annotation in _PLAIN or get_origin(annotation) is Literal


def field_texts(made: Any) -> dict[str, str]:
    """Return the text below each field of a class, by field; empty if the source cannot be read."""
    if not isinstance(made, type):
        return {}
    try:
        (body,) = ast.parse(textwrap.dedent(inspect.getsource(made))).body
    except (OSError, TypeError, SyntaxError):
        return {}
    assert isinstance(body, ast.ClassDef)
    return {
        field.target.id: inspect.cleandoc(text.value.value)
        for field, text in pairwise(body.body)
        if isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name)
        if isinstance(text, ast.Expr) and isinstance(text.value, ast.Constant) and isinstance(text.value.value, str)
    }


def own_settings(*of: Kind) -> dict[str, list[tuple[Extension, Any]]]:
    """Return the settings that plugins add, by name: for each plugin that declares one, the plugin and the type."""
    found: dict[str, list[tuple[Extension, Any]]] = {}
    for kind in of:
        for one in extensions(kind).values():
            for setting in fields(one.settings):
                found.setdefault(setting.name, []).append((one, setting.type))
    return found
