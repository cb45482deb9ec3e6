# Tables over runs, and the verdicts on the paper's numbers.
from sdlcore.study.configuration.run_keys import (
    OWN,
    SETTINGS_TABLE,
    Cell,
    bench_table_cells,
    discovery_cells,
    frontier_cell,
    frontier_points,
    frontier_seeds,
    run_tables,
    source_settings,
    table_cells,
    table_points,
    table_seeds,
)
from sdlcore.study.verdicts.scale import SWEPT


def paper_table(wildcards):
    """The paper's numbers, which stand beside; it has no table of one's own source."""
    return [] if wildcards.table.startswith(OWN) else in_checkout(f"resources/paper/{wildcards.table}.csv")


def table_runs(table):
    return [run_directory(cell) for cell in table_cells(config, table)]


# tables that are made of runs, and those of them that vary something, whose figures stand beside them
RUN_TABLES = run_tables(config)
SWEEPS = [table for table, asked in RUN_TABLES.items() if asked["sweep"] is not None]


def table_files(table):
    """Return a table's files and those of its runs, which Snakemake would not miss while the table is there."""
    names = [f"{table}.csv", f"{table}.md", f"{table}.tex"]
    if table == SETTINGS_TABLE:
        return [f"{RESULTS}/tables/{name}" for name in names]
    names += [f"{table}_effects.csv", f"{table}_runs.csv"]
    files = [f"{RESULTS}/tables/{name}" for name in names] + run_files(table_runs(table))
    if table in SWEEPS:
        files += [f"{RESULTS}/figures/{table}.{suffix}" for suffix in ("png", "pdf")]
    for source in dict.fromkeys(point.source for point in table_points(config, table)):
        if source in LABELLED:
            files.append(f"{RESULTS}/tables/{source}_classes.csv")
        if source in config["sources"]["clip"]:
            files += clip_files(source)
    if table == "table1":
        files += FEATURE_FILES
    return files


def bench_table_runs(table):
    return [run_directory(cell) for cell in bench_table_cells(config, table)]


def bench_table_files(table):
    """Return a table of methods on benches and the files of its runs, which Snakemake would not miss otherwise."""
    if not config[table]:
        return []
    return [f"{RESULTS}/tables/{table}.{suffix}" for suffix in ("csv", "md")] + run_files(bench_table_runs(table))


def bench_facts(sources):
    """What tables of solvers say of sources; others than benches have no n and sparsity."""
    keys = ("n", "sparsity", "train_samples")
    return {source: {key: source_settings(config, source).get(key) for key in keys} for source in sources}


def frontier_runs():
    """The frontier's runs, point by point: a run stands at every point that it belongs to."""
    return [
        {
            "parameter": point.parameter,
            "value": point.value,
            "folder": run_directory(frontier_cell(config, point, method, seed)),
        }
        for point in frontier_points(config)
        for method in point.methods
        for seed in frontier_seeds(config)
    ]


def frontier_files():
    """Return the frontier's figure and table and the files of its runs, which Snakemake would not miss otherwise."""
    if not config["frontier"]:
        return []
    files = [f"{RESULTS}/figures/frontier.{suffix}" for suffix in ("png", "pdf")]
    return [*files, f"{RESULTS}/tables/frontier.csv", *run_files(run["folder"] for run in frontier_runs())]


def discovery_runs():
    return [run_directory(cell) for cell in discovery_cells(config)]


def discovery_judges():
    """What the table of discovered anchors judges the runs of each source and seed by."""
    judges = {}
    for cell in discovery_cells(config):
        judge = judges.setdefault(
            (cell.source, cell.seed),
            {
                "source": cell.source,
                "seed": cell.seed,
                "references": references_file(cell) or None,
                "anchors": {},
                "all_stable": [],
            },
        )
        if cell.anchoring != "none":
            judge["anchors"][cell.anchoring] = anchors_file(cell.source, cell.anchoring, cell.seed)
            if config["anchorings"][cell.anchoring]["n_anchors"] is None:
                judge["all_stable"] = sorted({*judge["all_stable"], cell.anchoring})
    return list(judges.values())


def discovery_judge_files():
    found = [[judge["references"], *judge["anchors"].values()] for judge in discovery_judges()]
    return list(dict.fromkeys(file for files in found for file in files if file))


def table_configuration(table):
    """Return the part of the configuration that a table hangs on, so that other changes do not remake it."""
    asked = config["tables"][table]
    points = table_points(config, table)
    used = {asked["source"], *(point.source for point in points)}
    methods = {*asked["methods"], *(method for point in points for method in point.methods.values())}
    return {
        "name": config["name"],
        "seeds": config["seeds"],
        "tables": {table: asked},
        "sources": {
            kind: {name: settings for name, settings in sources.items() if name in used}
            for kind, sources in config["sources"].items()
            if used & sources.keys()
        },
        "methods": {name: config["methods"][name] for name in methods},
        "protocols": {
            name: {
                "run": protocol["run"],
                "methods": {method: s for method, s in protocol["methods"].items() if method in methods},
            }
            for name, protocol in config["protocols"].items()
            if name in asked["protocols"]
        },
        "anchorings": {name: config["anchorings"][name] for name in asked["anchorings"] if name != "none"},
    }


# the tables whose numbers get verdicts, and those of them that are run here
JUDGED = list(SWEPT)
JUDGED_HERE = [table for table in JUDGED if table in config["tables"]]
VERDICT_FILES = [f"{RESULTS}/tables/{name}.{suffix}" for name in ("verdicts", "claims") for suffix in ("csv", "md")]
ANY_VERDICTS = bool(JUDGED_HERE) or "figure6" in config["figures"]


def verdict_configuration():
    """Return the part of the configuration that says at what scale runs are."""
    parts = {name: config[name] for name in ("sources", "methods", "protocols", "anchorings")}
    return parts | {"figures": {name: spec for name, spec in config["figures"].items() if name == "figure6"}}


def feature_pairs():
    """The dictionaries without and with anchors that Table 1 compares feature by feature: of its first seed and protocol."""
    asked = RUN_TABLES.get("table1")
    if asked is None or not is_bench(asked["source"]) or "none" not in asked["anchorings"]:
        return []
    anchored = next((name for name in asked["anchorings"] if name != "none"), None)
    if anchored is None:
        return []
    source, protocol, seed = asked["source"], asked["protocols"][0], table_seeds(config, "table1")[0]
    pairs = []
    for method in asked["methods"]:
        cell = Cell(source, method, protocol, "none", seed)
        pairs.append(
            {
                "method": method,
                "model": f"{run_directory(cell)}/model.safetensors",
                "anchored": f"{run_directory(Cell(source, method, protocol, anchored, seed))}/model.safetensors",
                "references": references_file(cell),
                "anchors": anchors_file(source, anchored, seed),
            }
        )
    return pairs


FEATURE_PAIRS = feature_pairs()
FEATURE_NAMES = ("figures/features.png", "figures/features.pdf", "tables/features.csv")
FEATURE_FILES = [f"{RESULTS}/{name}" for name in FEATURE_NAMES if FEATURE_PAIRS]
