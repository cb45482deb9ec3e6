"""Metrics of runs kept with the code, so that hours of training are not spent twice.

A kept run is its metrics file with every setting that the metrics depend on. Restored, it takes the place of the file
that `evaluate` would write, where the configuration still gives the same settings: tables and verdicts then need no
model. The metrics' provenance names the code; a change of code does not unpublish a run.
"""

import json
from collections.abc import Iterable, Mapping
from pathlib import Path

from sdlcore.pipeline import Json, read_history, write_json
from sdlcore.study.settings.cells import Cell, discovery_of, run_settings, start_cell
from sdlcore.study.settings.files import Files
from sdlcore.study.settings.old_keys import OLD_KEYS
from sdlcore.study.settings.study import Study
from sdlcore.study.settings.trees import Tree, branch

PLANNING = ("run", "samples_per_second", "workers", "shards", "stream", "buffer_rows")
"""Settings of a source that say how its samples are made, not what they are; ``run`` counts as the run's."""
WATCHING = ("log_every", "checkpoint_every", "lambda_anchor")
"""Settings of a run that say what is told of it; the weight of anchors counts as the anchoring's."""


def settings_of(files: Files, cell: Cell) -> dict[str, Json]:
    """Return all settings that a run's metrics depend on, without the names that stand for settings."""
    study, source = files.study, files.study.source(cell.source)
    divided = files.divided_by.get(cell.source) if cell.anchoring == "none" else cell.anchoring
    anchoring = None if divided is None else study.anchorings[divided]
    settings: dict[str, Json] = {
        "source": {source.kind: _without(source.model_dump(), PLANNING)},
        "run": _without(run_settings(study, cell).to_dict(), WATCHING),
        "anchored": cell.anchoring != "none",
        # of a run without anchors, how many features count as given away
        "anchoring": None if anchoring is None else anchoring.model_dump(),
        "seed": cell.seed,
    }
    discovering = None if divided is None else discovery_of(study, divided)
    if discovering is not None:
        settings["discovery"] = discovering.to_dict()
    if cell.source in files.centred:
        settings["centred"] = files.centred[cell.source]
    start = start_cell(study, cell)
    if start is not None:
        settings["start"] = settings_of(files, start)
    return settings


def agrees(kept: Tree, files: Files, cell: Cell) -> bool:
    """Tell whether a run was kept with the settings that the study gives it.

    A setting that the kept run lacks is younger than the run, and has to have its default, which leaves things as they
    were.
    """
    return bool(_completed(kept, files.study, cell) == settings_of(files, cell))


def _completed(kept: Tree, study: Study, cell: Cell) -> dict[str, Json]:
    """Return settings of a kept run with the defaults of those that it lacks."""
    fields = type(study.source(cell.source)).model_fields
    source = {name: field.get_default(call_default_factory=True) for name, field in fields.items() if name != "like"}
    defaults = type(run_settings(study, cell))().to_dict()
    kinds = OLD_KEYS["sources"]
    completed: dict[str, Json] = {
        **kept,
        "source": {
            kinds.get(kind, kind): _without(source, PLANNING) | branch(kept, "source", kind)
            for kind in branch(kept, "source")
        },
        "run": _without(defaults, WATCHING) | _without(branch(kept, "run"), WATCHING),
    }
    start = start_cell(study, cell)
    if start is not None and "start" in kept:
        completed["start"] = _completed(branch(kept, "start"), study, start)
    return completed


def _without(settings: Tree, names: tuple[str, ...]) -> dict[str, Json]:
    return {name: value for name, value in settings.items() if name not in names}


def publish(files: Files, cells: Iterable[Cell], folder: Path) -> list[Path]:
    """Copy the metrics of finished runs, with their settings and seconds of training, into ``folder``.

    Returns
    -------
    The files written; one that is there already and says the same is left alone, and so is one that the run was
    restored from, whose settings may lack what has come since.
    """
    written = []
    for cell in cells:
        metrics, history = Path(files.metrics(cell)), Path(files.history(cell))
        if not metrics.is_file():
            continue
        content = json.loads(metrics.read_text())
        content["settings"] = settings_of(files, cell)
        content["training_seconds"] = read_history(history)[-1]["seconds"] if history.is_file() else None
        path = folder / file_name(cell)
        if path.is_file():
            before = json.loads(path.read_text())
            if content["training_seconds"] is None and _measured(before) == _measured(content):  # restored from here
                continue
            if before == content:
                continue
        write_json(path, content)
        written.append(path)
    return written


def _measured(content: Mapping[str, Json]) -> dict[str, Json]:
    """Return what a run's metrics say, without the settings and seconds that are kept beside."""
    return {name: value for name, value in content.items() if name not in ("settings", "training_seconds")}


def restore(files: Files, cells: Iterable[Cell], folder: Path) -> list[Path]:
    """Write the metrics of kept runs whose settings the configuration still gives, where a run has none yet.

    Returns
    -------
    The files written.
    """
    written = []
    for cell in cells:
        published, path = folder / file_name(cell), Path(files.metrics(cell))
        if path.exists() or not published.is_file():
            continue
        content = json.loads(published.read_text())
        if not agrees(content.pop("settings"), files, cell):
            continue
        del content["training_seconds"]
        write_json(path, content)
        written.append(path)
    return written


def file_name(cell: Cell) -> str:
    """Return the name of a published run's file."""
    return f"{cell.source}.{cell.method}.{cell.protocol}.{cell.anchoring}.seed{cell.seed}.json"
