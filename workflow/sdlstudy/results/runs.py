"""Read metrics files into one data frame, and check that they are exactly the runs of a table."""

import json
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd

from sdlcore.evaluation.metrics import METRICS
from sdlcore.evaluation.recovery import metrics_by_anchors
from sdlcore.storage.checksums import with_checksum
from sdlstudy.settings.cells import Cell

KEY = ["source", "method", "protocol", "anchoring", "seed"]

NEEDED_METRICS = [metric.name for metric in METRICS.values() if metric.needed]
"""Metrics that every table needs. Runs without reference directions lack some of them (`unjudged`)."""


class RunsError(ValueError):
    """Files of runs are unreadable, or runs do not fit the requested table. The message names the file or run."""


class RunMetrics(NamedTuple):
    """The content of a run's metrics file, without its provenance."""

    cell: Cell
    metrics: dict[str, float | None]
    chance: dict[str, float | None]
    features: dict[str, list[float]]
    """Best match of every reference direction, by side and similarity; and ``anchored``, the indices of directions that
    anchors give away. Empty for sources without reference directions, and for runs of an earlier version."""


def read_metrics(path: str | Path) -> RunMetrics:
    """Read one metrics file.

    Raises
    ------
    RunsError
        If the file is not the metrics of a run, or has a checksum that does not match.
    """
    try:
        content = json.loads(Path(path).read_text())
        run = RunMetrics(
            Cell(*(content["run"][key] for key in KEY)),
            content["metrics"],
            content["chance"],
            content.get("features") or {},
        )
    except (ValueError, KeyError, TypeError) as error:
        raise RunsError(f"{path}: not the metrics of a run ({error!r}); delete it and evaluate again") from error
    if "crc32" in content and content != with_checksum(content):
        raise RunsError(f"{path}: is damaged, its checksum does not match its numbers; delete it and evaluate again")
    return run


def read_runs(paths: Iterable[str | Path]) -> pd.DataFrame:
    """Read metrics files into a frame with one row for each run.

    A run without anchors is scored on the same features as the anchored runs that it is compared with. If the files
    have a single anchoring for its source and seed, metrics that depend on anchors are computed again for the features
    that this anchoring gives away. These metrics are NaN if they cannot be computed again, or if there are several
    anchorings.

    Parameters
    ----------
    paths
        The metrics files.

    Returns
    -------
    DataFrame
        Columns source, method, protocol, anchoring, seed, then every metric under its name in the files, and every
        chance level as ``chance_<metric>``. Values are fractions, not percentages; NaN for null and for metrics that a
        run lacks.

    Raises
    ------
    RunsError
        If a file is damaged, or a run without anchors lacks the best matches of single features although anchored runs
        have them.
    """
    files = {path: read_metrics(path) for path in paths}
    given_away: dict[tuple[str, int], set[tuple[float, ...]]] = {}
    for cell, _, _, features in files.values():
        if cell.anchoring != "none" and features:
            given_away.setdefault((cell.source, cell.seed), set()).add(tuple(features["anchored"]))
    rows = []
    for path, (cell, metrics, chance, features) in files.items():
        beside = given_away.get((cell.source, cell.seed), set()) if cell.anchoring == "none" else set()
        if beside and not features:
            raise RunsError(
                f"{path}: features is missing, but anchored runs of its table have it; evaluate the run again"
            )
        own_anchored = tuple(features.get("anchored", ()))
        # None if several anchorings differ in the features that they give away
        anchored = own_anchored if not beside else next(iter(beside)) if len(beside) == 1 else None
        if anchored != own_anchored:
            # files of other versions may contain metrics that are not declared
            metrics |= dict.fromkeys(name for name in metrics if name in METRICS and METRICS[name].by_anchors)
            if anchored is not None:
                metrics |= metrics_by_anchors(features, np.array(anchored, dtype=np.int64))
        values = metrics | {f"chance_{name}": value for name, value in chance.items()}
        rows.append(asdict(cell) | {name: np.nan if value is None else value for name, value in values.items()})
    runs = pd.DataFrame(rows)
    return runs[[*KEY, *(name for name in runs.columns if name not in KEY)]]


def unjudged(runs: pd.DataFrame) -> pd.DataFrame:
    """Add columns of NaN for missing `NEEDED_METRICS`. Runs lack these metrics if their source has no reference
    directions."""
    return runs.reindex(columns=[*runs.columns, *(name for name in NEEDED_METRICS if name not in runs)])


def costs(folders: Iterable[str]) -> pd.DataFrame:
    """Return the costs of runs, one row each: ``latents`` (for a solver: atoms), ``samples`` used, and ``seconds``."""
    rows = []
    for folder in map(Path, folders):
        settings = json.loads((folder / "config.json").read_text())["settings"]
        last = pd.read_csv(folder / "history.csv").iloc[-1]
        rows.append((last.get("atoms", settings.get("n_q", 0)), last["samples"], last["seconds"]))
    return pd.DataFrame(rows, columns=["latents", "samples", "seconds"])
