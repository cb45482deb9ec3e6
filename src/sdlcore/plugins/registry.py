"""The registry of plugins' activations, loss terms, solvers, metrics and sources.

Section "In the package" of docs/extending.md lists the files of the built-in ones.
"""

import hashlib
import inspect
import re
import sys
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import MISSING, dataclass, field
from functools import cache, cached_property
from importlib import metadata
from pathlib import Path
from types import UnionType
from typing import Annotated, Any, ClassVar, Literal, TypeAlias, TypeVar, Union, get_args, get_origin, get_type_hints

from pydantic import ConfigDict, create_model
from pydantic_core import PydanticCustomError

from sdlcore.errors import PluginError
from sdlcore.settings import AsGiven, FromList, Settings, documents
from sdlcore.suggestions import did_you_mean
from sdlcore.user_warnings import warn_at_call

Kind: TypeAlias = Literal["activation", "loss term", "solver", "metric", "source"]
"""What a plugin can add."""
Implementation = TypeVar("Implementation", bound=Callable[..., Any])
VARIABLE = "SDLCORE_PLUGINS"
"""The environment variable that hands the plugins of a configuration on to its jobs."""
GROUP = "sdlcore.plugins"
"""Entry points of installed packages that are plugins."""


@dataclass(frozen=True)
class Extension:
    """A part that a plugin registered: an activation, a loss term, a solver, a metric or a source."""

    kind: Kind
    name: str
    implementation: Any
    """The class or function."""
    settings: type[Settings]
    """The model of the settings that it alone has."""
    facts: Mapping[str, Any] = field(default_factory=dict)
    """Further properties, by kind."""

    @property
    def module(self) -> str:
        """The name of the plugin's module."""
        return str(self.implementation.__module__)

    def text_of(self, setting: str) -> str:
        """Return the description of a setting in one line, or an empty text."""
        return documents(self.implementation).get(setting, "")

    @cached_property
    def digest(self) -> str | None:
        """SHA-256 of the plugin's file; None for a notebook, or a script from standard input, which has none."""
        file = Path(getattr(sys.modules.get(self.module), "__file__", None) or "")
        return hashlib.sha256(file.read_bytes()).hexdigest() if file.is_file() else None


_REGISTERED: dict[tuple[Kind, str], Extension] = {}


def extension(
    kind: Kind,
    name: str,
    ours: Collection[str],
    reserved: Collection[str] = (),
    facts: Mapping[str, Any] | None = None,
    **declared: Any,
) -> Callable[[Implementation], Implementation]:
    """Return the decorator that registers a class or a function as a plugin's part.

    It replaces an earlier part with this name from the same module, as in a notebook. ``ours`` are the names of the
    built-in parts of this kind, ``reserved`` the names of built-in settings, and ``declared`` the arguments of
    `settings_class`.

    Raises
    ------
    PluginError
        If there is no name, or the name or the name of a setting is taken or not allowed in a configuration.
    """
    value: Any = name
    if not isinstance(value, str):
        raise PluginError(
            f'expected the name of the {kind}, found {value}; write @sdl.{kind.replace(" ", "_")}("name")'
        )

    def register(implementation: Implementation) -> Implementation:
        what = f"{implementation.__module__}: {kind} {name}"
        if not re.fullmatch("[a-z][a-z0-9_]{0,49}", name):
            raise PluginError(f"{what}: expected lower-case letters, digits and underscores, beginning with a letter")
        before = _REGISTERED.get((kind, name))
        if name in ours or (before is not None and before.module != implementation.__module__):
            owner = "sdlcore" if before is None else before.module
            raise PluginError(f"{what}: {owner} has one of this name; choose another")
        settings = settings_class(implementation, what, **declared)
        if doubled := sorted({*reserved} & settings.model_fields.keys()):
            raise PluginError(f"{what}: sdlcore has a setting {doubled[0]}; choose another name for yours")
        _REGISTERED[kind, name] = Extension(kind, name, implementation, settings, dict(facts or {}))
        return implementation

    return register


def extensions(kind: Kind) -> dict[str, Extension]:
    """Return the registered extensions of a kind by name. Plugins of installed packages are imported first."""
    _import_installed()
    return {name: extension for (of, name), extension in _REGISTERED.items() if of == kind}


def registered(kind: Kind, name: str) -> Extension | None:
    """Return what plugins that are imported have registered by a name, None where they have nothing."""
    return _REGISTERED.get((kind, name))


def digests(of: Iterable[Extension]) -> dict[str, str]:
    """Return the digests of the files that define extensions, by the extensions' names."""
    return {extension.name: extension.digest for extension in of if extension.digest is not None}


def own_settings(*kinds: Kind) -> dict[str, list[Extension]]:
    """Return the settings that plugins add, by name, with the plugins that declare each."""
    settings: dict[str, list[Extension]] = {}
    for extension in (extension for kind in kinds for extension in extensions(kind).values()):
        for name in extension.settings.model_fields:
            settings.setdefault(name, []).append(extension)
    return settings


def check_name(kind: Kind, name: str, ours: Collection[str], unlisted: Collection[str] = ()) -> str:
    """Return the name of a built-in or a plugin's part; an error of pydantic for other names."""
    if name not in ours and name not in unlisted and name not in extensions(kind):
        names = (*ours, *extensions(kind))
        message = (
            f"no {kind} is called {name}{did_you_mean(name, names)}; expected {', '.join(names) or 'a name'}, or "
            f"that of a plugin (named in {VARIABLE}, or under plugins in a configuration)"
        )
        raise PydanticCustomError("name", "{message}", {"message": message})
    return name


class Pluggable(Settings):
    """Settings that accept further fields: the settings that classes and functions of plugins declare."""

    model_config = ConfigDict(extra="allow")
    kinds: ClassVar[tuple[Kind, ...]]
    """Kinds of plugins that add settings."""

    def used_plugins(self) -> list[Extension]:
        """Return the plugins that the settings name."""
        raise NotImplementedError

    @property
    def plugins(self) -> dict[str, str]:
        """Digests of the files of these plugins, by name."""
        return digests(self.used_plugins())

    def check_together(self) -> None:
        """Check the plugins' settings, and complete them by their defaults.

        Settings of plugins that the run does not use are left out, since several runs may share them. A loss term of
        weight 0 is not used.
        """
        extra, complete = self.model_extra or {}, dict[str, Any]()
        allowed = {*type(self).model_fields, *(own_settings(*self.kinds) if extra else ())}
        for plugin in self.used_plugins():
            settings = plugin.settings(**{name: extra[name] for name in extra if name in plugin.settings.model_fields})
            if plugin.kind != "loss term" or getattr(settings, plugin.name):
                complete |= dict(settings)
        if unknown := [
            f"{name}: unknown setting{did_you_mean(name, allowed)}" for name in extra if name not in allowed
        ]:
            raise ValueError("; ".join(unknown))
        object.__setattr__(self, "__pydantic_extra__", complete)  # frozen, but not yet handed out
        super().check_together()


@cache
def _import_installed() -> None:
    """Import the plugins of installed packages. One that fails is left out with a warning: it may not be needed."""
    for point in metadata.entry_points(group=GROUP):
        try:
            point.load()
        except Exception as error:
            warn_at_call(f"the plugin {point.value} cannot be imported ({error_text(error)})")


def error_text(error: BaseException) -> str:
    """Return an error on one line, with the line of the plugin that it comes from."""
    text = " ".join(str(error).split())
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    where = "" if trace is None or isinstance(error, SyntaxError) else f", line {trace.tb_lineno}"
    return f"{type(error).__name__}: {text}{where}"


def in_words(value: Any) -> str:
    """Describe a plugin's return value for an error: shape and type of an array or tensor, or a short value itself."""
    kind = type(value).__name__
    if hasattr(value, "shape") and hasattr(value, "dtype"):
        return f"{kind} of shape {tuple(value.shape)} and type {str(value.dtype).removeprefix('torch.')}"
    text = repr(value)
    return text if len(text) <= 40 else kind


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
        fields: dict[str, Any] = {
            name: (_as_setting(kind), ... if default is MISSING else default)
            for name, (kind, default) in declared.items()
            if name not in built_in
        }
        model = create_model("Settings", __base__=Settings, **fields)
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
