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

from sdlcore.activations.array_reference import inconsistencies
from sdlcore.bench.hierarchy import Hierarchy
from sdlcore.run import RunConfig

TOP_IMAGES = ("figure9", "figure10")
"""The figures that show images which activate latents most."""


# words for images and weights that the pipeline prepares itself, and how many images it takes unless told
FASHION_MNIST = "fashion_mnist"
TRAINED = "trained"
FASHION_MNIST_IMAGES = {"train_samples": (20000, 60000), "test_samples": (4000, 10000)}


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
    for part in ("tables", "figures"):
        filled[part] = {name: spec for name, spec in filled[part].items() if spec is not None}
    problems = list(dict.fromkeys(_inconsistencies(filled)))
    if problems:
        raise ConfigError(problems)
    return filled


def source_kind(config: Mapping[str, Any], source: str) -> str:
    """Return the kind (`bench`, `clip`, `llama`, `file`) of a source of a valid configuration."""
    return next(kind for kind, variants in config["sources"].items() if source in variants)


def is_labelled(source: Mapping[str, Any]) -> bool:
    """Tell whether the samples of a source (its settings) have classes, whose means are taken."""
    return source.get("class_means") is not None and source.get("labels", True) is not None


def clip_samples(source: Mapping[str, Any]) -> list[int | None]:
    """Return how many images a CLIP source trains and evaluates on; None for all that there are."""
    asked = [source[key] for key in FASHION_MNIST_IMAGES]
    if source["images"] != FASHION_MNIST:
        return asked
    return [
        default if number is None else number
        for number, (default, _) in zip(asked, FASHION_MNIST_IMAGES.values(), strict=True)
    ]


def reference_anchoring(config: Mapping[str, Any], source: str) -> str | None:
    """Return the anchoring whose anchors divide the features of a source's runs without anchors, or None.

    It is named by ``reference_anchoring``, or else the first that a table or figure asks for beside them. On a bench
    that none asks anything of, it is the first of all; other sources may have fewer classes than that has anchors.
    """
    asked = {name for spec in config["tables"].values() if spec["source"] == source for name in spec["anchorings"]}
    asked |= {config["figures"][name]["anchoring"] for name in TOP_IMAGES if _shows(config, name, source)}
    candidates = [name for name in config["anchorings"] if name in asked]
    if not candidates and source in config["sources"].get("bench", {}):
        candidates = list(config["anchorings"])
    named = config["reference_anchoring"]
    return named if named in candidates else next(iter(candidates), None)


def _shows(config: Mapping[str, Any], figure: str, source: str) -> bool:
    return figure in config["figures"] and config["figures"][figure]["source"] == source


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


def figure4_cells(config: Mapping[str, Any]) -> list[Cell]:
    """Return the runs that Figure 4 is chosen from."""
    spec = config["figures"]["figure4"]
    return [Cell(spec["source"], spec["method"], spec["protocol"], "none", seed) for seed in config["seeds"]]


def figure5_cells(config: Mapping[str, Any]) -> list[Cell]:
    """Return the runs of Figure 5, method by method."""
    spec = config["figures"]["figure5"]
    methods, seeds = spec["methods"], config["seeds"]
    return [Cell(spec["source"], method, spec["protocol"], "none", seed) for method in methods for seed in seeds]


def figure6_cells(config: Mapping[str, Any], side: str) -> list[Cell]:
    """Return the runs of one side, ``with`` or ``without``, of Figure 6."""
    spec = config["figures"]["figure6"]
    return [Cell(spec["source"], spec[side], spec["protocol"], "none", seed) for seed in config["seeds"]]


def top_images_cell(config: Mapping[str, Any], figure: str) -> Cell:
    """Return the run that Figure 9 or 10 shows, of the first seed."""
    spec = config["figures"][figure]
    return Cell(spec["source"], spec["method"], spec["protocol"], spec["anchoring"], config["seeds"][0])


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
    for name, source in sources["file"].items():
        for key, problem in inconsistencies(source):
            yield f"sources.file.{name}.{key}: {problem}"
    for name, source in sources["llama"].items():
        if source["layers"] is not None and source["site"] != "residual":
            yield f"sources.llama.{name}.layers: takes residual streams, but site is {source['site']}; leave one out"
        if source["stream"] and source["shards"] > 1:
            yield f"sources.llama.{name}.stream: stores no rows, but shards is {source['shards']}; leave one out"
    for protocol, spec in config["protocols"].items():
        known = config["methods"]
        yield from _unknown(f"protocols.{protocol}.methods", spec["methods"], known, "a key of methods")
    if config["reference_anchoring"] is not None:
        named = [config["reference_anchoring"]]
        yield from _unknown("reference_anchoring", named, config["anchorings"], "a key of anchorings")
    for table, spec in config["tables"].items():
        judged = [
            name for kind in sources.values() for name, s in kind.items() if name in sources["bench"] or is_labelled(s)
        ]
        yield from _unknown(f"tables.{table}.source", [spec["source"]], judged, "a bench or a source with class_means")
        yield from _unknown(f"tables.{table}.methods", spec["methods"], config["methods"], "a key of methods")
        yield from _unknown(f"tables.{table}.protocols", spec["protocols"], config["protocols"], "a key of protocols")
        known = ["none", *config["anchorings"]]
        reference = reference_anchoring(config, spec["source"])
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
    for figure in TOP_IMAGES:
        if figure in config["figures"]:
            yield from _inconsistent_top_images(config, figure)
    if "figure8" in config["figures"]:
        source = config["figures"]["figure8"]["source"]
        benches = [name for name, bench in sources["bench"].items() if bench["n_p"] == 3]
        yield from _unknown("figures.figure8.source", [source], benches, "a source under sources.bench with n_p = 3")
    yield from _inconsistent_hierarchies(sources["bench"])
    yield from _inconsistent_bench_figures(config)
    yield from _inconsistent_clips(sources["clip"])
    yield from _inconsistent_runs(config)


def _inconsistent_top_images(config: Mapping[str, Any], figure: str) -> Iterator[str]:
    spec = config["figures"][figure]
    clip = config["sources"].get("clip", {})
    yield from _unknown(f"figures.{figure}.source", [spec["source"]], clip, "a source under sources.clip")
    yield from _unknown(f"figures.{figure}.method", [spec["method"]], config["methods"], "a key of methods")
    yield from _unknown(f"figures.{figure}.protocol", [spec["protocol"]], config["protocols"], "a key of protocols")
    known = ["none", *config["anchorings"]]
    yield from _unknown(f"figures.{figure}.anchoring", [spec["anchoring"]], known, "none or a key of anchorings")
    if not config["anchorings"]:
        yield f"figures.{figure}: shows the classes that anchors are drawn from; set anchorings"


def _inconsistent_hierarchies(benches: Mapping[str, Mapping[str, Any]]) -> Iterator[str]:
    for name, bench in benches.items():
        size = Hierarchy(**bench["hierarchy"]).size if bench["hierarchy"] else 0
        if size > bench["n"]:
            yield f"sources.bench.{name}.hierarchy: {size} parents and children, but n is {bench['n']}; raise n"


def _inconsistent_bench_figures(config: Mapping[str, Any]) -> Iterator[str]:
    """Check what figures 4 and 5 ask for."""
    benches = config["sources"]["bench"]
    fit = {
        "figure4": ([name for name, bench in benches.items() if bench["n_p"] == 3], "with n_p = 3", figure4_cells),
        "figure5": ([name for name, bench in benches.items() if bench["hierarchy"]], "with hierarchy", figure5_cells),
    }
    for figure, (sources, what, cells) in fit.items():
        if figure not in config["figures"]:
            continue
        spec, path = config["figures"][figure], f"figures.{figure}"
        methods, key = ([spec["method"]], "method") if "method" in spec else (spec["methods"], "methods")
        yield from _unknown(f"{path}.source", [spec["source"]], sources, f"a source under sources.bench {what}")
        yield from _unknown(f"{path}.{key}", methods, config["methods"], "a key of methods")
        yield from _unknown(f"{path}.protocol", [spec["protocol"]], config["protocols"], "a key of protocols")
        if spec["source"] not in sources or spec["protocol"] not in config["protocols"]:
            continue
        for method in dict.fromkeys(cell.method for cell in cells(config) if cell.method in config["methods"]):
            settings = run_settings(config, spec["source"], method, spec["protocol"])
            if settings["pair"] != "sae":
                yield f"{path}.{key}: {method} is a {settings['pair']}, expected an autoencoder (pair: sae)"
            if settings["n_q"] < benches[spec["source"]]["n"]:
                few = f"{settings['n_q']} latents of {method} for {benches[spec['source']]['n']} features"
                yield f"{path}.{key}: {few}, expected as many or more; raise n_q"


def _unknown(path: str, used: Iterable[str], known: Iterable[str], expected: str) -> Iterator[str]:
    known = list(known)
    for name in used:
        if name not in known:
            choices = f" ({', '.join(known)})" if known else ", of which there is none"
            yield f"{path}: {name} is not {expected}{choices}"


def _inconsistent_clips(sources: Mapping[str, Mapping[str, Any]]) -> Iterator[str]:
    for name, source in sources.items():
        path = f"sources.clip.{name}"
        own = source["images"] != FASHION_MNIST
        if not own and source["test_images"] is not None:
            yield f"{path}.test_images: must be null, since {FASHION_MNIST} has its own"
        for key, (_, most) in FASHION_MNIST_IMAGES.items():
            if not own and (source[key] or 0) > most:
                yield f"{path}.{key}: {source[key]} images, but {FASHION_MNIST} has {most}"
        if own and source["test_images"] is None:
            if source["pretrained"] == TRAINED:
                yield f"{path}.test_images: missing; a CLIP that is trained here is judged on a folder of its own"
            if source["test_samples"] is None:
                yield f"{path}.test_samples: missing; without test_images, it says how many images are held out"
        training, rows = source["training"], clip_samples(source)[0]
        if source["pretrained"] == TRAINED and rows is not None and training["batch_size"] > rows:
            yield f"{path}.training.batch_size: {training['batch_size']} exceeds the source's {rows} train_samples"


def _has_target(kind: str, source: Mapping[str, Any]) -> bool:
    """Return whether the stores of a source have a second representation."""
    if kind == "llama":
        return source["layers"] is not None or source["site"] == "mlp"
    return source.get({"bench": "n_r", "file": "target"}.get(kind, "")) is not None


_TARGET = {
    "bench": "set sources.bench.{name}.n_r",
    "clip": "embeddings of images have none",
    "file": "set sources.file.{name}.target",
    "llama": "set sources.llama.{name}.layers, or its site to mlp",
}


def _inconsistent_runs(config: Mapping[str, Any]) -> Iterator[str]:
    """Check every run that a table or figure asks for, each combination once."""
    cells = [cell for table in config["tables"] for cell in table_cells(config, table)]
    if "figure6" in config["figures"]:
        cells += [cell for side in ("without", "with") for cell in figure6_cells(config, side)]
    cells += [top_images_cell(config, figure) for figure in TOP_IMAGES if figure in config["figures"]]
    # these are judged by what they are shown for, and so need no anchors that divide the features
    judged = figure4_cells(config) if "figure4" in config["figures"] else []
    judged += figure5_cells(config) if "figure5" in config["figures"] else []
    names = [name for variants in config["sources"].values() for name in variants]
    seen = set()
    for cell in [*cells, *judged]:
        combination = (cell.source, cell.method, cell.protocol, cell.anchoring)
        known = cell.source in names and cell.method in config["methods"] and cell.protocol in config["protocols"]
        if combination in seen or not known:
            continue
        seen.add(combination)
        path = f"methods.{cell.method} (with sources.{cell.source}.run and protocols.{cell.protocol})"
        kind = source_kind(config, cell.source)
        source = config["sources"][kind][cell.source]
        settings = run_settings(config, cell.source, cell.method, cell.protocol)
        try:
            run = RunConfig.from_dict(settings)
        except ValueError as error:
            yield f"{path}: {error}"
            continue
        if run.model.pair != "sae" and not _has_target(kind, source):
            advice = _TARGET[kind].format(name=cell.source)
            yield f"{path}: pair {run.model.pair} needs a source with a target; {advice}"
        # how many rows a file has is known only when it is read
        rows = clip_samples(source)[0] if kind == "clip" else source.get("train_samples")
        if rows is not None and run.training.batch_size > rows:
            yield f"{path}: batch_size {run.training.batch_size} exceeds the source's {rows} train_samples"
        anchoring = reference_anchoring(config, cell.source) if cell.anchoring == "none" else cell.anchoring
        if cell in cells and anchoring in config["anchorings"] and "n" in source:
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
