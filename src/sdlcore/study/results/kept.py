"""Metrics of runs kept with the code, so that hours of training are not spent twice.

A published run is its metrics file with a digest of every setting that it hangs on. Restored, it takes the place of
what `evaluate` would write, where the configuration still gives the same digest: tables and verdicts are then made
of it without a model. What the code was stands in the metrics' provenance; a change of code does not unpublish a run.
"""

import hashlib
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from sdlcore.storage.files import write_json
from sdlcore.study.configuration.run_keys import (
    Cell,
    discovery_settings,
    reference_anchoring,
    run_settings,
    source_kind,
    start_cell,
)

PLANNING = ("run", "samples_per_second", "workers", "shards", "stream", "buffer_rows")
"""Settings of a source that say how its samples are made, not what they are; ``run`` counts as the run's."""
WATCHING = ("log_every", "checkpoint_every")
ADDED = {
    "frequency_exponent": 0.0,
    "correlation": 0.0,
    "group_size": 8,
    "noise": 0.0,
    "encoder": "regression",
    "whiten": False,
}
"""Settings of sources and runs that came after runs were published, and the values that leave them what they were.

With these they are left out of digests, so that an option that is added unpublishes nothing."""


def cell_digest(config: Mapping[str, Any], cell: Cell) -> str:
    """Return a digest of all settings that a run's metrics hang on, names left out where they stand for settings."""
    kind = source_kind(config, cell.source)
    source = {
        key: value
        for key, value in config["sources"][kind][cell.source].items()
        if key not in PLANNING and not _added(key, value)
    }
    run = run_settings(config, cell.source, cell.method, cell.protocol)
    anchorings = [name for name in (cell.anchoring, reference_anchoring(config, cell.source)) if name != "none"]
    settings = {
        "source": {kind: source},
        "run": {key: value for key, value in run.items() if key not in WATCHING and not _added(key, value)},
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
        settings["start"] = cell_digest(config, start)
    return hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()[:16]


def _added(key: str, value: Any) -> bool:
    return key in ADDED and bool(value == ADDED[key])


def publish(config: Mapping[str, Any], cells: Iterable[Cell], results: Path, folder: Path) -> list[Path]:
    """Copy the metrics of finished runs, with their digests and seconds of training, into ``folder``.

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
        content["settings_digest"] = cell_digest(config, cell)
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
    """Write the metrics of published runs whose digests the configuration gives, where a run has none yet.

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
        if content.pop("settings_digest") != cell_digest(config, cell):
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
