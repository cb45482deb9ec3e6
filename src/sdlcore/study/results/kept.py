"""Metrics of runs kept with the code, so that hours of training are not spent twice.

A kept run is its metrics file with every setting that the metrics depend on. Restored, it takes the place of the file
that `evaluate` would write, where the configuration still gives the same settings: tables and verdicts then need no
model. The metrics' provenance names the code; a change of code does not unpublish a run.
"""

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from sdlcore.baselines.settings import PeerConfig
from sdlcore.run import RunConfig
from sdlcore.solvers.settings import SolverConfig
from sdlcore.storage.files import write_json
from sdlcore.study.configuration.models.sources import Bench, Clip, File, Llama, Source
from sdlcore.study.configuration.run_keys import (
    Cell,
    discovery_settings,
    is_peer,
    is_solver,
    reference_anchoring,
    run_settings,
    source_kind,
    source_settings,
    start_cell,
)

PLANNING = ("run", "samples_per_second", "workers", "shards", "stream", "buffer_rows")
"""Settings of a source that say how its samples are made, not what they are; ``run`` counts as the run's."""
WATCHING = ("log_every", "checkpoint_every")
SOURCES: dict[str, type[Source]] = {"bench": Bench, "clip": Clip, "llama": Llama, "file": File}


def settings_of(config: Mapping[str, Any], cell: Cell) -> dict[str, Any]:
    """Return all settings that a run's metrics depend on, without the names that stand for settings."""
    kind = source_kind(config, cell.source)
    run = run_settings(config, cell.source, cell.method, cell.protocol)
    anchorings = [name for name in (cell.anchoring, reference_anchoring(config, cell.source)) if name != "none"]
    settings = {
        "source": {kind: _without(source_settings(config, cell.source), PLANNING)},
        "run": _without(run, WATCHING),
        "anchored": cell.anchoring != "none",
        # of a run without anchors, how many features count as given away
        "anchoring": config["anchorings"].get(anchorings[0]) if anchorings else None,
        "seed": cell.seed,
    }
    discovery = discovery_settings(config, anchorings[0]) if anchorings and anchorings[0] else None
    if discovery is not None:
        settings["discovery"] = discovery
    start = start_cell(config, cell)
    if start is not None:
        settings["start"] = settings_of(config, start)
    return settings


def agrees(kept: Mapping[str, Any], config: Mapping[str, Any], cell: Cell) -> bool:
    """Tell whether a run was kept with the settings that the configuration gives it.

    A setting that the kept run lacks is younger than the run, and has to have its default, which leaves things as they
    were.
    """
    return bool(_completed(kept, config, cell) == settings_of(config, cell))


def _completed(kept: Mapping[str, Any], config: Mapping[str, Any], cell: Cell) -> dict[str, Any]:
    """Return settings of a kept run with the defaults of those that it lacks."""
    kind = source_kind(config, cell.source)
    fields = SOURCES[kind].model_fields
    source = {name: field.get_default(call_default_factory=True) for name, field in fields.items() if name != "like"}
    peer, solver = is_peer(config, cell.method), is_solver(config, cell.method)
    run = PeerConfig().to_dict() if peer else SolverConfig().to_dict() if solver else RunConfig().to_dict()
    completed = {
        **kept,
        "source": {name: _without(source, PLANNING) | settings for name, settings in kept["source"].items()},
        "run": _without(run, WATCHING) | kept["run"],
    }
    start = start_cell(config, cell)
    if start is not None and "start" in kept:
        completed["start"] = _completed(kept["start"], config, start)
    return completed


def _without(settings: Mapping[str, Any], names: tuple[str, ...]) -> dict[str, Any]:
    return {name: value for name, value in settings.items() if name not in names}


def publish(config: Mapping[str, Any], cells: Iterable[Cell], results: Path, folder: Path) -> list[Path]:
    """Copy the metrics of finished runs, with their settings and seconds of training, into ``folder``.

    Returns
    -------
    The files written; one that is there already and says the same is left alone.
    """
    written = []
    for cell in cells:
        run = results / run_path(cell)
        if not (run / "metrics.json").is_file():
            continue
        content = json.loads((run / "metrics.json").read_text())
        content["settings"] = settings_of(config, cell)
        content["training_seconds"] = _seconds(run / "history.csv")
        path = folder / file_name(cell)
        if path.is_file():
            before = json.loads(path.read_text())
            if content["training_seconds"] is None:  # it was restored from here
                content["training_seconds"] = before.get("training_seconds")
            if before == content:
                continue
        write_json(path, content)
        written.append(path)
    return written


def restore(config: Mapping[str, Any], cells: Iterable[Cell], folder: Path, results: Path) -> list[Path]:
    """Write the metrics of kept runs whose settings the configuration still gives, where a run has none yet.

    Returns
    -------
    The files written.
    """
    written = []
    for cell in cells:
        published, path = folder / file_name(cell), results / run_path(cell) / "metrics.json"
        if path.exists() or not published.is_file():
            continue
        content = json.loads(published.read_text())
        if not agrees(content.pop("settings"), config, cell):
            continue
        del content["training_seconds"]
        write_json(path, content)
        written.append(path)
    return written


def run_path(cell: Cell) -> Path:
    """Return a run's folder below the results of a configuration."""
    return Path("runs", cell.source, cell.method, cell.protocol, cell.anchoring, f"seed{cell.seed}")


def file_name(cell: Cell) -> str:
    """Return the name of a published run's file."""
    return f"{cell.source}.{cell.method}.{cell.protocol}.{cell.anchoring}.seed{cell.seed}.json"


def _seconds(history: Path) -> float | None:
    if not history.is_file():
        return None
    lines = history.read_text().splitlines()
    return float(lines[-1].split(",")[lines[0].split(",").index("seconds")])
