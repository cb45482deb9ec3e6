"""Reading and validating configurations.

The pydantic models (`whole.Configuration` and its parts) check keys, types and ranges, and fill in defaults. Then
`validation` finds names that refer to nothing, and validates the merged settings of each run.
"""

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from sdlcore import PluginError
from sdlcore.plugins.importing import load_plugins, locate_plugin
from sdlcore.settings import Json
from sdlcore.storage.yaml_files import ConfigError, load_yaml
from sdlcore.suggestions import did_you_mean
from sdlcore.text import short_text
from sdlstudy.configuration.limits import mapping, unfit
from sdlstudy.configuration.validation import inconsistent_runs, unknown_names
from sdlstudy.configuration.variants import with_each_layer, with_sweeps, without_like
from sdlstudy.configuration.whole import Configuration
from sdlstudy.products.registry import registered
from sdlstudy.products.tables import OWN, Compared
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
    name, adds_to_default = config.get("name"), default.keys() <= config.keys()
    if name in (None, default.get("name")) and not adds_to_default and config.keys() - {"name", *UNTRACKED}:
        problem, choice = (
            ("missing; without one", "it") if name is None else (f"{name} is the default's; so", "another")
        )
        raise ConfigError(
            [
                f"name: {problem}, results would replace the default's in results/{default.get('name')}. Set {choice} "
                "in a file that --configfile names, or by --config name=...; or, to add to the default's results, name "
                "config/config.yaml among the files"
            ]
        )
    return validate(over_default(with_each_layer(default), with_each_layer(config)))


def validate(config: Tree) -> Configuration:
    """Return ``config`` with defaults filled in. Refuse it if it is invalid.

    Raises
    ------
    ConfigError
        With one line for each wrong key: its path and the expected value.
    """
    study = _typed(with_each_layer(config))
    tables = {name: table for name, table in study.tables.items() if table is not None}
    study = study.model_copy(update={"tables": tables})
    _refuse(unknown_names(study))
    _refuse(line for path, product in study.products_by_path().items() for line in product.unsound_sweep(path, study))
    # a variant copies a source or method and changes one setting, so the new value needs a check
    study = _typed(with_sweeps(study).model_dump(warnings=False))
    _refuse(inconsistent_runs(study))
    return study


def _typed(config: Tree) -> Configuration:
    """Return the models of a configuration, with its plugins imported and its variants written out."""
    _refuse(unfit(config))
    plugins = config.get("plugins")
    try:
        load_plugins(name for name in (plugins if isinstance(plugins, list) else []) if isinstance(name, str))
        return Configuration.model_validate(without_like(config))
    except PluginError as error:
        raise ConfigError([f"plugins: {error}"]) from error
    except ValidationError as error:
        raise ConfigError(_explained(each) for each in error.errors(include_url=False)) from error


def _refuse(problems: Iterable[str]) -> None:
    errors = list(dict.fromkeys(problems))
    if errors:
        raise ConfigError(errors)


def _explained(error: ErrorDetails) -> str:
    """Return pydantic's error after the path of its key, with the value or with the known keys."""
    path, text, value = error["loc"], error["msg"], error["input"]
    if error["type"] == "extra_forbidden":
        known = _keys_at(path[:-1])
        text = f"unknown key{did_you_mean(str(path[-1]), known) or '; expected one of ' + ', '.join(known)}"
    elif error["type"] == "value_error":
        text = str(error["ctx"]["error"])
    elif error["type"] != "missing":
        text += f", found {short_text(repr(value))}"
    return f"{'.'.join(map(str, path))}: {text}"


def _keys_at(path: Sequence[str | int]) -> list[str]:
    """Return the keys that the JSON schema allows at a path."""
    schema = Configuration.model_json_schema()
    part: dict[str, Any] = schema
    for key in (*path, None):
        for choice in part.get("anyOf", [part]):
            part = schema["$defs"][choice["$ref"].rpartition("/")[-1]] if "$ref" in choice else part
        if key is not None:
            part = part.get("properties", {}).get(key) or part.get("additionalProperties") or {}
    return sorted(part.get("properties", {}))


def over_default(default: Tree, config: Tree) -> dict[str, Json]:
    """Merge ``config`` over the default.

    If ``config`` adds its own activations (a source of one of `OWN_KINDS` that the default lacks), the result contains
    only the tables, figures and other products that ``config`` names. Each new source that no product uses gets the
    table that ``own`` describes. The first of these sources also gets the figure of resampling.
    """
    merged = merge(default, config)
    study = _typed(merged)
    new_sources = [
        source
        for kind in OWN_KINDS
        for source in getattr(study.sources, kind)
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
    if study.own is not None:
        merged["tables"] = tables | {
            f"{OWN}{source}": _own_table(study, study.own, source) for source in unused_sources
        }
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


def _own_table(study: Configuration, own: Compared, source: str) -> dict[str, Json]:
    """Return the table of a source, without anchors drawn from classes if its samples have no classes."""
    labelled, anchorings = study.source(source).is_labelled, study.anchorings
    usable = [n for n in own.anchorings if labelled or n == "none" or (n in anchorings and anchorings[n].discover)]
    return own.model_dump() | {"source": source, "anchorings": usable or ["none"]}
