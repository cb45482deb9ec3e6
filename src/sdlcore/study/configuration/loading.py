"""Reading and validating configurations.

A configuration is checked twice: by its models (`sdlcore.study.configuration.models`), which say what each setting may
be and supply defaults, and then for what they cannot say: that names refer to something, and that settings go together.
Either refuses with the path of every offending key and what was expected there.
"""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from sdlcore.study.configuration.cost import MOST_RUNS, number_of_runs
from sdlcore.study.configuration.models.whole import Configuration
from sdlcore.study.configuration.own_sources import over_default
from sdlcore.study.configuration.refusals import problems
from sdlcore.study.configuration.run_keys import BENCH_TABLES
from sdlcore.study.configuration.validation import (
    doubled_sources,
    inconsistencies,
    inconsistent_benches,
    inconsistent_runs,
)
from sdlcore.study.configuration.variants import (
    merge,
    misnamed_variants,
    missed_values,
    unsound_starts,
    unsound_sweeps,
    with_sweeps,
    without_like,
)
from sdlcore.study.configuration.yaml_files import ConfigError, load_yaml, mapping, parse, unbounded

__all__ = ["ConfigError", "configuration", "configure", "load_yaml", "read_given", "validate"]

UNTRACKED = ("device", "processes", "split", "tensorboard", "wandb", "cache", "peers_python")
"""Keys that say where and how runs are made, and change no result."""


def configuration(content: str | bytes, default: Mapping[str, Any], name: str = "text") -> dict[str, Any]:
    """Return the whole valid configuration that the text of one file makes of the default.

    Raises
    ------
    ConfigError
        Whatever is wrong with the text.
    """
    return configure(mapping(parse(content, name), name), default)


def read_given(paths: Iterable[str | Path], changes: Mapping[str, Any]) -> dict[str, Any]:
    """Return what is given beside the default: files, each laid over those before, and single changes over all.

    Raises
    ------
    ConfigError
        Naming a file that is no configuration.
    """
    given: dict[str, Any] = {}
    for path in paths:
        given = merge(given, mapping(load_yaml(path), str(path)))
    _refuse(unbounded(changes))
    return merge(given, changes)


def configure(given: Mapping[str, Any], default: Mapping[str, Any]) -> dict[str, Any]:
    """Return the whole valid configuration that is given as what differs from the default (`own.over_default`).

    Raises
    ------
    ConfigError
        As `validate` does, and where results would go to the folder of the default's though they are others.
    """
    merged = merge(default, given)
    _refuse(unbounded(merged))
    found = _misshapen(merged)
    if "name" not in given and given.keys() - {*UNTRACKED}:
        folder = f"results/{default.get('name')}"
        found.append(
            f"name: missing; without one, results would take the place of the default's, {folder}. "
            "Set it in a file that --configfile names, or by --config name=...; or name config/config.yaml among the "
            "files, to add to its results"
        )
    _refuse(found)
    return validate(over_default(default, given))


def validate(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return ``config`` with defaults filled in, or refuse it.

    Raises
    ------
    ConfigError
        Naming the path of each wrong key and what was expected.
    """
    _refuse(unbounded(config))
    _refuse(_misshapen(config))
    _refuse(misnamed_variants(config))
    filled = _typed(without_like(config)).model_dump()
    filled["tables"] = {name: spec for name, spec in filled["tables"].items() if spec is not None}
    for part in ("discovery", *BENCH_TABLES):
        if filled[part] is not None:
            runs = {source: asked for source, asked in filled[part]["runs"].items() if asked is not None}
            filled[part]["runs"] = runs
    if (asked_for := number_of_runs(filled)) > MOST_RUNS:
        _refuse([f"tables: {asked_for:,} runs, with those of figures, expected at most {MOST_RUNS:,}"])
    _refuse(inconsistencies(filled))
    _refuse(unsound_starts(filled))
    _refuse(unsound_sweeps(filled))
    filled = with_sweeps(filled)
    _refuse(_misshapen(filled))
    _refuse(inconsistent_benches(filled["sources"]["bench"]))
    _refuse([*doubled_sources(filled), *missed_values(filled), *inconsistent_runs(filled)])
    return filled


def _refuse(problems: Iterable[str]) -> None:
    found = list(dict.fromkeys(problems))
    if found:
        raise ConfigError(found)


def _typed(config: Mapping[str, Any]) -> Configuration:
    try:
        return Configuration.model_validate(config)
    except ValidationError as error:
        raise ConfigError(problems(error, config)) from error


def _misshapen(config: Mapping[str, Any]) -> list[str]:
    try:
        Configuration.model_validate(config)
    except ValidationError as error:
        return problems(error, config)
    return []
