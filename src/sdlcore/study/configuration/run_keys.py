"""The runs that a valid configuration asks for, and the settings that each is trained with."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from sdlcore.baselines.settings import SHARED, PeerConfig
from sdlcore.run import RunConfig
from sdlcore.solvers.settings import SolverConfig

TOP_IMAGES = ("figure9", "figure10")
"""The figures that show images which activate latents most."""
SETTINGS_TABLE = "table3"
"""The table that shows settings of a bench; all others are made of runs."""
BENCH_TABLES = ("solvers", "harder", "encoders")
"""Tables that have no counterpart in the paper, of methods on benches (solvers: any source) as asked for."""


OWN = "own_"
"""What the names of tables begin with that sources of one's own get; the paper has none of them."""


@dataclass(frozen=True)
class Cell:
    """One run: a model trained once."""

    source: str
    method: str
    protocol: str
    anchoring: str
    seed: int


class Point(NamedTuple):
    """One value of a table's sweep, and what stands there in the place of the table's source and methods."""

    value: float | None
    """The swept parameter; None where a table sweeps none."""
    paper_value: float | None
    """The value of the paper's table whose numbers stand beside."""
    source: str
    """Where the runs' activations come from."""
    methods: dict[str, str]
    """Each of the table's methods -> that of the runs."""


class FrontierPoint(NamedTuple):
    """One value of a panel of the frontier, and what is run there."""

    parameter: str
    value: float
    source: str
    """The bench with that value."""
    methods: list[str]


def source_kind(config: Mapping[str, Any], source: str) -> str:
    """Return the kind (`bench`, `clip`, `llama`, `file`) of a source of a valid configuration."""
    return next(kind for kind, variants in config["sources"].items() if source in variants)


def source_settings(config: Mapping[str, Any], source: str) -> dict[str, Any]:
    """Return the settings of a source of a valid configuration."""
    return config["sources"][source_kind(config, source)][source]


def is_labelled(source: Mapping[str, Any]) -> bool:
    """Tell whether the samples of a source (its settings) have classes, whose means are taken."""
    return source.get("class_means") is not None and source.get("labels", True) is not None


def is_solver(config: Mapping[str, Any], method: str) -> bool:
    """Tell whether a method solves for its dictionary instead of training it by gradient descent."""
    return "solver" in config["methods"][method]


def is_peer(config: Mapping[str, Any], method: str) -> bool:
    """Tell whether another library trains a method."""
    return "peer" in config["methods"][method]


def run_settings(config: Mapping[str, Any], source: str, method: str, protocol: str) -> dict[str, Any]:
    """Return the settings of a run.

    Its protocol's, then its source's, then its method's, then its protocol's for that method, over the defaults. A
    solver has settings of its own, and takes none from protocols and sources but what a protocol has for it; another
    library takes from them what batches it sees (`sdlcore.baselines.settings.SHARED`).
    """
    own = config["methods"][method] | config["protocols"][protocol]["methods"].get(method, {})
    if is_solver(config, method):
        return SolverConfig().to_dict() | _without_start(own)
    around = config["protocols"][protocol]["run"] | source_settings(config, source)["run"]
    if is_peer(config, method):
        return PeerConfig().to_dict() | {key: value for key, value in around.items() if key in SHARED} | own
    return RunConfig().to_dict() | _without_start(around | own)


def warm_start(config: Mapping[str, Any], method: str) -> str | None:
    """Return the method whose dictionary a method starts from, or None."""
    return config["methods"][method].get("warm_start")


def start_cell(config: Mapping[str, Any], cell: Cell) -> Cell | None:
    """Return the run that a run starts from, or None. It has no anchors, and otherwise the same name."""
    method = warm_start(config, cell.method)
    return None if method is None else Cell(cell.source, method, cell.protocol, "none", cell.seed)


def _without_start(layer: Mapping[str, Any]) -> dict[str, Any]:
    """Leave out what is no setting of a run, but says which other run it hangs on."""
    return {key: value for key, value in layer.items() if key != "warm_start"}


def run_tables(config: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Return the tables that are made of runs."""
    return {name: spec for name, spec in config.get("tables", {}).items() if name != SETTINGS_TABLE}


def variant_name(name: str, parameter: str, value: float) -> str:
    """Return what the variant of a source or method with another value of one parameter is called."""
    return f"{name}_{parameter}_{re.sub('[^a-z0-9]+', '_', str(value))}"


def table_points(config: Mapping[str, Any], table: str) -> list[Point]:
    """Return the points of a table's sweep, in its order; one without a value where it sweeps nothing.

    A parameter of the source makes variants of the source, one of runs makes variants of the methods. Where one has the
    value already it stands for itself, so that its runs are those of other tables.
    """
    spec = config["tables"][table]
    source, methods, sweep = spec["source"], spec["methods"], spec.get("sweep")
    if sweep is None:
        return [Point(None, None, source, {method: method for method in methods})]
    parameter, values = sweep["parameter"], sweep["values"]
    sources = table_sources(config, spec)
    points = []
    for value, paper_value, at in zip(values, sweep.get("paper") or values, sources, strict=True):
        swept = {method: method for method in methods}
        if not sweeps_source(config, spec):
            for method in methods:
                runs = [run_settings(config, source, method, protocol) for protocol in spec["protocols"]]
                if any(settings[parameter] != value for settings in runs):
                    swept[method] = variant_name(method, parameter, value)
        points.append(Point(value, paper_value, at, swept))
    return points


def sweeps_source(config: Mapping[str, Any], spec: Mapping[str, Any]) -> bool:
    """Tell whether the parameter that a table (its settings) sweeps is one of its source."""
    return spec["sweep"]["parameter"] in source_settings(config, spec["source"])


def table_sources(config: Mapping[str, Any], spec: Mapping[str, Any]) -> list[str]:
    """Return the source of each point of a table (its settings)."""
    source, sweep = spec["source"], spec.get("sweep")
    if sweep is None:
        return [source]
    if not sweeps_source(config, spec):
        return [source] * len(sweep["values"])
    parameter = sweep["parameter"]
    own = source_settings(config, source)[parameter]
    return [source if value == own else variant_name(source, parameter, value) for value in sweep["values"]]


def table_seeds(config: Mapping[str, Any], table: str) -> list[int]:
    """Return the seeds of a table's runs: its own, or else the configuration's."""
    return config["tables"][table].get("seeds") or config["seeds"]


def table_cells(config: Mapping[str, Any], table: str) -> list[Cell]:
    """Return the runs of a table."""
    spec = config["tables"][table]
    return [
        Cell(point.source, point.methods[method], protocol, anchoring, seed)
        for point in table_points(config, table)
        for method in spec["methods"]
        for protocol in spec["protocols"]
        for anchoring in spec["anchorings"]
        for seed in table_seeds(config, table)
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


def bench_figure_cells(config: Mapping[str, Any]) -> list[Cell]:
    """Return the runs of figures of a bench that ask for no metrics."""
    asked = {"figure4": figure4_cells, "figure5": figure5_cells, "convergence": convergence_cells}
    return [cell for figure, cells in asked.items() if figure in config["figures"] for cell in cells(config)]


def convergence_cells(config: Mapping[str, Any]) -> list[Cell]:
    """Return the runs of the figure of convergence, each once: a solver takes nothing from protocols but the first."""
    spec = config["figures"]["convergence"]
    cells = [
        Cell(spec["source"], method, spec["protocols"][0] if is_solver(config, method) else protocol, "none", seed)
        for method in spec["methods"]
        for protocol in spec["protocols"]
        for seed in spec["seeds"] or config["seeds"][:1]
    ]
    return list(dict.fromkeys(cells))


def figure6_cells(config: Mapping[str, Any], side: str) -> list[Cell]:
    """Return the runs of one side, ``with`` or ``without``, of Figure 6."""
    spec = config["figures"]["figure6"]
    return [Cell(spec["source"], spec[side], spec["protocol"], "none", seed) for seed in config["seeds"]]


def bench_table_cells(config: Mapping[str, Any], table: str) -> list[Cell]:
    """Return the runs of one of `BENCH_TABLES`."""
    spec = config.get(table)
    if spec is None:
        return []
    return [
        Cell(source, method, spec["protocol"], "none", seed)
        for source, asked in spec["runs"].items()
        for method in asked["methods"]
        for seed in asked["seeds"] or config["seeds"]
    ]


def frontier_points(config: Mapping[str, Any]) -> list[FrontierPoint]:
    """Return the points of the frontier, panel by panel; the bench itself where it has the value already."""
    spec = config.get("frontier")
    if spec is None:
        return []
    name, bench = spec["source"], source_settings(config, spec["source"])
    return [
        FrontierPoint(
            parameter,
            value,
            name if value == bench[parameter] else variant_name(name, parameter, value),
            panel["methods"] or spec["methods"],
        )
        for parameter, panel in spec["panels"].items()
        for value in panel["values"]
    ]


def frontier_cell(config: Mapping[str, Any], point: FrontierPoint, method: str, seed: int) -> Cell:
    """Return one run of the frontier."""
    return Cell(point.source, method, config["frontier"]["protocol"], "none", seed)


def frontier_seeds(config: Mapping[str, Any]) -> list[int]:
    """Return the seeds of the frontier's runs: its own, or else the configuration's."""
    return config["frontier"]["seeds"] or config["seeds"]


def frontier_cells(config: Mapping[str, Any]) -> list[Cell]:
    """Return the runs of the frontier, each once."""
    cells = [
        frontier_cell(config, point, method, seed)
        for point in frontier_points(config)
        for method in point.methods
        for seed in frontier_seeds(config)
    ]
    return list(dict.fromkeys(cells))


def discovery_cells(config: Mapping[str, Any]) -> list[Cell]:
    """Return the runs of the table of discovered anchors."""
    spec = config.get("discovery")
    if spec is None:
        return []
    return [
        Cell(source, method, protocol, anchoring, seed)
        for source, asked in spec["runs"].items()
        for method in asked["methods"]
        for protocol in asked["protocols"]
        for anchoring in ("none", *asked["anchorings"])
        for seed in spec["seeds"] or config["seeds"]
    ]


def discovery_settings(config: Mapping[str, Any], anchoring: str) -> dict[str, Any] | None:
    """Return what an anchoring's directions are discovered by, its solver's settings with it; None for given ones."""
    discover = config["anchorings"][anchoring].get("discover")
    if discover is None:
        return None
    own = _without_start(config["methods"][discover["method"]])
    return {"solver": SolverConfig().to_dict() | own, "min_cosine": discover["min_cosine"]}


def top_images_cell(config: Mapping[str, Any], figure: str) -> Cell:
    """Return the run that Figure 9 or 10 shows, of the first seed."""
    spec = config["figures"][figure]
    return Cell(spec["source"], spec["method"], spec["protocol"], spec["anchoring"], config["seeds"][0])


def all_cells(config: Mapping[str, Any]) -> list[Cell]:
    """Return every run whose metrics tables and figures ask for, each once."""
    cells = [cell for table in run_tables(config) for cell in table_cells(config, table)]
    if "figure6" in config["figures"]:
        cells += [cell for side in ("without", "with") for cell in figure6_cells(config, side)]
    cells += [top_images_cell(config, figure) for figure in TOP_IMAGES if figure in config["figures"]]
    cells += [cell for table in BENCH_TABLES for cell in bench_table_cells(config, table)] + frontier_cells(config)
    return list(dict.fromkeys(cells))


def reference_anchoring(config: Mapping[str, Any], source: str) -> str | None:
    """Return the anchoring whose anchors divide the features of a source's runs without anchors, or None.

    It is the first that a table or figure asks for beside them. On a bench that none asks anything of, it is the first
    of all; other sources may have fewer classes than that has anchors. A table divides them by its own anchoring.
    """
    tables = [spec for spec in run_tables(config).values() if source in table_sources(config, spec)]
    asked = {name for spec in tables for name in spec["anchorings"]}
    asked |= {config["figures"][name]["anchoring"] for name in TOP_IMAGES if _shows(config, name, source)}
    candidates = [name for name in config["anchorings"] if name in asked]
    if not candidates and source in config["sources"].get("bench", {}):
        candidates = list(config["anchorings"])
    return next(iter(candidates), None)


def bench_seeds(config: Mapping[str, Any], source: str) -> list[int]:
    """Return the seeds that a bench is drawn for: those of what asks for it, or all where nothing does."""
    asked: set[int] = set()
    for table, spec in run_tables(config).items():
        if source in table_sources(config, spec):
            asked |= set(table_seeds(config, table))
    listed = [cell for table in BENCH_TABLES for cell in bench_table_cells(config, table)]
    asked |= {cell.seed for cell in [*listed, *frontier_cells(config)] if cell.source == source}
    figures = config.get("figures", {})
    if any(figures.get(name, {}).get("source") == source for name in ("figure4", "figure5", "figure6")):
        asked |= set(config["seeds"])
    if figures.get("convergence", {}).get("source") == source:
        asked |= {cell.seed for cell in convergence_cells(config)}
    if figures.get("figure8", {}).get("source") == source:
        asked.add(config["seeds"][0])
    return sorted(asked) or list(config["seeds"])


def _shows(config: Mapping[str, Any], figure: str, source: str) -> bool:
    return figure in config["figures"] and config["figures"][figure]["source"] == source
