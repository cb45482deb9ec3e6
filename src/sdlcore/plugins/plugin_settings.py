"""Read the settings that a plugin's class or function declares, and make a pydantic model of them."""

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import MISSING
from types import UnionType
from typing import Annotated, Any, ClassVar, Literal, Union, get_args, get_origin, get_type_hints

from pydantic import create_model

from sdlcore.errors import PluginError
from sdlcore.plugins.registry import Extension, Kind, extensions
from sdlcore.settings import AsGiven, FromList, Settings

_PLAIN = (bool, int, float, str)


def settings_class(
    implementation: Any,
    called: str,
    more: Mapping[str, tuple[Any, Any]] | None = None,
    takes: Sequence[str] = (),
    counts: Sequence[str] = (),
) -> type[Settings]:
    """Return a model of the settings that a class or a function declares.

    A class declares them as annotated fields, as do its bases outside sdlcore and torch. A function declares them as
    keyword-only parameters.

    Parameters
    ----------
    implementation
        The class or function.
    called
        What errors call it, such as ``activation soft_topk``.
    more
        Further settings: name -> type and default.
    takes
        The parameters that a function must have before its settings; empty for no check.
    counts
        Built-in settings that a class may declare as ``int``, to be given their values. They stay built-in settings.

    Raises
    ------
    PluginError
        If a setting has no type, a type that a configuration cannot contain, or the name of a method; or if a function
        has other parameters.
    """
    if takes:
        _check_takes(implementation, called, takes)
    declared = {
        **(more or {}),
        **(_of_class(implementation) if isinstance(implementation, type) else _of_function(implementation)),
    }
    for name in declared.keys() & counts:
        if declared.pop(name) != (int, MISSING):
            raise PluginError(
                f"{implementation.__module__}: {name} of {called} is sdlcore's setting {name}; write {name}: int, "
                "without a default"
            )
    for name, (kind, default) in declared.items():
        if kind is None:
            written = f"{name}: {_type_of(default)}" + ("" if default is MISSING else f" = {default!r}")
            raise PluginError(f"{implementation.__module__}: {name} of {called} has no type; write {written}")
        if not _is_plain(kind):
            raise PluginError(
                f"{implementation.__module__}: {name} of {called}: {kind!r} is no type of a setting; expected bool, "
                "int, float, str, Literal, a tuple of one of these, or one of them as Annotated with a range"
            )
    fields: dict[str, Any] = {
        name: (_as_setting(kind), ... if default is MISSING else default) for name, (kind, default) in declared.items()
    }
    made_of = create_model("Settings", __base__=Settings, **fields)
    made_of.called = f"settings of {called}"
    return made_of


def _as_setting(annotation: Any) -> Any:
    """Return a plugin's type as built-in settings have it: numbers stay as written, lists become tuples."""
    origin, parts = get_origin(annotation), get_args(annotation)
    if annotation is float or (origin is Annotated and parts[0] is float):
        return Annotated[annotation, AsGiven]
    if origin is Annotated:
        return Annotated[(_as_setting(parts[0]), *parts[1:])]
    if origin is tuple:
        return Annotated[tuple[_as_setting(parts[0]), ...], FromList]  # type: ignore[misc]
    if origin in (Union, UnionType):
        return Union[tuple(map(_as_setting, parts))]  # noqa: UP007, of types that are known at run time
    return annotation


def _of_class(cls: type) -> dict[str, tuple[Any, Any]]:
    settings: dict[str, tuple[Any, Any]] = {}
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
                settings[name] = (types[name], vars(base).get(name, MISSING))
        for name, value in vars(base).items():
            if name in annotated or name.startswith("_") or name.isupper() or not isinstance(value, (*_PLAIN, tuple)):
                continue
            if name in settings:  # another default
                settings[name] = (settings[name][0], value)
            elif not hasattr(super(base, base), name):
                settings[name] = (None, value)
    return settings


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
    """Tell whether settings may have a type."""
    if get_origin(annotation) is Annotated:
        return _is_plain(annotation.__origin__)
    if get_origin(annotation) is tuple:
        return len(get_args(annotation)) == 2 and get_args(annotation)[1] is ... and _is_plain(get_args(annotation)[0])
    if get_origin(annotation) in (Union, UnionType):
        parts = [part for part in get_args(annotation) if part is not type(None)]
        return all(map(_is_plain, parts))
    return annotation in _PLAIN or get_origin(annotation) is Literal


def own_settings(*of: Kind) -> dict[str, list[Extension]]:
    """Return the settings that plugins add, by name, with the plugins that declare each."""
    settings: dict[str, list[Extension]] = {}
    for kind in of:
        for one in extensions(kind).values():
            for name in one.settings.model_fields:
                settings.setdefault(name, []).append(one)
    return settings
