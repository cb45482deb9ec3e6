"""Options of a command: one for each of its settings, and one for each setting that plugins add."""

import inspect
from collections.abc import Callable
from functools import partial
from inspect import Parameter
from pathlib import Path
from types import NoneType, UnionType
from typing import Annotated, Any, TypeGuard, Union, get_args

import tyro
from tyro.constructors import ConstructorRegistry, PrimitiveConstructorSpec, PrimitiveTypeInfo

from sdlcore.command_line import read_json, with_parameters
from sdlcore.plugins.extensible import Extensible
from sdlcore.plugins.plugin_settings import own_settings
from sdlcore.plugins.registry import Extension
from sdlcore.settings import Settings, type_of
from sdlcore.storage.paths import user_path

RULES = ConstructorRegistry()
"""Rules of tyro for commands: settings that may be None are one value of JSON; in a path, ``~`` is the home folder."""
NAMED_OPTIONS = "named_options"
"""Parameter of a command that gets the names of the options on the command line."""


@RULES.primitive_rule
def _path(info: PrimitiveTypeInfo) -> PrimitiveConstructorSpec[Path] | None:
    if info.type is not Path:
        return None
    return PrimitiveConstructorSpec(
        1, "PATH", lambda texts: user_path(texts[0]), lambda value: isinstance(value, Path), lambda value: [str(value)]
    )


@RULES.primitive_rule
def _json_or_none(info: PrimitiveTypeInfo) -> PrimitiveConstructorSpec[Any] | None:
    kinds = [kind for kind in get_args(info.type) if kind is not NoneType]
    if info.type_origin not in (Union, UnionType) or len(kinds) != 1 or not is_settings(kinds[0]):
        return None
    return PrimitiveConstructorSpec(
        1, "JSON", lambda texts: read_json(texts[0], kinds[0]), lambda value: True, lambda value: [str(value)]
    )


def option_names(function: Callable[..., None]) -> set[str]:
    """Return the Python names of a function's options."""
    names = set()
    for name, one in inspect.signature(function).parameters.items():
        names |= set(one.annotation.model_fields) if is_settings(one.annotation) else {name}
    return names


def names_of_options(argv: list[str]) -> frozenset[str]:
    """Return the Python names of the options on a command line."""
    names = {one.lstrip("-").partition("=")[0].replace("-", "_") for one in argv if one.startswith("--")}
    return frozenset(names | {name.removeprefix("no_") for name in names})


def with_named_options(function: Callable[..., None], argv: list[str]) -> Callable[..., None]:
    """Return a function without the parameter ``named_options``, which gets the names of the options in ``argv``."""
    parameters = dict(inspect.signature(function).parameters)
    if parameters.pop(NAMED_OPTIONS, None) is None:
        return function
    return with_parameters(partial(function, **{NAMED_OPTIONS: names_of_options(argv)}), parameters.values())


def with_plugins(function: Callable[..., None]) -> Callable[..., None]:
    """Return a function with an option for each setting that plugins add to the settings among its parameters."""
    parameters = dict(inspect.signature(function).parameters)
    extended = {name: one.annotation for name, one in parameters.items() if is_extensible(one.annotation)}
    plugin_settings = own_settings(*(kind.extended_by for kind in extended.values()))
    # a setting with the name of another parameter can only be given in a configuration
    new_options = {setting: its for setting, its in plugin_settings.items() if setting not in parameters}
    if not new_options:
        return function
    for setting, its in new_options.items():
        help = "; ".join(_described(setting, one) for one in its)
        hint = f"(default: {' or '.join(dict.fromkeys(_default_of(setting, one) for one in its))})"
        option = tyro.conf.arg(help=help, help_behavior_hint=hint)
        annotation: Any = Annotated[Union[*(type_of(one.settings.model_fields[setting]) for one in its), None], option]
        parameters[setting] = Parameter(setting, Parameter.KEYWORD_ONLY, default=None, annotation=annotation)
    for name, kind in extended.items():
        # what goes together is checked with the plugins' settings, when all are there
        unchecked: Any = type(kind.__name__, (kind,), {"check_together": lambda _: None, "__module__": kind.__module__})
        default = unchecked(**dict(parameters[name].default))
        parameters[name] = parameters[name].replace(annotation=unchecked, default=default)

    def call(**arguments: Any) -> None:
        values = {setting: value for setting in new_options if (value := arguments.pop(setting)) is not None}
        for name, kind in extended.items():
            its = {setting: values[setting] for setting in values.keys() & own_settings(kind.extended_by)}
            arguments[name] = kind(**dict(arguments[name]), **its)
        function(**arguments)

    return with_parameters(call, parameters.values())


def _described(setting: str, its: Extension) -> str:
    """Return the description of a plugin's setting, with the plugin's name."""
    text, of = its.text_of(setting), f"of {its.kind} {its.name}"
    return f"{text} ({of})" if text else of


def _default_of(setting: str, its: Extension) -> str:
    field = its.settings.model_fields[setting]
    return f"none, {its.kind} {its.name} needs it" if field.is_required() else str(field.default)


def is_settings(annotation: Any) -> TypeGuard[type[Settings]]:
    """Tell whether a parameter takes settings."""
    return isinstance(annotation, type) and issubclass(annotation, Settings)


def is_extensible(annotation: Any) -> TypeGuard[type[Extensible]]:
    """Tell whether a parameter takes settings that plugins add to."""
    return isinstance(annotation, type) and issubclass(annotation, Extensible)
