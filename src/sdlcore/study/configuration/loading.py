"""Reading and validating configurations.

A configuration is checked twice: its shape against a JSON schema, which also supplies defaults, and then for what a
schema cannot say: that names refer to something, and that settings go together. Either refuses with the path of every
offending key and what was expected there.
"""

import copy
import math
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import jsonschema

from sdlcore.study.configuration.cost import MOST_RUNS, number_of_runs
from sdlcore.study.configuration.own_sources import over_default
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
from sdlcore.study.configuration.yaml_files import ConfigError, key_path, load_yaml, mapping, parse, shown, unbounded

__all__ = ["ConfigError", "configuration", "configure", "load_yaml", "read_given", "validate"]

UNTRACKED = ("device", "processes", "split", "tensorboard", "wandb", "cache", "peers_python")
"""Keys that say where and how runs are made, and change no result."""

# JSON takes 250.0 for an integer; what loops and shapes are made from must be one
_Validator = jsonschema.validators.extend(
    jsonschema.Draft202012Validator,
    type_checker=jsonschema.Draft202012Validator.TYPE_CHECKER.redefine(
        "integer", lambda _, value: isinstance(value, int) and not isinstance(value, bool)
    ),
)


def configuration(
    content: str | bytes, default: Mapping[str, Any], schema: Mapping[str, Any], name: str = "text"
) -> dict[str, Any]:
    """Return the whole valid configuration that the text of one file makes of the default.

    Raises
    ------
    ConfigError
        Whatever is wrong with the text.
    """
    return configure(mapping(parse(content, name), name), default, schema)


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


def configure(given: Mapping[str, Any], default: Mapping[str, Any], schema: Mapping[str, Any]) -> dict[str, Any]:
    """Return the whole valid configuration that is given as what differs from the default (`own.over_default`).

    Raises
    ------
    ConfigError
        As `validate` does, and where results would go to the folder of the default's though they are others.
    """
    merged = merge(default, given)
    _refuse(unbounded(merged))
    problems = _misshapen(merged, schema)
    if "name" not in given and given.keys() - {*UNTRACKED}:
        folder = f"results/{default.get('name')}"
        problems.append(
            f"name: missing; without one, results would take the place of the default's, {folder}. "
            "Set it in a file that --configfile names, or by --config name=...; or name config/config.yaml among the "
            "files, to add to its results"
        )
    _refuse(problems)
    return validate(over_default(default, given), schema)


def validate(config: Mapping[str, Any], schema: Mapping[str, Any]) -> dict[str, Any]:
    """Return ``config`` with defaults filled in, or refuse it.

    Raises
    ------
    ConfigError
        Naming the path of each wrong key and what was expected.
    """
    _refuse(unbounded(config))
    _refuse(_misshapen(config, schema))
    _refuse(misnamed_variants(config))
    filled = _with_defaults(without_like(config), schema, schema)
    for part in ("tables", "figures"):
        filled[part] = {name: spec for name, spec in filled[part].items() if spec is not None}
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
    _refuse(_misshapen(filled, schema))
    _refuse(inconsistent_benches(filled["sources"]["bench"]))
    _refuse([*doubled_sources(filled), *missed_values(filled), *inconsistent_runs(filled)])
    return filled


def _refuse(problems: Iterable[str]) -> None:
    found = list(dict.fromkeys(problems))
    if found:
        raise ConfigError(found)


def _misshapen(config: Mapping[str, Any], schema: Mapping[str, Any]) -> list[str]:
    problems = sorted({line for error in _Validator(dict(schema)).iter_errors(config) for line in _explain(error)})
    return [*problems, *_not_finite(config)]


def _explain(error: jsonschema.ValidationError) -> Iterator[str]:
    path = list(error.absolute_path)
    where = key_path(path)
    schema = error.schema if isinstance(error.schema, Mapping) else {}
    wanted: Any = error.validator_value
    hint = f" ({str(schema['description']).strip()})" if "description" in schema else ""
    if error.validator == "additionalProperties" and isinstance(error.instance, Mapping):
        known = sorted(schema.get("properties", {}))
        for key in error.instance:
            if key not in known:
                yield f"{key_path([*path, key])}: unknown key; expected one of {', '.join(known)}"
    elif error.validator == "required" and isinstance(error.instance, Mapping):
        for key in wanted:
            # a variant has what is required from what it is like
            if key not in error.instance and "like" not in error.instance:
                yield f"{key_path([*path, key])}: missing; it is required"
    elif "propertyNames" in error.schema_path:
        yield f"{key_path([*path, str(error.instance)])}: not a name that can stand here; {_message(error)}{hint}"
    elif error.validator == "pattern" and "description" in schema:
        yield f"{where}: expected {schema['description'].strip()}, found {shown(error.instance)}"
    elif error.validator == "type":
        kinds = wanted if isinstance(wanted, str) else " or ".join(wanted)
        yield f"{where}: expected {kinds}{hint}, found {shown(error.instance)}{_yaml_float_hint(error.instance)}"
    else:
        yield f"{where}: {_message(error)}{hint}"


def _message(error: jsonschema.ValidationError) -> str:
    """Return jsonschema's message, with the value that it begins with shortened."""
    return error.message.replace(repr(error.instance), shown(error.instance), 1)


def _not_finite(tree: Any, path: tuple[str | int, ...] = ()) -> Iterator[str]:
    """YAML knows .nan and .inf, which no range of the schema catches."""
    if isinstance(tree, float) and not math.isfinite(tree):
        yield f"{key_path(path)}: expected a finite number, found {tree}"
    children = tree.items() if isinstance(tree, Mapping) else enumerate(tree) if isinstance(tree, list) else ()
    for key, child in children:
        yield from _not_finite(child, (*path, key))


def _yaml_float_hint(instance: Any) -> str:
    if not isinstance(instance, str):
        return ""
    try:
        float(instance)
    except ValueError:
        return ""
    if "e" in instance.lower():
        return "; write 1.0e-4 rather than 1e-4, which YAML reads as text"
    return (
        "; write it without quotes, in a file: Snakemake's --config makes text of numbers inside of lists and mappings"
    )


def _with_defaults(instance: Any, schema: Mapping[str, Any], root: Mapping[str, Any]) -> Any:
    if "$ref" in schema:
        instance = _with_defaults(instance, _resolve(root, schema["$ref"]), root)
    if isinstance(instance, dict):
        properties = schema.get("properties", {})
        for key, subschema in properties.items():
            if key not in instance and "default" in subschema:
                instance[key] = copy.deepcopy(subschema["default"])
        for key in instance:
            subschema = properties.get(key, schema.get("additionalProperties"))
            if isinstance(subschema, Mapping):
                instance[key] = _with_defaults(instance[key], subschema, root)
    return instance


def _resolve(root: Mapping[str, Any], reference: str) -> Mapping[str, Any]:
    for key in reference.removeprefix("#/").split("/"):
        root = root[key]
    return root
