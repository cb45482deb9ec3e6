"""What a schema cannot say of a configuration: that names refer to something, and that settings go together.

Each problem is one line, led by the path of the key.
"""

from collections.abc import Iterator, Mapping
from typing import Any

from sdlcore.baselines.settings import PeerConfig
from sdlcore.run import RunConfig, check_division
from sdlcore.solvers.settings import SolverConfig
from sdlcore.study.configuration.anchorings import unknown, unknown_in_anchorings, unsound_anchors
from sdlcore.study.configuration.models.sources import Bench, Clip, File, Llama
from sdlcore.study.configuration.run_keys import (
    BENCH_TABLES,
    OWN,
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
)


def inconsistencies(config: Mapping[str, Any]) -> Iterator[str]:
    """Yield what is wrong with a configuration of the right shape before its sweeps are laid out: names, mostly."""
    sources = config["sources"]
    names = [name for variants in sources.values() for name in variants]
    yield from doubled_sources(config)
    for name, source in sources["file"].items():
        for key, problem in File.model_validate(source).inconsistencies():
            yield f"sources.file.{name}.{key}: {problem}"
    for name, source in sources["llama"].items():
        for key, problem in Llama.model_validate(source).inconsistencies():
            yield f"sources.llama.{name}.{key}: {problem}"
        if source["stream"] and source["shards"] > 1:
            yield f"sources.llama.{name}.stream: stores no rows, but shards is {source['shards']}; leave one out"
        if source["stream"] and config["processes"] > 1:
            yield f"sources.llama.{name}.stream: makes rows in one process, but processes is {config['processes']}"
    for protocol, spec in config["protocols"].items():
        known = config["methods"]
        yield from unknown(f"protocols.{protocol}.methods", spec["methods"], known, "a key of methods")
    if SETTINGS_TABLE in config["tables"]:
        source = config["tables"][SETTINGS_TABLE]["source"]
        path = f"tables.{SETTINGS_TABLE}.source"
        yield from unknown(path, [source], sources["bench"], "a source under sources.bench")
    for table, spec in run_tables(config).items():
        judged = [
            name for kind in sources.values() for name, s in kind.items() if name in sources["bench"] or is_labelled(s)
        ]
        if table.startswith(OWN):
            yield from unknown(f"tables.{table}.source", [spec["source"]], names, "a source")
        else:
            expected = "a bench or a source with class_means"
            yield from unknown(f"tables.{table}.source", [spec["source"]], judged, expected)
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
    for name, source in sources["clip"].items():
        for key, problem in Clip.model_validate(source).inconsistencies():
            yield f"sources.clip.{name}.{key}: {problem}"


def doubled_sources(config: Mapping[str, Any]) -> Iterator[str]:
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


def inconsistent_benches(benches: Mapping[str, Mapping[str, Any]]) -> Iterator[str]:
    for name, bench in benches.items():
        for key, problem in Bench.model_validate(bench).inconsistencies():
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
    rows = Clip.model_validate(source).images_taken[0] if kind == "clip" else source.get("train_samples")
    if rows is not None and batch_size > rows:
        yield f"{path}: batch_size {batch_size} exceeds the source's {rows} train_samples"


def _inconsistent_bench_table(config: Mapping[str, Any], table: str) -> Iterator[str]:
    """Check the names in a table of methods on benches; that of solvers has no need of true features."""
    spec = config.get(table)
    if spec is None:
        return
    yield from unknown(f"{table}.protocol", [spec["protocol"]], config["protocols"], "a key of protocols")
    benches, every = config["sources"]["bench"], [name for kind in config["sources"].values() for name in kind]
    known = (every, "a source") if table == "solvers" else (benches, "a source under sources.bench")
    for source, asked in spec["runs"].items():
        yield from unknown(f"{table}.runs", [source], *known)
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


def inconsistent_runs(config: Mapping[str, Any]) -> Iterator[str]:
    """Check every run that a table or figure asks for, each combination once; their names are right."""
    for table, spec in run_tables(config).items():
        if "none" in spec["anchorings"] and len(spec["anchorings"]) > 2:
            yield (
                f"tables.{table}.anchorings: runs without anchors are compared on the features that anchors do not give"
                f" away; expected one anchoring beside none, found {len(spec['anchorings']) - 1}"
            )
    seen = set()
    # those of figures 4 and 5 are judged by what they are shown for, and so need no anchors that divide the features
    judged = dict.fromkeys([*all_cells(config), *discovery_cells(config)])
    for cell in [*judged, *bench_figure_cells(config)]:
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
        if cell in judged and anchoring is not None:
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
