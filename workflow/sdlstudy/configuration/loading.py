"""Reading and validating configurations.

A configuration is checked twice. First the pydantic models (`whole.Configuration` and its parts) check each setting and
fill in defaults. Then cross-field checks find names that refer to nothing and settings that exclude each other. An
error lists every wrong key with the expected value.
"""

from collections.abc import Iterable, Iterator
from pathlib import Path

from pydantic import ValidationError

from sdlcore import PluginError
from sdlcore.plugins.importing import load_plugins, locate_plugin
from sdlcore.settings import Json
from sdlcore.sources.plugins.settings import source_gives
from sdlcore.storage.yaml_files import ConfigError, load_yaml
from sdlstudy.configuration.limits import mapping, unbounded
from sdlstudy.configuration.refusals import problems
from sdlstudy.configuration.validation import (
    doubled_sources,
    inconsistencies,
    inconsistent_benches,
    inconsistent_runs,
)
from sdlstudy.configuration.variants import (
    misnamed_variants,
    unsound_starts,
    with_each_layer,
    with_sweeps,
    without_like,
)
from sdlstudy.configuration.whole import Configuration
from sdlstudy.products.registry import registered
from sdlstudy.products.tables import OWN
from sdlstudy.settings.sources import Sources
from sdlstudy.settings.trees import Tree, branch, merge

__all__ = ["ConfigError", "configure", "load_yaml", "over_default", "read_given", "validate"]

UNTRACKED = ("device", "processes", "split", "tensorboard", "wandb", "cache", "peers_python", "plugins")
"""Keys that do not affect results: device, parallelism, logging, caches and plugins' code."""
OWN_KINDS = tuple(kind for kind in Sources.model_fields if kind not in ("bench", "synth"))
"""Kinds of sources that contain the user's own activations. A new bench is only a variant of the default's."""


def read_given(paths: Iterable[str | Path], changes: Tree) -> dict[str, Json]:
    """Merge configuration files in their order, then single changes. The default is not included.

    Raises
    ------
    ConfigError
        If a file is not a configuration. The error names the file.
    """
    merged: dict[str, Json] = {}
    for path in paths:
        content = mapping(load_yaml(path), str(path))
        merged = merge(merged, _with_located_plugins(content, Path(path).parent))
    _refuse(unbounded(changes))
    return merge(merged, _with_located_plugins(changes, Path()))


def _with_located_plugins(content: Tree, folder: Path) -> dict[str, Json]:
    """Return the content of a file in ``folder`` with paths of plugins resolved against that folder."""
    plugins = content.get("plugins")
    if not isinstance(plugins, list):
        return dict(content)
    return {
        **content,
        "plugins": [locate_plugin(plugin, folder) if isinstance(plugin, str) else plugin for plugin in plugins],
    }


def configure(config: Tree, default: Tree) -> Configuration:
    """Merge ``config`` over the default (`over_default`), and return the valid configuration.

    Raises
    ------
    ConfigError
        As `validate` does, and if changed results would overwrite the default's because the name is the same.
    """
    default, config = (with_each_layer(tree) for tree in (default, config))
    merged = merge(default, config)
    _refuse(unbounded(merged))
    _load_plugins(merged)
    errors = _misshapen(merged)
    name, adds_to_default = config.get("name"), default.keys() <= config.keys()
    if name in (None, default.get("name")) and not adds_to_default and config.keys() - {"name", *UNTRACKED}:
        problem, choice = (
            ("missing; without one", "it") if name is None else (f"{name} is the default's; so", "another")
        )
        errors.append(
            f"name: {problem}, results would replace the default's in results/{default.get('name')}. Set {choice} in "
            "a file that --configfile names, or by --config name=...; or, to add to the default's results, name "
            "config/config.yaml among the files"
        )
    _refuse(errors)
    return validate(over_default(default, config))


def validate(config: Tree) -> Configuration:
    """Return ``config`` with defaults filled in. Refuse it if it is invalid.

    Raises
    ------
    ConfigError
        With one line for each wrong key: its path and the expected value.
    """
    config = with_each_layer(config)
    _refuse(unbounded(config))
    _load_plugins(config)
    _refuse(_misshapen(config))
    _refuse(misnamed_variants(config))
    typed = _without_null(_typed(without_like(config)))
    _refuse(inconsistencies(typed))
    _refuse(unsound_starts(typed))
    _refuse(line for path, product in typed.products_by_path().items() for line in product.unsound_sweep(path, typed))
    # a variant copies a source or method and changes one setting, so the new value needs a check
    filled = _typed(with_sweeps(typed).model_dump(warnings=False))
    _refuse(inconsistent_benches(filled))
    _refuse([*doubled_sources(filled), *inconsistent_runs(filled)])
    return filled


def _load_plugins(config: Tree) -> None:
    """Import the plugins that a configuration names, since their settings may occur in it."""
    plugins = config.get("plugins")
    try:
        load_plugins([name for name in plugins if isinstance(name, str)] if isinstance(plugins, list) else [])
    except PluginError as error:
        raise ConfigError([f"plugins: {error}"]) from error


def _without_null(config: Configuration) -> Configuration:
    """Remove the tables that a configuration sets to null."""
    tables = {name: table for name, table in config.tables.items() if table is not None}
    return config.model_copy(update={"tables": tables})


def _refuse(problems: Iterable[str]) -> None:
    errors = list(dict.fromkeys(problems))
    if errors:
        raise ConfigError(errors)


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


def over_default(default: Tree, config: Tree) -> dict[str, Json]:
    """Merge ``config`` over the default.

    If ``config`` adds its own activations (a source of one of `OWN_KINDS` that the default lacks), the result contains
    only the tables, figures and other products that ``config`` names. Each new source that no product uses gets the
    table that ``own`` describes. The first of these sources also gets the figure of resampling.

    Parameters
    ----------
    default, config
        Two configurations that are valid in shape when merged.
    """
    merged = merge(default, config)
    new_sources = [
        source
        for kind in OWN_KINDS
        for source in branch(config, "sources", kind)
        if source not in branch(default, "sources", kind)
    ]
    if not new_sources:
        return merged
    tables, figures = (
        {name: spec for name, spec in branch(merged, key).items() if name in branch(config, key)}
        for key in ("tables", "figures")
    )
    merged |= {"tables": tables, "figures": figures}
    merged |= dict.fromkeys(key for key in registered() if "." not in key and key not in config)
    used_sources = set(_used_sources(merged))
    unused_sources = [source for source in new_sources if source not in used_sources]
    if merged.get("own") is not None:
        merged["tables"] = tables | {f"{OWN}{source}": _own_table(merged, source) for source in unused_sources}
    figure6 = branch(default, "figures", "figure6")
    if unused_sources and figure6 and "figure6" not in figures:
        merged["figures"] = figures | {"figure6": figure6 | {"source": unused_sources[0]}}
    return merged


def _used_sources(config: Tree) -> Iterator[str]:
    """Yield the sources that tables and figures name."""
    places = [(group, name) for group in ("tables", "figures") for name in branch(config, group)]
    for place in [*places, *((key,) for key in registered() if "." not in key)]:
        spec = branch(config, *place)
        source = spec.get("source")
        yield from [source] if isinstance(source, str) else branch(spec, "runs")


def _own_table(config: Tree, source: str) -> dict[str, Json]:
    """Return the table of a source, without anchors drawn from classes if its samples have no classes."""
    spec, written = branch(config, "own"), without_like({"sources": config["sources"]})
    kind = next(kind for kind in OWN_KINDS if source in branch(written, "sources", kind))
    settings = branch(written, "sources", kind, source)
    labelled = kind == "clip" or settings.get("labels") is not None or source_gives(settings.get("source"), "labels")
    anchorings = spec.get("anchorings")
    names = [name for name in anchorings if isinstance(name, str)] if isinstance(anchorings, list) else []
    usable_names = [n for n in names if labelled or n == "none" or "discover" in branch(config, "anchorings", n)]
    return spec | {"source": source, "anchorings": usable_names or ["none"]}
