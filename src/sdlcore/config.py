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
import yaml

from sdlcore.activations.array_reference import inconsistencies
from sdlcore.anchorings import unknown, unknown_in_anchorings, unsound_anchors
from sdlcore.bench.consistency import inconsistencies as bench_inconsistencies
from sdlcore.cells import (
    BENCH_TABLES,
    SETTINGS_TABLE,
    TOP_IMAGES,
    Cell,
    all_cells,
    bench_figure_cells,
    discovery_cells,
    figure4_cells,
    figure5_cells,
    is_labelled,
    is_peer,
    is_solver,
    reference_anchoring,
    run_settings,
    run_tables,
    source_kind,
    table_sources,
)
from sdlcore.peers.settings import PeerConfig
from sdlcore.run import RunConfig, check_division
from sdlcore.solvers.settings import SolverConfig
from sdlcore.variants import (
    misnamed_variants,
    missed_values,
    unsound_starts,
    unsound_sweeps,
    with_sweeps,
    without_like,
)

# words for images and weights that the pipeline prepares itself, and how many images it takes unless told
FASHION_MNIST = "fashion_mnist"
TRAINED = "trained"
FASHION_MNIST_IMAGES = {"train_samples": (20000, 60000), "test_samples": (4000, 10000)}


class ConfigError(ValueError):
    """A configuration was refused; the message has one line for every problem, led by the path of the key."""

    def __init__(self, problems: Iterable[str]) -> None:
        # keys may hold line breaks
        lines = ["  " + problem.replace("\n", "\\n") for problem in problems]
        super().__init__("\n".join(["configuration refused:", *lines]))


def load_yaml(path: str | Path) -> Any:
    """Read one YAML file, safely."""
    try:
        return yaml.safe_load(Path(path).read_text())
    except OSError as error:
        raise ConfigError([f"{path}: cannot be read ({error.strerror})"]) from error
    except yaml.YAMLError as error:
        raise ConfigError([f"{path}: not YAML ({' '.join(str(error).split())})"]) from error


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
    _refuse(_misshapen(config, schema))
    _refuse(misnamed_variants(config))
    filled = _with_defaults(without_like(config), schema, schema)
    for part in ("tables", "figures"):
        filled[part] = {name: spec for name, spec in filled[part].items() if spec is not None}
    if filled["discovery"] is not None:
        runs = {source: asked for source, asked in filled["discovery"]["runs"].items() if asked is not None}
        filled["discovery"]["runs"] = runs
    _refuse(_inconsistencies(filled))
    _refuse(unsound_starts(filled))
    _refuse(unsound_sweeps(filled))
    filled = with_sweeps(filled)
    _refuse(_misshapen(filled, schema))
    _refuse(_inconsistent_benches(filled["sources"]["bench"]))
    _refuse([*_doubled_sources(filled), *missed_values(filled), *_inconsistent_runs(filled)])
    return filled


def _refuse(problems: Iterable[str]) -> None:
    found = list(dict.fromkeys(problems))
    if found:
        raise ConfigError(found)


def _misshapen(config: Mapping[str, Any], schema: Mapping[str, Any]) -> list[str]:
    problems = sorted({line for error in _Validator(dict(schema)).iter_errors(config) for line in _explain(error)})
    return [*problems, *_not_finite(config)]


def clip_samples(source: Mapping[str, Any]) -> list[int | None]:
    """Return how many images a CLIP source trains and evaluates on; None for all that there are."""
    asked = [source[key] for key in FASHION_MNIST_IMAGES]
    if source["images"] != FASHION_MNIST:
        return asked
    return [
        default if number is None else number
        for number, (default, _) in zip(asked, FASHION_MNIST_IMAGES.values(), strict=True)
    ]


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
            # a variant has what is required from what it is like
            if key not in error.instance and "like" not in error.instance:
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
    yield from _doubled_sources(config)
    for name, source in sources["file"].items():
        for key, problem in inconsistencies(source):
            yield f"sources.file.{name}.{key}: {problem}"
    for name, source in sources["llama"].items():
        if source["layers"] is not None and source["site"] != "residual":
            yield f"sources.llama.{name}.layers: takes residual streams, but site is {source['site']}; leave one out"
        if source["stream"] and source["shards"] > 1:
            yield f"sources.llama.{name}.stream: stores no rows, but shards is {source['shards']}; leave one out"
        if source["stream"] and config["processes"] > 1:
            yield f"sources.llama.{name}.stream: makes rows in one process, but processes is {config['processes']}"
    for protocol, spec in config["protocols"].items():
        known = config["methods"]
        yield from unknown(f"protocols.{protocol}.methods", spec["methods"], known, "a key of methods")
    if config["reference_anchoring"] is not None:
        named = [config["reference_anchoring"]]
        yield from unknown("reference_anchoring", named, config["anchorings"], "a key of anchorings")
    if SETTINGS_TABLE in config["tables"]:
        source = config["tables"][SETTINGS_TABLE]["source"]
        path = f"tables.{SETTINGS_TABLE}.source"
        yield from unknown(path, [source], sources["bench"], "a source under sources.bench")
    for table, spec in run_tables(config).items():
        judged = [
            name for kind in sources.values() for name, s in kind.items() if name in sources["bench"] or is_labelled(s)
        ]
        yield from unknown(f"tables.{table}.source", [spec["source"]], judged, "a bench or a source with class_means")
        yield from unknown(f"tables.{table}.methods", spec["methods"], config["methods"], "a key of methods")
        yield from unknown(f"tables.{table}.protocols", spec["protocols"], config["protocols"], "a key of protocols")
        known = ["none", *config["anchorings"]]
        yield from unknown(f"tables.{table}.anchorings", spec["anchorings"], known, "none or a key of anchorings")
        yield from unknown(f"tables.{table}.seeds", spec["seeds"] or [], config["seeds"], "one of seeds")
    if "figure6" in config["figures"]:
        spec = config["figures"]["figure6"]
        yield from unknown("figures.figure6.source", [spec["source"]], names, "a source")
        yield from unknown("figures.figure6.protocol", [spec["protocol"]], config["protocols"], "a key of protocols")
        for side in ("without", "with"):
            yield from unknown(f"figures.figure6.{side}", [spec[side]], config["methods"], "a key of methods")
    for figure in TOP_IMAGES:
        if figure in config["figures"]:
            yield from _inconsistent_top_images(config, figure)
    if "figure8" in config["figures"]:
        source = config["figures"]["figure8"]["source"]
        benches = [name for name, bench in sources["bench"].items() if bench["n_p"] == 3]
        yield from unknown("figures.figure8.source", [source], benches, "a source under sources.bench with n_p = 3")
    yield from _inconsistent_bench_figures(config)
    yield from _inconsistent_convergence(config)
    for table in BENCH_TABLES:
        yield from _inconsistent_bench_table(config, table)
    yield from _inconsistent_frontier(config)
    yield from unknown_in_anchorings(config)
    yield from _inconsistent_clips(sources["clip"])


def _doubled_sources(config: Mapping[str, Any]) -> Iterator[str]:
    names = [name for variants in config["sources"].values() for name in variants]
    for name in sorted({name for name in names if names.count(name) > 1}):
        yield f"sources: {name} stands under two kinds; names of sources are unique"


def _inconsistent_top_images(config: Mapping[str, Any], figure: str) -> Iterator[str]:
    spec = config["figures"][figure]
    clip = config["sources"].get("clip", {})
    yield from unknown(f"figures.{figure}.source", [spec["source"]], clip, "a source under sources.clip")
    yield from unknown(f"figures.{figure}.method", [spec["method"]], config["methods"], "a key of methods")
    yield from unknown(f"figures.{figure}.protocol", [spec["protocol"]], config["protocols"], "a key of protocols")
    given = [name for name, asked in config["anchorings"].items() if asked.get("discover") is None]
    expected = "none or an anchoring that is drawn from classes"
    yield from unknown(f"figures.{figure}.anchoring", [spec["anchoring"]], ["none", *given], expected)
    if not config["anchorings"]:
        yield f"figures.{figure}: shows the classes that anchors are drawn from; set anchorings"


def _inconsistent_benches(benches: Mapping[str, Mapping[str, Any]]) -> Iterator[str]:
    for name, bench in benches.items():
        for key, problem in bench_inconsistencies(bench):
            yield f"sources.bench.{name}.{key}: {problem}"


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
        yield from unknown(f"{path}.source", [spec["source"]], sources, f"a source under sources.bench {what}")
        yield from unknown(f"{path}.{key}", methods, config["methods"], "a key of methods")
        yield from unknown(f"{path}.protocol", [spec["protocol"]], config["protocols"], "a key of protocols")
        if spec["source"] not in sources or spec["protocol"] not in config["protocols"]:
            continue
        for method in dict.fromkeys(cell.method for cell in cells(config) if cell.method in config["methods"]):
            if is_solver(config, method):
                yield f"{path}.{key}: {method} is a solver, expected a method that is trained by gradient descent"
                continue
            settings = run_settings(config, spec["source"], method, spec["protocol"])
            if settings["pair"] != "sae":
                yield f"{path}.{key}: {method} is a {settings['pair']}, expected an autoencoder (pair: sae)"
            if settings["n_q"] < benches[spec["source"]]["n"]:
                few = f"{settings['n_q']} latents of {method} for {benches[spec['source']]['n']} features"
                yield f"{path}.{key}: {few}, expected as many or more; raise n_q"


def _inconsistent_convergence(config: Mapping[str, Any]) -> Iterator[str]:
    """Check the names in the figure of convergence."""
    spec = config["figures"].get("convergence")
    if spec is None:
        return
    path = "figures.convergence"
    yield from unknown(f"{path}.source", [spec["source"]], config["sources"]["bench"], "a source under sources.bench")
    yield from unknown(f"{path}.methods", spec["methods"], config["methods"], "a key of methods")
    yield from unknown(f"{path}.protocols", spec["protocols"], config["protocols"], "a key of protocols")


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


def _inconsistent_solver(config: Mapping[str, Any], cell: Cell) -> Iterator[str]:
    """Check one run of a solver."""
    path = f"methods.{cell.method} (with sources.{cell.source})"
    kind = source_kind(config, cell.source)
    source = config["sources"][kind][cell.source]
    try:
        solver = SolverConfig.from_dict(run_settings(config, cell.source, cell.method, cell.protocol))
    except ValueError as error:
        yield f"{path}: {error}"
        return
    yield from _beyond_stores(config, cell, path, "a solver")
    if solver.pair != "sae" and not _has_target(kind, source):
        yield f"{path}: pair {solver.pair} needs a source with a target; {_TARGET[kind].format(name=cell.source)}"


def _inconsistent_peer(config: Mapping[str, Any], cell: Cell) -> Iterator[str]:
    """Check one run of another library."""
    path = f"methods.{cell.method} (with sources.{cell.source}.run and protocols.{cell.protocol})"
    try:
        peer = PeerConfig.from_dict(run_settings(config, cell.source, cell.method, cell.protocol))
    except ValueError as error:
        yield f"{path}: {error}"
        return
    yield from _beyond_stores(config, cell, path, "another library")
    yield from _batch_beyond_rows(config, cell, path, peer.batch_size)


def _beyond_stores(config: Mapping[str, Any], cell: Cell, path: str, what: str) -> Iterator[str]:
    """Check that a run asks for no more than a store."""
    kind = source_kind(config, cell.source)
    if cell.anchoring != "none":
        yield f"{path}: {what} takes no anchors; ask for it where anchorings is [none]"
    if config["sources"][kind][cell.source].get("stream"):
        yield f"{path}: {what} reads stores; set sources.{kind}.{cell.source}.stream to false"


def _batch_beyond_rows(config: Mapping[str, Any], cell: Cell, path: str, batch_size: int) -> Iterator[str]:
    kind = source_kind(config, cell.source)
    source = config["sources"][kind][cell.source]
    # how many rows a file has is known only when it is read
    rows = clip_samples(source)[0] if kind == "clip" else source.get("train_samples")
    if rows is not None and batch_size > rows:
        yield f"{path}: batch_size {batch_size} exceeds the source's {rows} train_samples"


def _inconsistent_bench_table(config: Mapping[str, Any], table: str) -> Iterator[str]:
    """Check the names in a table of methods on benches."""
    spec = config.get(table)
    if spec is None:
        return
    yield from unknown(f"{table}.protocol", [spec["protocol"]], config["protocols"], "a key of protocols")
    benches = config["sources"]["bench"]
    for source, asked in spec["runs"].items():
        yield from unknown(f"{table}.runs", [source], benches, "a source under sources.bench")
        yield from unknown(f"{table}.runs.{source}.methods", asked["methods"], config["methods"], "a key of methods")


def _inconsistent_frontier(config: Mapping[str, Any]) -> Iterator[str]:
    """Check the names in the frontier, and that its parameters are numbers of its bench."""
    spec = config.get("frontier")
    if spec is None:
        return
    benches = config["sources"]["bench"]
    yield from unknown("frontier.source", [spec["source"]], benches, "a source under sources.bench")
    yield from unknown("frontier.protocol", [spec["protocol"]], config["protocols"], "a key of protocols")
    yield from unknown("frontier.methods", spec["methods"], config["methods"], "a key of methods")
    bench = benches.get(spec["source"], {})
    numbers = [key for key, value in bench.items() if isinstance(value, int | float) and not isinstance(value, bool)]
    for parameter, panel in spec["panels"].items():
        path = f"frontier.panels.{parameter}"
        yield from unknown(f"{path}.methods", panel["methods"] or [], config["methods"], "a key of methods")
        if bench:
            yield from unknown("frontier.panels", [parameter], numbers, f"a number of sources.bench.{spec['source']}")


def _inconsistent_runs(config: Mapping[str, Any]) -> Iterator[str]:
    """Check every run that a table or figure asks for, each combination once; their names are right."""
    for table, spec in run_tables(config).items():
        references = {reference_anchoring(config, source) for source in table_sources(config, spec)}
        for reference in references:
            if "none" in spec["anchorings"] and len(set(spec["anchorings"]) - {"none", reference}):
                yield (
                    f"tables.{table}.anchorings: runs without anchors are compared on the features that "
                    f"reference_anchoring ({reference}) leaves over; set it to the anchoring that stands beside none"
                )
    seen = set()
    # those of figures 4 and 5 are judged by what they are shown for, and so need no anchors that divide the features
    cells = [*all_cells(config), *discovery_cells(config)]
    for cell in [*cells, *bench_figure_cells(config)]:
        combination = (cell.source, cell.method, cell.protocol, cell.anchoring)
        if combination in seen:
            continue
        seen.add(combination)
        path = f"methods.{cell.method} (with sources.{cell.source}.run and protocols.{cell.protocol})"
        kind = source_kind(config, cell.source)
        source = config["sources"][kind][cell.source]
        settings = run_settings(config, cell.source, cell.method, cell.protocol)
        if is_solver(config, cell.method):
            yield from _inconsistent_solver(config, cell)
            continue
        if is_peer(config, cell.method):
            yield from _inconsistent_peer(config, cell)
            continue
        try:
            run = RunConfig.from_dict(settings)
        except ValueError as error:
            yield f"{path}: {error}"
            continue
        if problem := check_division(run, config["processes"], config["split"]):
            yield f"{path}: {problem}"
        if run.model.pair != "sae" and not _has_target(kind, source):
            advice = _TARGET[kind].format(name=cell.source)
            yield f"{path}: pair {run.model.pair} needs a source with a target; {advice}"
        yield from _batch_beyond_rows(config, cell, path, run.training.batch_size)
        anchoring = reference_anchoring(config, cell.source) if cell.anchoring == "none" else cell.anchoring
        if cell in cells and anchoring is not None:
            yield from unsound_anchors(config, cell, anchoring, run.model, _has_target(kind, source))
    spec = config["figures"].get("figure6", {})
    for side, resamples in (("without", False), ("with", True)) if spec else ():
        if is_solver(config, spec[side]) or is_peer(config, spec[side]):
            kind = "a solver" if is_solver(config, spec[side]) else "another library's"
            yield f"figures.figure6.{side}: {spec[side]} is {kind}, expected a method that is trained here"
            continue
        settings = run_settings(config, spec["source"], spec[side], spec["protocol"])
        if (settings["resample_every"] is not None) != resamples:
            wanted = "set" if resamples else "null"
            yield f"figures.figure6.{side}: method {spec[side]} must have resample_every {wanted}"
