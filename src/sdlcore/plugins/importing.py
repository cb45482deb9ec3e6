"""Find plugins, and import them."""

import os
import sys
from collections.abc import Iterable
from importlib import import_module
from pathlib import Path

from sdlcore.errors import PluginError
from sdlcore.plugins.registry import VARIABLE, error_text


def locate_plugin(plugin: str, folder: Path) -> str:
    """Return the path of a plugin's file from the working directory; for an installed plugin, return its name.

    A module is looked for beside the file that names it, in ``folder``, then in the working directory. Any other plugin
    must be installed.
    """
    if plugin.endswith(".py"):
        places = [folder / plugin, Path(plugin)]
    else:
        name = Path(*plugin.split("."))
        places = [path for at in (folder, ".") for path in (Path(at, f"{name}.py"), Path(at, name, "__init__.py"))]
    file = next((path for path in places if path.is_file()), None)
    return plugin if file is None else os.path.relpath(file)


def load_plugins(plugins: Iterable[str]) -> None:
    """Import plugins, given as names of modules or paths of files (`locate_plugin`), unless they are imported already.

    PluginError names the plugin that cannot be imported.
    """
    for plugin in plugins:
        try:
            _import(plugin)
        except PluginError:
            raise
        except (Exception, SystemExit) as error:
            problem = f"{plugin} cannot be imported ({error_text(error)})"
            if isinstance(error, ModuleNotFoundError) and error.name == plugin.partition(".")[0]:
                places = f"beside the configuration file, in {Path.cwd()} or among installed packages"
                problem = f"{plugin}: no such module {places}"
            raise PluginError(problem) from error


def load_for_jobs() -> None:
    """Import the plugins that the environment names (`VARIABLE`); PluginError names a plugin that fails to import."""
    try:
        load_plugins(locate_plugin(name, Path()) for name in os.environ.get(VARIABLE, "").split(os.pathsep) if name)
    except PluginError as error:
        raise PluginError(f"{VARIABLE}: {error}") from error


def _import(plugin: str) -> None:
    if not plugin.endswith(".py"):
        import_module(plugin)
        return
    path = Path(plugin).resolve()
    if not path.is_file():
        raise PluginError(f"{plugin}: no such file")
    place = path.parent if path.name == "__init__.py" else path
    if str(place.parent) not in sys.path:  # last, so that it hides nothing
        sys.path.append(str(place.parent))
    module = import_module(place.stem)
    if Path(module.__file__ or "").resolve() != path:
        raise PluginError(f"{plugin}: another module is called {place.stem}; rename yours")
