"""The registry of activations, loss terms, solvers, metrics and sources that other people's modules add (plugins).

A plugin is a module that calls our decorators, such as `sdlcore.model.activations.registry.activation`. A configuration
names it under ``plugins``, a notebook imports it, and an installed package has an entry point in the group
``sdlcore.plugins``. What we have ourselves is not in here: it is found by its module's name.
"""

import inspect
import os
import re
import sys
import warnings
from collections.abc import Callable, Iterable, Mapping
from dataclasses import MISSING, dataclass, field, fields, make_dataclass
from functools import cache
from importlib import import_module, metadata
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, TypeAlias, get_args, get_origin, get_type_hints

from pydantic_core import PydanticCustomError, core_schema

from sdlcore.settings import FromJson, Json, check, did_you_mean, kinds, wanted

Kind: TypeAlias = Literal["activation", "loss term", "solver", "metric", "source"]
GROUP = "sdlcore.plugins"
"""Entry points of installed packages that are plugins."""
VARIABLE = "SDLCORE_PLUGINS"
"""The environment variable that hands the plugins of a configuration on to its jobs."""
_PLAIN = (bool, int, float, str)


class PluginError(ImportError):
    """A plugin cannot be found or imported, or registers what it may not."""


@dataclass(frozen=True)
class Extension:
    """What a plugin has registered."""

    kind: Kind
    name: str
    made: Any
    """The class or function."""
    settings: type[FromJson]
    """A dataclass of the settings that it alone has."""
    facts: Mapping[str, Any] = field(default_factory=dict)
    """What else its kind has to know of it."""

    @property
    def module(self) -> str:
        """The name of the plugin's module."""
        return str(self.made.__module__)

    @property
    def parts(self) -> tuple[str, ...]:
        """What a digest takes in for it (`sdlcore.storage.digest`): the plugin's file, and modules that it extends."""
        classes = self.made.__mro__ if isinstance(self.made, type) else ()
        ours = sorted({base.__module__ for base in classes if base.__module__.startswith("sdlcore.")})
        file = getattr(sys.modules.get(self.module), "__file__", None)
        return (file, *ours) if file else tuple(ours)  # a notebook has no file


_REGISTERED: dict[tuple[Kind, str], Extension] = {}
_UNNAMED: set[str] = set()
"""Modules of installed packages that nobody has named. Their metrics are computed for no run."""


def register(found: Extension, ours: Iterable[str], taken: Iterable[str] = ()) -> None:
    """Add an extension, or put it in the place of an earlier one of the same module.

    Parameters
    ----------
    found
        The extension.
    ours
        Names that we have of its kind.
    taken
        Names of our settings, which its own must not have.

    Raises
    ------
    PluginError
        If its name or the name of a setting is taken, or is none that a configuration can hold.
    """
    what = f"{found.module}: {found.kind} {found.name}"
    if not re.fullmatch("[a-z][a-z0-9_]{0,49}", found.name):
        raise PluginError(f"{what}: expected lower-case letters, digits and underscores, beginning with a letter")
    before = _REGISTERED.get((found.kind, found.name))
    if found.name in ours or (before is not None and before.module != found.module):
        owner = "sdlcore" if before is None else before.module
        raise PluginError(f"{what}: {owner} has one of this name; choose another")
    if doubled := sorted(set(taken) & {setting.name for setting in fields(found.settings)}):
        raise PluginError(f"{what}: sdlcore has a setting {doubled[0]}; choose another name for yours")
    _REGISTERED[found.kind, found.name] = found


def extensions(kind: Kind) -> dict[str, Extension]:
    """Return what plugins have registered of a kind, by name; those of installed packages are imported first.

    Metrics belong to no run's settings: those of a package that is merely installed are left out.
    """
    _import_installed()
    named = {name: found for (of, name), found in _REGISTERED.items() if of == kind}
    return {name: found for name, found in named.items() if kind != "metric" or found.module not in _UNNAMED}


def registered(kind: Kind, name: str) -> Extension | None:
    """Return what plugins that are imported have registered by a name, None where they have nothing."""
    return _REGISTERED.get((kind, name))


@cache
def _import_installed() -> None:
    """Import the plugins of installed packages. One that fails is left out with a warning: it may not be needed."""
    for point in metadata.entry_points(group=GROUP):
        try:
            before = set(_REGISTERED)
            point.load()
            _UNNAMED.update(_REGISTERED[key].module for key in _REGISTERED.keys() - before)
        except Exception as error:
            warnings.warn(f"the plugin {point.value} cannot be imported ({_said(error)})", stacklevel=2)


# settings of extensions


def settings_class(made: Any, called: str, more: Mapping[str, tuple[Any, Any]] | None = None) -> type[FromJson]:
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

    Raises
    ------
    PluginError
        If a setting has a type that no configuration can hold.
    """
    declared = {**(more or {}), **(_of_class(made) if isinstance(made, type) else _of_function(made))}
    for name, (kind, _) in declared.items():
        if not _is_plain(kind):
            raise PluginError(
                f"{made.__module__}: {name} of {called}: {kind!r} is no type of a setting; expected bool, int, float, "
                "str, Literal, a tuple of one of these, or one of them as Annotated with a range"
            )
    given = [
        (name, kind, field(kw_only=True, **({} if default is MISSING else {"default": default})))
        for name, (kind, default) in declared.items()
    ]
    space = {"called": f"settings of {called}", "__post_init__": check}
    made_of: type[FromJson] = make_dataclass("Settings", given, bases=(FromJson,), namespace=space, frozen=True)
    return made_of


def _of_class(cls: type) -> dict[str, tuple[Any, Any]]:
    found = {}
    for base in reversed(cls.__mro__):
        if base.__module__.partition(".")[0] in ("sdlcore", "torch", "builtins"):
            continue
        types = get_type_hints(base, include_extras=True)
        for name in vars(base).get("__annotations__", {}):
            # a tensor is declared for type checkers
            if get_origin(types[name]) is not ClassVar and "Tensor" not in getattr(types[name], "__name__", ""):
                found[name] = (types[name], vars(base).get(name, MISSING))
    return found


def _of_function(function: Callable[..., Any]) -> dict[str, tuple[Any, Any]]:
    types = get_type_hints(function, include_extras=True)
    return {
        name: (types.get(name), MISSING if parameter.default is parameter.empty else parameter.default)
        for name, parameter in inspect.signature(function).parameters.items()
        if parameter.kind is parameter.KEYWORD_ONLY
    }


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


def own_settings(*of: Kind) -> dict[str, list[tuple[Extension, Any]]]:
    """Return the settings that plugins add to runs, by name: whose each is, and its annotation."""
    found: dict[str, list[tuple[Extension, Any]]] = {}
    for kind in of:
        for one in extensions(kind).values():
            for setting in fields(one.settings):
                found.setdefault(setting.name, []).append((one, setting.type))
    return found


def problem_of(name: str, value: Json, *of: Kind) -> str | None:
    """Return what is wanted of a plugin's setting that has another value than any plugin takes, else None."""
    given = tuple(value) if isinstance(value, list) else value
    problems = [wanted(kind, given) for _, kind in own_settings(*of)[name]]
    return None if None in problems else problems[0]


# names that settings may have


@dataclass(frozen=True)
class Name:
    """The annotation of a text that is one of our names, or one that a plugin has registered."""

    kind: Kind
    ours: tuple[str, ...]

    def wanted(self, value: Any) -> str | None:
        """Return what is wanted of another value, else None."""
        if value in self.ours or (isinstance(value, str) and value in extensions(self.kind)):
            return None
        return f"one of {', '.join(self.known())}"

    def known(self) -> tuple[str, ...]:
        """Return all names."""
        return (*self.ours, *extensions(self.kind))

    def __get_pydantic_core_schema__(self, source: Any, handler: Any) -> core_schema.CoreSchema:
        return core_schema.no_info_after_validator_function(self._checked, handler(source))

    def __get_pydantic_json_schema__(self, schema: Any, handler: Any) -> dict[str, Any]:
        return {**handler(schema), **({"enum": list(self.ours)} if self.ours else {})}

    def _checked(self, value: Any) -> Any:
        if problem := self.wanted(value):
            said = f"{value!r} is not {problem}{did_you_mean(value, self.known())}"
            raise PydanticCustomError("name", "{said}", {"said": said})
        return value


# importing plugins


def located(plugin: str, folder: Path) -> str:
    """Return the way to a plugin's file from the working directory, where it is one; else its name, unchanged.

    A module is looked for beside the file that names it, in ``folder``, then in the working directory. What is not
    there has to be installed.
    """
    if plugin.endswith(".py"):
        places = [folder / plugin, Path(plugin)]
    else:
        name = Path(*plugin.split("."))
        places = [path for at in (folder, ".") for path in (Path(at, f"{name}.py"), Path(at, name, "__init__.py"))]
    found = next((path for path in places if path.is_file()), None)
    return plugin if found is None else os.path.relpath(found)


def load(plugins: Iterable[str]) -> None:
    """Import plugins: names of modules, or paths of their files (`located`). One that is there already is left alone.

    Raises
    ------
    PluginError
        Naming the plugin that cannot be imported.
    """
    for plugin in plugins:
        try:
            name = _import(plugin)
            _UNNAMED.difference_update([one for one in _UNNAMED if f"{one}.".startswith(f"{name}.")])
        except ModuleNotFoundError as error:
            if error.name != plugin.partition(".")[0]:
                raise PluginError(f"{plugin} cannot be imported ({_said(error)})") from error
            raise PluginError(
                f"{plugin}: no such module beside the configuration file, in {Path.cwd()} or among installed packages"
            ) from error
        except PluginError:
            raise
        except (Exception, SystemExit) as error:
            raise PluginError(f"{plugin} cannot be imported ({_said(error)})") from error


def load_for_jobs() -> None:
    """Import the plugins that the environment names (`VARIABLE`)."""
    load(filter(None, os.environ.get(VARIABLE, "").split(os.pathsep)))


def _import(plugin: str) -> str:
    """Import a plugin and return the name of its module."""
    if not plugin.endswith(".py"):
        return import_module(plugin).__name__
    path = Path(plugin).resolve()
    if not path.is_file():
        raise PluginError(f"{plugin}: no such file")
    package = path.name == "__init__.py"
    name = path.parent.name if package else path.stem
    there = sys.modules.get(name)
    if there is not None:
        if Path(getattr(there, "__file__", None) or "").resolve() == path:
            return name
        raise PluginError(f"{plugin}: a module called {name} is imported already; rename yours")
    spec = spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise PluginError(f"{plugin}: not a file of Python")
    folder = str(path.parent.parent if package else path.parent)
    if folder not in sys.path:  # for modules beside it that it imports; last, so that it hides nothing
        sys.path.append(folder)
    module = sys.modules[name] = module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
    return name


def _said(error: BaseException) -> str:
    """Return an error on one line, with the line of the plugin that it comes from."""
    text = " ".join(str(error).split())
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    where = "" if trace is None or isinstance(error, SyntaxError) else f", line {trace.tb_lineno}"
    return f"{type(error).__name__}: {text}{where}"
