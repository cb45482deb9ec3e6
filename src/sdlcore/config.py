"""Reading and validating configurations.

A configuration is checked twice: its shape against a JSON schema, which also supplies defaults, and then for what a
schema cannot say: that names refer to something, and that settings go together. Either refuses with the path of every
offending key and what was expected there.
"""

import copy
import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jsonschema
import yaml

from sdlcore.run import RunConfig


class ConfigError(ValueError):
    """A configuration was refused; the message has one line for every problem, led by the path of the key."""

    def __init__(self, problems: Iterable[str]) -> None:
        super().__init__("configuration refused:\n" + "\n".join(f"  {problem}" for problem in problems))


@dataclass(frozen=True)
class Cell:
    """One run: a model trained once."""

    source: str
    method: str
    protocol: str
    anchoring: str
    seed: int


def load_yaml(path: str | Path) -> Any:
    """Read one YAML file, safely."""
    try:
        return yaml.safe_load(Path(path).read_text())
    except OSError as error:
        raise ConfigError([f"{path}: cannot be read ({error.strerror})"]) from error
    except yaml.YAMLError as error:
        raise ConfigError([f"{path}: not YAML ({error})"]) from error


def merge(base: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """Return ``base`` with ``over`` laid on it; mappings merge key by key, anything else replaces."""
    merged = dict(base)
    for key, value in over.items():
        both = isinstance(value, Mapping) and isinstance(merged.get(key), Mapping)
        merged[key] = merge(merged[key], value) if both else value
    return merged


# JSON takes 250.0 for an integer; what loops and shapes are made from must be one
_Validator = jsonschema.validators.extend(
    jsonschema.Draft202012Validator,
    type_checker=jsonschema.Draft202012Validator.TYPE_CHECKER.redefine(
        "integer", lambda _, value: isinstance(value, int) and not isinstance(value, bool)
    ),
)


def validate(config: Mapping[str, Any], schema: Mapping[str, Any]) -> dict[str, Any]:
    """Return ``config`` with defaults filled in, or refuse it.

    Raises
    ------
    ConfigError
        Naming the path of each wrong key and what was expected.
    """
    validator = _Validator(dict(schema))
    problems = sorted({line for error in validator.iter_errors(config) for line in _explain(error)})
    problems += _not_finite(config)
    if problems:
        raise ConfigError(problems)
    filled = _with_defaults(copy.deepcopy(dict(config)), schema, schema)
    problems = list(dict.fromkeys(_inconsistencies(filled)))
    if problems:
        raise ConfigError(problems)
    return filled


def source_kind(config: Mapping[str, Any], source: str) -> str:
    """Return the kind (`bench`, `llama`) of a source of a valid configuration."""
    return next(kind for kind, variants in config["sources"].items() if source in variants)


def reference_anchoring(config: Mapping[str, Any]) -> str | None:
    """Return the anchoring whose anchors divide the features of runs without anchors, or None where there is none.

    It is named by ``reference_anchoring``, or else the first.
    """
    return config["reference_anchoring"] or next(iter(config["anchorings"]), None)


def run_settings(config: Mapping[str, Any], source: str, method: str, protocol: str) -> dict[str, Any]:
    """Return the settings of a run.

    Its protocol's, then its source's, then its method's, then its protocol's for that method, over the defaults.
    """
    settings = RunConfig().to_dict()
    for layer in (
        config["protocols"][protocol]["run"],
        config["sources"][source_kind(config, source)][source]["run"],
        config["methods"][method],
        config["protocols"][protocol]["methods"].get(method, {}),
    ):
        settings |= layer
    return settings


def table_cells(config: Mapping[str, Any], table: str) -> list[Cell]:
    """Return the runs of a table."""
    spec = config["tables"][table]
    return [
        Cell(spec["source"], method, protocol, anchoring, seed)
        for method in spec["methods"]
        for protocol in spec["protocols"]
        for anchoring in spec["anchorings"]
        for seed in config["seeds"]
    ]


def figure6_cells(config: Mapping[str, Any], side: str) -> list[Cell]:
    """Return the runs of one side, ``with`` or ``without``, of Figure 6."""
    spec = config["figures"]["figure6"]
    return [Cell(spec["source"], spec[side], spec["protocol"], "none", seed) for seed in config["seeds"]]


def _path(parts: Iterable[str | int]) -> str:
    text = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in parts)
    return text.removeprefix(".") or "(top level)"


def _explain(error: jsonschema.ValidationError) -> Iterator[str]:
    path = list(error.absolute_path)
    where = _path(path)
    schema = error.schema if isinstance(error.schema, Mapping) else {}
    wanted: Any = error.validator_value
    hint = f" ({str(schema['description']).strip()})" if "description" in schema else ""
    if error.validator == "additionalProperties" and isinstance(error.instance, Mapping):
        known = sorted(schema.get("properties", {}))
        for key in error.instance:
            if key not in known:
                yield f"{_path([*path, key])}: unknown key; expected one of {', '.join(known)}"
    elif error.validator == "required" and isinstance(error.instance, Mapping):
        for key in wanted:
            if key not in error.instance:
                yield f"{_path([*path, key])}: missing; it is required"
    elif "propertyNames" in error.schema_path:
        yield f"{_path([*path, str(error.instance)])}: not a name that can stand here; {error.message}{hint}"
    elif error.validator == "pattern" and "description" in schema:
        yield f"{where}: expected {schema['description'].strip()}, found {error.instance!r}"
    elif error.validator == "type":
        kinds = wanted if isinstance(wanted, str) else " or ".join(wanted)
        yield f"{where}: expected {kinds}{hint}, found {error.instance!r}{_yaml_float_hint(error.instance)}"
    else:
        yield f"{where}: {error.message}{hint}"


def _not_finite(tree: Any, path: tuple[str | int, ...] = ()) -> Iterator[str]:
    """YAML knows .nan and .inf, which no range of the schema catches."""
    if isinstance(tree, float) and not math.isfinite(tree):
        yield f"{_path(path)}: expected a finite number, found {tree}"
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


def _inconsistencies(config: Mapping[str, Any]) -> Iterator[str]:
    sources = config["sources"]
    names = [name for variants in sources.values() for name in variants]
    for name in sorted({name for name in names if names.count(name) > 1}):
        yield f"sources: {name} stands under two kinds; names of sources are unique"
    for name, source in sources["llama"].items():
        if source["layers"] is not None and source["site"] != "residual":
            yield f"sources.llama.{name}.layers: takes residual streams, but site is {source['site']}; leave one out"
    for protocol, spec in config["protocols"].items():
        known = config["methods"]
        yield from _unknown(f"protocols.{protocol}.methods", spec["methods"], known, "a key of methods")
    if config["reference_anchoring"] is not None:
        named = [config["reference_anchoring"]]
        yield from _unknown("reference_anchoring", named, config["anchorings"], "a key of anchorings")
    for table, spec in config["tables"].items():
        yield from _unknown(
            f"tables.{table}.source", [spec["source"]], sources["bench"], "a source under sources.bench"
        )
        yield from _unknown(f"tables.{table}.methods", spec["methods"], config["methods"], "a key of methods")
        yield from _unknown(f"tables.{table}.protocols", spec["protocols"], config["protocols"], "a key of protocols")
        known = ["none", *config["anchorings"]]
        reference = reference_anchoring(config)
        if "none" in spec["anchorings"] and len(set(spec["anchorings"]) - {"none", reference}):
            yield (
                f"tables.{table}.anchorings: runs without anchors are compared on the features that "
                f"reference_anchoring ({reference}) leaves over; set it to the anchoring that stands beside none"
            )
        yield from _unknown(f"tables.{table}.anchorings", spec["anchorings"], known, "none or a key of anchorings")
    if "figure6" in config["figures"]:
        spec = config["figures"]["figure6"]
        yield from _unknown("figures.figure6.source", [spec["source"]], names, "a source")
        yield from _unknown("figures.figure6.protocol", [spec["protocol"]], config["protocols"], "a key of protocols")
        for side in ("without", "with"):
            yield from _unknown(f"figures.figure6.{side}", [spec[side]], config["methods"], "a key of methods")
    if "figure8" in config["figures"]:
        source = config["figures"]["figure8"]["source"]
        benches = [name for name, bench in sources["bench"].items() if bench["n_p"] == 3]
        yield from _unknown("figures.figure8.source", [source], benches, "a source under sources.bench with n_p = 3")
    yield from _inconsistent_runs(config)


def _unknown(path: str, used: Iterable[str], known: Iterable[str], expected: str) -> Iterator[str]:
    known = list(known)
    for name in used:
        if name not in known:
            choices = f" ({', '.join(known)})" if known else ", of which there is none"
            yield f"{path}: {name} is not {expected}{choices}"


def _has_target(source: Mapping[str, Any]) -> bool:
    """Return whether the stores of a source, a bench or a language model, have a second representation."""
    return any(source.get(key) is not None for key in ("n_r", "layers")) or source.get("site") == "mlp"


def _inconsistent_runs(config: Mapping[str, Any]) -> Iterator[str]:
    """Check every run that a table or figure asks for, each combination once."""
    cells = [cell for table in config["tables"] for cell in table_cells(config, table)]
    if "figure6" in config["figures"]:
        cells += [cell for side in ("without", "with") for cell in figure6_cells(config, side)]
    names = [name for variants in config["sources"].values() for name in variants]
    seen = set()
    for cell in cells:
        combination = (cell.source, cell.method, cell.protocol, cell.anchoring)
        known = cell.source in names and cell.method in config["methods"] and cell.protocol in config["protocols"]
        if combination in seen or not known:
            continue
        seen.add(combination)
        path = f"methods.{cell.method} (with sources.{cell.source}.run and protocols.{cell.protocol})"
        source = config["sources"][source_kind(config, cell.source)][cell.source]
        settings = run_settings(config, cell.source, cell.method, cell.protocol)
        try:
            run = RunConfig.from_dict(settings)
        except ValueError as error:
            yield f"{path}: {error}"
            continue
        if run.model.pair != "sae" and not _has_target(source):
            key = f"bench.{cell.source}.n_r" if "n" in source else f"llama.{cell.source}.layers, or its site to mlp"
            yield f"{path}: pair {run.model.pair} needs a source with a target; set sources.{key}"
        if run.training.batch_size > source["train_samples"]:
            rows = source["train_samples"]
            yield f"{path}: batch_size {run.training.batch_size} exceeds the source's {rows} train_samples"
        anchoring = reference_anchoring(config) if cell.anchoring == "none" else cell.anchoring
        if anchoring in config["anchorings"] and "n" in source:
            n_anchors = config["anchorings"][anchoring]["n_anchors"]
            for limit, name in ((source["n"], f"features of {cell.source}"), (run.model.n_q, "latents")):
                if n_anchors > limit:
                    yield f"anchorings.{anchoring}.n_anchors: {n_anchors} anchors, but only {limit} {name}"
    for side, resamples in (("without", False), ("with", True)):
        spec = config["figures"].get("figure6", {})
        if (
            spec
            and spec[side] in config["methods"]
            and spec["source"] in names
            and spec["protocol"] in config["protocols"]
        ):
            settings = run_settings(config, spec["source"], spec[side], spec["protocol"])
            if (settings["resample_every"] is not None) != resamples:
                wanted = "set" if resamples else "null"
                yield f"figures.figure6.{side}: method {spec[side]} must have resample_every {wanted}"
