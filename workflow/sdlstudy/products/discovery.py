"""The table that compares runs with discovered anchors, given anchors and no anchors."""

from collections.abc import Collection, Mapping
from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Annotated

import numpy as np
import pandas as pd
from annotated_types import MinLen

from sdlcore import paired_interval
from sdlcore.data.recovery_rule import TAU, recovered
from sdlcore.evaluation.metric_names import mip_name, recovery_name
from sdlcore.evaluation.metrics import METRICS
from sdlstudy.products.bench_table import BySource
from sdlstudy.rendering.labels import label_anchoring, label_method
from sdlstudy.rendering.text_table import TextTable, number
from sdlstudy.results.runs import read_metrics
from sdlstudy.settings.cells import Cell
from sdlstudy.settings.fields import AnchoringName, Identifier, Names, Seeds, Settings, Unique
from sdlstudy.settings.files import Files
from sdlstudy.settings.study import Study

if TYPE_CHECKING:
    from sdlcore import Anchors, References

GROUP = ["source", "method", "protocol", "anchoring"]
HEADS = {
    recovery_name("decoder"): "recovery: decoder",
    mip_name("decoder"): "MIP: decoder",
    recovery_name("encoder"): "recovery: encoder",
    mip_name("encoder"): "MIP: encoder",
    "fvu": METRICS["fvu"].symbol,
}
"""Metric -> head of its column."""
COUNTS = ("anchors", "near", "left")
RUN_COLUMNS = [*GROUP, "seed", *COUNTS, *HEADS, *(f"{name}_none" for name in HEADS), "l0", "dead_fraction"]
"""Columns of the table of runs. ``near``: number of features near an anchor; ``left``: number of features that the run
is judged on; ``*_none``: the value of the same run without anchors, on the same features."""


class Discovered(Settings):
    """The methods trained on a source, and the anchorings that are compared."""

    methods: Names
    anchorings: Annotated[list[AnchoringName], MinLen(1), Unique]
    """Anchorings; each is compared with runs without anchors."""
    protocols: Names = ["best"]


class Discovery(BySource):
    """Runs of the table that compares discovered anchors, given anchors and no anchors (docs/paper.md); null for
    none."""

    keys = ("discovery",)
    title = "Discovered anchors beside given ones and none"
    alone = True
    memory = 2000
    minutes = 10
    parts = ("", "runs")
    caption = (
        "Runs with anchors that a solver found in the training data, with given anchors and without anchors: means "
        "over seeds. Brackets contain the difference to the same runs without anchors, paired by seed, and its 95 % "
        f"interval. Recovery (cosine above {TAU:g}) and MIP are over the features that are left, i.e. whose cosine "
        f"with every anchor of the source is at most {TAU:g}. For an anchoring of all stable directions, its own "
        f"anchors remove further features. Near counts the features whose cosine with an anchor of the row exceeds "
        f"{TAU:g}. FVU is over all samples."
    )

    runs: Annotated[Mapping[Identifier, Discovered | None], MinLen(1)]
    """Source -> the methods and anchorings trained on it; null leaves a source of the default out."""
    seeds: Seeds | None = None
    """Seeds; null for the configuration's."""

    def cells(self, study: Study) -> list[Cell]:
        return [
            Cell(source, method, protocol, anchoring, seed)
            for source, entry in self.entries().items()
            for method in entry.methods
            for protocol in entry.protocols
            for anchoring in ("none", *entry.anchorings)
            for seed in self.seeds or study.seeds
        ]

    def inputs(self, files: Files) -> list[str]:
        paths = []
        for cell in self.cells(files.study):
            paths += [files.model(cell), files.metrics(cell)]
            if cell.anchoring != "none":
                paths.append(files.anchors(cell.source, cell.anchoring, cell.seed))
            if references := files.references(cell.source, cell.seed):
                paths.append(references)
        return list(dict.fromkeys(paths))

    def frames(self, files: Files) -> dict[str, pd.DataFrame]:
        cells = self.cells(files.study)
        rows: dict[Cell, dict[str, str | float | None]] = {}
        for source_seed in dict.fromkeys((cell.source, cell.seed) for cell in cells):
            rows |= _judged([cell for cell in cells if (cell.source, cell.seed) == source_seed], files)
        runs = pd.DataFrame([rows[cell] for cell in cells]).reindex(columns=RUN_COLUMNS)
        return {"": summary(runs), "runs": runs}

    def text(self, frames: Mapping[str, pd.DataFrame], study: Study) -> TextTable:
        """Return the means; differences and their intervals are in brackets."""
        texts = []
        for _, row in frames[""].iterrows():
            names = [row["source"], label_method(row["method"]), row["protocol"], label_anchoring(row["anchoring"])]
            counts = [number(row[name], 1) for name in COUNTS]
            texts.append([*names, str(row["seeds"]), *counts, *(_cell(row, name) for name in HEADS)])
        heads = [*GROUP, "seeds", *COUNTS, *HEADS.values()]
        return TextTable(self.caption, pd.DataFrame(texts, columns=heads), 4)


def summary(runs: pd.DataFrame) -> pd.DataFrame:
    """Summarise runs over seeds.

    Parameters
    ----------
    runs
        One row for each run, with the columns `RUN_COLUMNS`.

    Returns
    -------
    DataFrame
        One row for each source x method x protocol x anchoring: ``seeds``, means of `COUNTS` and `HEADS`, and for each
        metric the mean difference to the runs without anchors, paired by seed, with its 95 % t interval. Differences
        are NaN for runs without anchors. Recovery and MIP are NaN if the source has no reference directions, or if no
        feature is left to judge on.
    """
    rows = []
    for key, cell in runs.groupby(GROUP, sort=False):
        row: dict[str, str | float] = dict(zip(GROUP, map(str, key), strict=True)) | {"seeds": len(cell)}
        # the mean is NaN if one seed has no value
        row |= {name: float(np.mean(cell[name].to_numpy(float))) for name in (*COUNTS, *HEADS)}
        for name in HEADS:
            values = cell[name].to_numpy(float)
            plain = cell[f"{name}_none"].to_numpy(float) if row["anchoring"] != "none" else np.full(len(values), np.nan)
            parts = (f"{name}_difference", f"{name}_low", f"{name}_high")
            row |= dict(zip(parts, paired_interval(values - plain), strict=True))
        rows.append(row)
    return pd.DataFrame(rows)


def _judged(cells: list[Cell], files: Files) -> dict[Cell, dict[str, str | float | None]]:
    """Score runs of one source and seed on their `unanchored_features`, those not near any anchor; one row a run."""
    from sdlcore.data.anchors import load_anchors
    from sdlcore.data.references import load_references
    from sdlcore.evaluation.ground_truth import best_cosines, near_anchors
    from sdlcore.model.saving import load_model

    source, seed = cells[0].source, cells[0].seed
    names = dict.fromkeys(cell.anchoring for cell in cells if cell.anchoring != "none")
    anchors = {name: load_anchors(files.anchors(source, name, seed)) for name in names}
    all_stable = sorted(name for name in names if files.study.anchorings[name].n_anchors is None)
    judge = files.references(source, seed)
    references = load_references(judge) if judge else None
    masks = unanchored_features(anchors, references, all_stable) if references else {}
    metrics = {cell: read_metrics(files.metrics(cell)).metrics for cell in cells}
    rows = {}
    for cell in cells:
        plain = replace(cell, anchoring="none")
        values, run_anchors = metrics[cell], anchors.get(cell.anchoring)
        row = asdict(cell) | {name: values[name] for name in ("fvu", "l0", "dead_fraction")}
        row |= {"fvu_none": metrics[plain]["fvu"], "anchors": 0 if run_anchors is None else len(run_anchors.w_p)}
        if references:
            row["near"] = 0 if run_anchors is None else int(near_anchors(run_anchors, references).sum())
            row["left"] = int(masks[cell.anchoring].sum())
            for run, suffix in ((cell, ""), (plain, "_none")):
                cosines = best_cosines(load_model(files.model(run)), references)
                scores = recovery_over(masks[cell.anchoring], *cosines)
                row |= {f"{name}{suffix}": score for name, score in scores.items()}
        rows[cell] = row
    return rows


def unanchored_features(
    anchors: "Mapping[str, Anchors]", references: "References", all_stable: Collection[str] = ()
) -> dict[str, np.ndarray]:
    """Return the features that no anchoring gives away, on which runs with several anchorings are compared.

    Parameters
    ----------
    anchors
        Name of the anchoring -> its anchors.
    references
        n reference directions.
    all_stable
        Anchorings that anchor every direction they find. Discovered anchors could leave no feature to compare on, so
        the features near their anchors are removed only for their own runs, not for runs with other anchorings.

    Returns
    -------
    Name of the anchoring, and "none" -> mask of n booleans.
    """
    from sdlcore.evaluation.ground_truth import near_anchors

    near = {name: near_anchors(directions, references) for name, directions in anchors.items()}
    masks = [near[name] for name in near if name not in all_stable]
    remaining = ~np.any([np.zeros(references.W_p.shape[1], dtype=bool), *masks], axis=0)
    return {"none": remaining} | {name: remaining & ~near[name] for name in near}


def recovery_over(mask: np.ndarray, encoder: np.ndarray, decoder: np.ndarray) -> dict[str, float]:
    """Return recovery and MIP of encoder and decoder over some of n directions; NaN if there are none.

    Parameters
    ----------
    mask
        Mask of n booleans: the directions to count.
    encoder, decoder
        Best cosine of each direction with an encoder row, and with a decoder column.
    """
    metrics = {}
    for side, similarity in (("encoder", encoder), ("decoder", decoder)):
        match = similarity[mask]
        metrics[recovery_name(side)] = float(recovered(match).mean()) if len(match) else float("nan")
        metrics[mip_name(side)] = float(match.mean()) if len(match) else float("nan")
    return metrics


def _cell(row: pd.Series, name: str) -> str:
    # FVU gets one more decimal, because anchoring changes it only a little
    digits = METRICS[name].digits + (name == "fvu")
    value, difference = row[name], row[f"{name}_difference"]
    if np.isnan(value) or np.isnan(difference):
        return number(value, digits)
    low, high = (number(row[f"{name}_{end}"], digits) for end in ("low", "high"))
    return f"{number(value, digits)} ({number(difference, digits)}: {low} to {high})"
