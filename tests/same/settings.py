"""Compare the resolved settings of every run of the kept configurations with the saved ones (resolved/*.json).

`python -m tests.same.settings` lists differences, and `--save` saves the settings as they are now. Settings that all
trainings of a configuration share are in the group `common` of its file, and likewise for solvers and other libraries.
"""

import json
import sys
from pathlib import Path
from typing import Any

from sdlstudy.configuration.loading import configure, load_yaml, read_given
from sdlstudy.configuration.whole import Configuration
from sdlstudy.settings.cells import Cell, discovering_solver, run_settings, start_cell
from sdlstudy.settings.codes import CodesConfig
from tests.conftest import REPOSITORY
from tests.same.comparing import differences

Groups = dict[str, dict[str, dict[str, Any]]]
"""Group of entries, such as solvers -> entry -> its settings."""
KINDS = {"solvers": "solver", "other libraries": "peer", "codes": "search", "trainings": "steps"}
"""Kind of runs -> a setting that its runs have, and runs of the kinds before have not."""
SAVED = Path(__file__).parent / "resolved"
CONFIG = REPOSITORY / "config"
KEPT = {
    "config": ["config"],
    "tiny": ["tiny"],
    "paper": ["paper"],
    "peers": ["peers"],
    "anchoring": ["studies/anchoring"],
    "harder": ["studies/harder"],
    "judged": ["studies/judged"],
    "law": ["paper", "studies/law"],
    "methods": ["studies/methods"],
    "methods_tuning": ["studies/methods", "studies/methods_tuning"],
    "methods_long": ["studies/methods", "studies/methods_long"],
    "methods_long_tuning": ["studies/methods", "studies/methods_long", "studies/methods_long_tuning"],
    "synthsaebench": ["studies/synthsaebench"],
    "synthsaebench16k": ["studies/synthsaebench16k"],
}
"""Name of a kept configuration -> the files in `CONFIG` that are merged over the default."""


def load(name: str) -> Configuration:
    """Return a kept configuration as the pipeline reads it."""
    given = read_given([CONFIG / f"{file}.yaml" for file in KEPT[name]], {})
    return configure(given, load_yaml(CONFIG / "config.yaml"))


def resolve(study: Configuration) -> Groups:
    """Return the settings of all runs that products need, seeds included, and of their sources and anchorings.

    Runs are named source/method/protocol/anchoring. Settings at their defaults (tests/defaults.json) are left out.
    """
    products = study.products_by_path().values()
    cells = {cell for product in products for cell in product.cells(study)}
    coded = [cell for cell in cells if study.methods[cell.method].settings is CodesConfig]
    cells |= {start for cell in coded if (start := start_cell(study, cell))}
    groups: Groups = {"sources": {}, "anchorings": {}, **{kind: {} for kind in KINDS}}
    for cell in sorted(cells, key=lambda cell: (*_names(cell), cell.seed)):
        run = run_settings(study, cell)
        kind, settings = next(kind for kind, setting in KINDS.items() if setting in run.to_dict()), run.non_defaults()
        if (start := start_cell(study, cell)) is not None:
            settings = settings | {"start": "/".join(_names(start))}
        groups[kind].setdefault("/".join(_names(cell)), {"seeds": [], **settings})["seeds"].append(cell.seed)
        source = study.source(cell.source)
        groups["sources"][cell.source] = {"kind": source.kind, **source.model_dump(mode="json", exclude={"run"})}
        if cell.anchoring != "none":
            anchoring, solver = study.anchorings[cell.anchoring], discovering_solver(study, cell.anchoring)
            groups["anchorings"][cell.anchoring] = anchoring.model_dump(mode="json")
            if anchoring.discover is not None and solver is not None:
                found = {"solver": solver.to_dict(), "min_cosine": anchoring.discover.min_cosine}
                groups["anchorings"][cell.anchoring]["discover"] = found
    return {group: json.loads(json.dumps(entries)) for group, entries in groups.items() if entries}


def read(name: str) -> Groups:
    """Return the saved settings of a configuration."""
    groups: Groups = json.loads((SAVED / f"{name}.json").read_text())
    for kind, common in groups.pop("common").items():
        groups[kind] = {run: common | settings for run, settings in groups[kind].items()}
    return groups


def save(name: str, groups: Groups) -> None:
    """Save the settings of a configuration, an entry in a line."""
    common = {kind: _common([*groups[kind].values()]) for kind in KINDS if kind in groups}
    for kind, shared in common.items():
        own = {run: _beyond(shared, settings) for run, settings in groups[kind].items()}
        groups = groups | {kind: own}
    lines = {
        group: ",\n".join(f"{json.dumps(entry)}: {json.dumps(value)}" for entry, value in entries.items())
        for group, entries in ({"common": common} | groups).items()
    }
    text = ",\n".join(f"{json.dumps(group)}: {{\n{entries}\n}}" for group, entries in lines.items())
    (SAVED / f"{name}.json").write_text(f"{{\n{text}\n}}\n")


def _names(cell: Cell) -> tuple[str, str, str, str]:
    return cell.source, cell.method, cell.protocol, cell.anchoring


def _common(runs: list[dict[str, Any]]) -> dict[str, Any]:
    """Return the settings that all runs have with the same value."""
    first = runs[0] if runs else {}
    return {key: value for key, value in first.items() if all(key in run and run[key] == value for run in runs)}


def _beyond(common: dict[str, Any], settings: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in settings.items() if key not in common}


if __name__ == "__main__":
    wrong = []
    for configuration in KEPT:
        now = resolve(load(configuration))
        if sys.argv[1:] == ["--save"]:
            save(configuration, now)
        else:
            wrong += [f"{configuration}: {line}" for line in differences(read(configuration), now)]
    print("\n".join(wrong) or "the same")
    sys.exit(bool(wrong))
