"""Reading and validating configurations.

The pydantic models (`whole.Configuration` and its parts) check keys, types and ranges, and fill in defaults. Then
`validation` finds names that refer to nothing, and validates the merged settings of each run.
"""

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from pydantic import ValidationError

from sdlcore import PluginError
from sdlcore.plugins.importing import load_plugins, locate_plugin
from sdlcore.settings import Json, explained
from sdlcore.storage.yaml_files import ConfigError, load_yaml
from sdlstudy.configuration.validation import inconsistent_runs, unknown_names, unsafe_text
from sdlstudy.configuration.variants import without_like
from sdlstudy.configuration.whole import Configuration
from sdlstudy.products.registry import registered
from sdlstudy.products.tables import OWN, Compared
from sdlstudy.settings.sources import Sources
from sdlstudy.settings.trees import Tree, branch, merge, nested

__all__ = ["ConfigError", "configure", "load_yaml", "over_default", "read_given", "validate"]

UNTRACKED = ("device", "processes", "tensorboard", "wandb", "cache", "peers_python", "plugins")
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
    for file, content in [*((path, load_yaml(path)) for path in paths), ("--config", changes)]:
        if not isinstance(content, Mapping):
            raise ConfigError([f"{file}: expected keys with values, found {content!r:.100}"])
        plugins = content.get("plugins")
        if isinstance(plugins, list):
            content = {**content, "plugins": [locate_plugin(str(plugin), Path(file).parent) for plugin in plugins]}
        merged = merge(merged, content)
    return merged


def configure(config: Tree, default: Tree) -> Configuration:
    """Merge ``config`` over the default (`over_default`), and return the valid configuration.

    Raises
    ------
    ConfigError
        As `validate` does, and if changed results would overwrite the default's because the name is the same.
    """
    name, adds_to_default = default.get("name"), default.keys() <= config.keys()
    if config.get("name", name) == name and not adds_to_default and config.keys() - {"name", *UNTRACKED}:
        raise ConfigError(
            [
                f"name: results would replace the default's in results/{name}. Set another name in a file that "
                "--configfile names, or by --config name=...; to add to the default's results, name "
                "config/config.yaml among the files"
            ]
        )
    return validate(over_default(default, config))


def validate(config: Tree) -> Configuration:
    """Return ``config`` with defaults filled in. Refuse it if it is invalid.

    Raises
    ------
    ConfigError
        With one line for each wrong key: its path and the expected value.
    """
    study = _typed(config)
    tables = {name: table for name, table in study.tables.items() if table is not None}
    study = study.model_copy(update={"tables": tables})
    _refuse(unknown_names(study))
    for product in study.products_by_path().values():
        study = product.with_variants(study)
    # a variant copies a source or method and changes one setting, so the new value needs a check
    study = _typed(study.model_dump(warnings=False))
    _refuse(inconsistent_runs(study))
    return study


def _typed(config: Tree) -> Configuration:
    """Return the models of a configuration, with its plugins imported and its variants written out."""
    _refuse(unsafe_text(config))
    plugins = config.get("plugins")
    try:
        load_plugins(name for name in (plugins if isinstance(plugins, list) else []) if isinstance(name, str))
        return Configuration.model_validate(without_like(config))
    except PluginError as error:
        raise ConfigError([f"plugins: {error}"]) from error
    except ValidationError as error:
        raise ConfigError(explained(error, Configuration)) from error


def _refuse(problems: Iterable[str]) -> None:
    errors = list(dict.fromkeys(problems))
    if errors:
        raise ConfigError(errors)


def over_default(default: Tree, config: Tree) -> dict[str, Json]:
    """Merge ``config`` over the default.

    If ``config`` adds its own activations (a source of one of `OWN_KINDS` that the default lacks), the result contains
    only the tables, figures and other products that ``config`` names. Each new source that no product uses gets the
    table that ``tables`` describes. The first of these sources also gets the figure of resampling.

    ``seeds`` of ``config`` also replace the seeds of the default's tables and other products.
    """
    if "seeds" in config:
        for path in _product_paths(default):
            if "seeds" in branch(default, *path):
                default = merge(default, nested({"seeds": None}, *path))
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
    for key in ("tables", "figures"):
        merged[key] = {name: spec for name, spec in branch(merged, key).items() if name in branch(config, key)}
    merged |= dict.fromkeys(key for key in registered() if "." not in key and key not in config)
    used = set(_used_sources(merged))
    unused = [source for source in new_sources if source not in used]
    if study.own is not None:
        tables = {f"{OWN}{source}": _own_table(study, study.own, source) for source in unused}
        merged = merge(merged, {"tables": tables})
    figure6 = branch(default, "figures", "figure6")
    if unused and figure6 and "figure6" not in branch(config, "figures"):
        merged = merge(merged, {"figures": {"figure6": {**figure6, "source": unused[0]}}})
    return merged


def _used_sources(config: Tree) -> Iterator[str]:
    """Yield the sources that tables and figures name."""
    for path in _product_paths(config):
        spec = branch(config, *path)
        source = spec.get("source")
        yield from [source] if isinstance(source, str) else branch(spec, "runs")


def _product_paths(config: Tree) -> list[tuple[str, ...]]:
    """Return the paths of the tables and figures of a configuration, and of all other products."""
    paths = [(group, name) for group in ("tables", "figures") for name in branch(config, group)]
    return [*paths, *((key,) for key in registered() if "." not in key)]


def _own_table(study: Configuration, comparison: Compared, source: str) -> dict[str, Json]:
    """Return the table of a source, without anchors drawn from classes if its samples have no classes."""
    labelled, anchorings = study.source(source).is_labelled, study.anchorings
    usable = [
        n for n in comparison.anchorings if labelled or n == "none" or (n in anchorings and anchorings[n].discover)
    ]
    return comparison.model_dump() | {"source": source, "anchorings": usable or ["none"]}
