"""Reading and validating configurations.

A configuration is checked twice. Its models (`whole.Configuration` and what it is made of) say what each setting may be
and supply defaults. Then comes what they cannot say: that names refer to something, and that settings go together.
Either refuses with the path of every offending key and what was expected there.
"""

from collections.abc import Iterable
from pathlib import Path

from pydantic import ValidationError

from sdlcore import PluginError
from sdlcore.pipeline import Json, load_plugins, locate_plugin
from sdlcore.study.configuration.cost import MOST_RUNS, number_of_runs
from sdlcore.study.configuration.own_sources import over_default
from sdlcore.study.configuration.refusals import problems
from sdlcore.study.configuration.validation import (
    doubled_sources,
    inconsistencies,
    inconsistent_benches,
    inconsistent_runs,
)
from sdlcore.study.configuration.variants import (
    misnamed_variants,
    unsound_starts,
    with_each_layer,
    with_sweeps,
    without_like,
)
from sdlcore.study.configuration.whole import Configuration
from sdlcore.study.configuration.yaml_files import ConfigError, load_yaml, mapping, unbounded
from sdlcore.study.settings.old_keys import with_new_keys
from sdlcore.study.settings.trees import Tree, merge

__all__ = ["ConfigError", "configure", "load_yaml", "read_given", "validate"]

UNTRACKED = ("device", "processes", "split", "tensorboard", "wandb", "cache", "peers_python", "plugins")
"""Keys that say where, how and by whose code runs are made, and alone change no result."""


def read_given(paths: Iterable[str | Path], changes: Tree) -> dict[str, Json]:
    """Return what is given beside the default: files, each laid over those before, and single changes over all.

    Raises
    ------
    ConfigError
        Naming a file that is no configuration.
    """
    given: dict[str, Json] = {}
    for path in paths:
        found = with_new_keys(mapping(load_yaml(path), str(path)), str(path))
        given = merge(given, _with_located_plugins(found, Path(path).parent))
    _refuse(unbounded(changes))
    return merge(given, _with_located_plugins(with_new_keys(changes), Path()))


def _with_located_plugins(given: Tree, folder: Path) -> dict[str, Json]:
    """Return what a file of a folder gives, with the plugins beside it by the paths of their files."""
    plugins = given.get("plugins")
    if not isinstance(plugins, list):
        return dict(given)
    return {**given, "plugins": [locate_plugin(one, folder) if isinstance(one, str) else one for one in plugins]}


def configure(given: Tree, default: Tree) -> Configuration:
    """Return the whole valid configuration that is given as what differs from the default (`own_sources.over_default`).

    Raises
    ------
    ConfigError
        As `validate` does, and where results would go to the folder of the default's though they are others.
    """
    default, given = (with_each_layer(with_new_keys(one)) for one in (default, given))
    merged = merge(default, given)
    _refuse(unbounded(merged))
    _load_plugins(merged)
    found = _misshapen(merged)
    name, adds_to_default = given.get("name"), default.keys() <= given.keys()
    if name in (None, default.get("name")) and not adds_to_default and given.keys() - {"name", *UNTRACKED}:
        said, it = ("missing; without one", "it") if name is None else (f"{name} is the default's; so", "another")
        found.append(
            f"name: {said}, results would take the place of the default's, results/{default.get('name')}. Set {it} in "
            "a file that --configfile names, or by --config name=...; or name config/config.yaml among the files, to "
            "add to its results"
        )
    _refuse(found)
    return validate(over_default(default, given))


def validate(config: Tree) -> Configuration:
    """Return ``config`` with defaults filled in, or refuse it.

    Raises
    ------
    ConfigError
        Naming the path of each wrong key and what was expected.
    """
    config = with_each_layer(with_new_keys(config))
    _refuse(unbounded(config))
    _load_plugins(config)
    _refuse(_misshapen(config))
    _refuse(misnamed_variants(config))
    typed = _without_null(_typed(without_like(config)))
    if (asked_for := number_of_runs(typed)) > MOST_RUNS:
        _refuse([f"tables: {asked_for:,} runs, with those of figures, expected at most {MOST_RUNS:,}"])
    _refuse(inconsistencies(typed))
    _refuse(unsound_starts(typed))
    _refuse(line for path, product in typed.asked().items() for line in product.unsound_sweep(path, typed))
    # variants are copies with one setting changed, which has to be in range
    filled = _typed(with_sweeps(typed).model_dump(warnings=False))
    _refuse(inconsistent_benches(filled))
    _refuse([*doubled_sources(filled), *inconsistent_runs(filled)])
    return filled


def _load_plugins(config: Tree) -> None:
    """Import the plugins that a configuration names, whose settings may stand in it."""
    plugins = config.get("plugins")
    try:
        load_plugins([name for name in plugins if isinstance(name, str)] if isinstance(plugins, list) else [])
    except PluginError as error:
        raise ConfigError([f"plugins: {error}"]) from error


def _without_null(config: Configuration) -> Configuration:
    """Leave out the tables that a configuration sets to null."""
    tables = {name: table for name, table in config.tables.items() if table is not None}
    return config.model_copy(update={"tables": tables})


def _refuse(problems: Iterable[str]) -> None:
    found = list(dict.fromkeys(problems))
    if found:
        raise ConfigError(found)


def _typed(config: Tree) -> Configuration:
    try:
        return Configuration.model_validate(config)
    except ValidationError as error:
        raise ConfigError(problems(error, config)) from error


def _misshapen(config: Tree) -> list[str]:
    try:
        Configuration.model_validate(config)
    except ValidationError as error:
        return problems(error, config)
    return []
