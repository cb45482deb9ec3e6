"""Read the settings that a plugin's class or function declares, and make a pydantic model of them."""

import inspect
from collections.abc import Callable, Collection, Mapping
from dataclasses import MISSING
from types import UnionType
from typing import Annotated, Any, ClassVar, Union, get_args, get_origin, get_type_hints

from pydantic import create_model

from sdlcore.errors import PluginError
from sdlcore.settings import AsGiven, FromList, Settings


def settings_class(
    implementation: Any,
    called: str,
    more: Mapping[str, tuple[Any, Any]] | None = None,
    takes: int = 0,
    built_in: Collection[str] = (),
) -> type[Settings]:
    """Return a model of the settings that a class or a function declares.

    A class declares them as annotated fields, as do its bases outside sdlcore and torch. A function declares them as
    keyword-only parameters, after as many others as it ``takes``. ``more`` are further settings: name -> type and
    default. A class declares ``built_in`` settings only to get their values. Errors name the plugin's part ``called``.

    Raises
    ------
    PluginError
        If a function takes other arguments, or pydantic does not know the type of a setting.
    """
    is_class = isinstance(implementation, type)
    try:
        if not is_class:
            inspect.signature(implementation).bind_partial(*range(takes))
        declared = {**(more or {}), **(_of_class(implementation) if is_class else _of_function(implementation))}
        fields = {
            name: (_as_setting(kind), ... if default is MISSING else default)
            for name, (kind, default) in declared.items()
            if name not in built_in
        }
        model: type[Settings] = create_model("Settings", __base__=Settings, **fields)  # type: ignore[call-overload]
        model.model_rebuild()
    except (TypeError, NameError, RuntimeError) as error:
        raise PluginError(f"{called}: {error}") from error
    return model


def _as_setting(annotation: Any) -> Any:
    """Return a plugin's type as built-in settings have it: numbers stay as written, lists become tuples."""
    origin, parts = get_origin(annotation), get_args(annotation)
    if annotation is float or (origin is Annotated and parts[0] is float):
        return Annotated[annotation, AsGiven]
    if origin is tuple:
        return Annotated[annotation, FromList]
    if origin in (Union, UnionType):
        return Union[tuple(map(_as_setting, parts))]  # noqa: UP007, of types that are known at run time
    return annotation


def _of_class(cls: type) -> dict[str, tuple[Any, Any]]:
    settings: dict[str, tuple[Any, Any]] = {}
    for base in reversed(cls.__mro__):
        if base.__module__.partition(".")[0] in ("sdlcore", "torch", "builtins"):
            continue
        types = get_type_hints(base, include_extras=True)
        for name in vars(base).get("__annotations__", {}):
            # a tensor is declared for type checkers
            if get_origin(types[name]) is not ClassVar and "Tensor" not in getattr(types[name], "__name__", ""):
                settings[name] = (types[name], vars(base).get(name, MISSING))
        # another default
        settings |= {name: (settings[name][0], vars(base)[name]) for name in settings.keys() & vars(base).keys()}
    return settings


def _of_function(function: Callable[..., Any]) -> dict[str, tuple[Any, Any]]:
    types = get_type_hints(function, include_extras=True)
    return {
        name: (types[name], MISSING if parameter.default is parameter.empty else parameter.default)
        for name, parameter in inspect.signature(function).parameters.items()
        if parameter.kind is parameter.KEYWORD_ONLY
    }
