"""Keep metrics of runs with the code, so that hours of training are not spent twice.

A kept run is its metrics file and every setting that the metrics depend on. `restore` writes the file that `evaluate`
would write, if the run still has the same settings in the configuration. Tables and verdicts then need no model. The
provenance in the metrics records the code; a change of the code does not invalidate kept runs.
"""

import json
from collections.abc import Iterable, Mapping
from pathlib import Path

from sdlcore.pipeline import Json, read_history, write_json
from sdlstudy.settings.cells import Cell, discovery_of, run_settings, start_cell
from sdlstudy.settings.files import Files
from sdlstudy.settings.study import Study
from sdlstudy.settings.trees import Tree, branch

PLANNING = ("run", "samples_per_second", "workers", "shards", "stream", "buffer_rows", "each_layer", "one_pass")
"""Settings of a source that do not affect its samples, only how they are made; and ``run``, which is among the run's
settings already."""
WATCHING = ("log_every", "checkpoint_every", "lambda_anchor")
"""Settings of a run that do not affect its metrics; and ``lambda_anchor``, which is among the anchoring's settings
already."""
ADDED = ("settings", "training_seconds")
"""What `publish` adds to the content of a metrics file."""


def settings_of(files: Files, cell: Cell) -> dict[str, Json]:
    """Return all settings that a run's metrics depend on, by value instead of by the names of methods and sources."""
    study, source = files.study, files.study.source(cell.source)
    divided = files.divided_by.get(cell.source) if cell.anchoring == "none" else cell.anchoring
    anchoring = None if divided is None else study.anchorings[divided]
    settings: dict[str, Json] = {
        "source": {source.kind: _without(source.model_dump(), PLANNING)},
        "run": _without(run_settings(study, cell).to_dict(), WATCHING),
        "anchored": cell.anchoring != "none",
        # for a run without anchors: the anchoring that decides which features count as given away
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


def agrees(stored_run: Tree, files: Files, cell: Cell) -> bool:
    """Return whether the settings of a stored run equal the settings that the study gives the run.

    A setting that the stored run lacks was added to the package after the run. The study must use its default, which
    keeps the old behaviour.
    """
    return bool(_completed(stored_run, files.study, cell) == settings_of(files, cell))


def _completed(stored_run: Tree, study: Study, cell: Cell) -> dict[str, Json]:
    """Return the settings of a stored run, with defaults for settings that it lacks."""
    fields = type(study.source(cell.source)).model_fields
    source = {name: field.get_default(call_default_factory=True) for name, field in fields.items() if name != "like"}
    defaults = type(run_settings(study, cell))().to_dict()
    completed: dict[str, Json] = {
        **stored_run,
        "source": {
            kind: _without(source, PLANNING) | branch(stored_run, "source", kind)
            for kind in branch(stored_run, "source")
        },
        "run": _without(defaults, WATCHING) | _without(branch(stored_run, "run"), WATCHING),
    }
    start = start_cell(study, cell)
    if start is not None and "start" in stored_run:
        completed["start"] = _completed(branch(stored_run, "start"), study, start)
    return completed


def _without(settings: Tree, names: tuple[str, ...]) -> dict[str, Json]:
    return {name: value for name, value in settings.items() if name not in names}


def publish(files: Files, cells: Iterable[Cell], folder: Path) -> list[Path]:
    """Copy the metrics of finished runs, with their settings and seconds of training, into ``folder``.

    Returns
    -------
    The files written. A file with the same content is not written again. The file that the run was restored from is
    not written again either, although it may lack settings that were added later.
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
    """Return the content of a run's metrics file, without the settings and seconds that `publish` added."""
    return {name: value for name, value in content.items() if name not in ADDED}


def restore(files: Files, cells: Iterable[Cell], folder: Path) -> list[Path]:
    """Write the metrics of kept runs for runs that have none yet and whose settings are unchanged.

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
        if not agrees(content["settings"], files, cell):
            continue
        write_json(path, _measured(content))
        written.append(path)
    return written


def file_name(cell: Cell) -> str:
    """Return the file name of a kept run."""
    return f"{cell.source}.{cell.method}.{cell.protocol}.{cell.anchoring}.seed{cell.seed}.json"
