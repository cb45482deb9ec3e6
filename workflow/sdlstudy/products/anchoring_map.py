"""The map of where anchoring helps, where it harms, and where the seeds cannot decide."""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Annotated, Any

import numpy as np
import pandas as pd
from annotated_types import MinLen
from matplotlib.figure import Figure

from sdlcore import paired_interval
from sdlcore.data.recovery_rule import TAU_STRICT, recovered
from sdlstudy.products.bench_table import BySource
from sdlstudy.rendering.figures import PALETTE
from sdlstudy.rendering.labels import label_method
from sdlstudy.results.runs import read_metrics
from sdlstudy.results.tables import read_csv
from sdlstudy.settings.cells import Cell
from sdlstudy.settings.fields import AnchoringName, Identifier, Names, Seeds, Settings, Unique
from sdlstudy.settings.files import Files
from sdlstudy.settings.study import Study

RUN_COLUMNS = [
    *("source", "method", "protocol", "anchoring", "seed", "lambda_anchor", "judged", "given"),
    *(f"{name}{side}" for name in ("recovery", "given_recovered", "absorption", "fvu") for side in ("", "_none")),
]
"""Columns of the table of runs with anchors. ``judged``: number of features that no anchoring gives away, over which
``recovery`` is computed; ``given``: number of features that the run's own anchors give away; ``*_none``: the value of
the same run without anchors."""
MEASURES = {"recovery": 1, "absorption": -1}
"""Measure -> 1 if higher is better, -1 if lower is better."""
HELPS, HARMS, UNTOLD, POWERLESS = "helps", "harms", "cannot tell", "no power"
COLOURS: dict[str, Any] = {HELPS: PALETTE[0], HARMS: PALETTE[3], UNTOLD: (0.93, 0.93, 0.93), POWERLESS: (1.0, 1.0, 1.0)}


class Regimes(Settings):
    """The methods trained on a source, each with every anchoring and without anchors."""

    methods: Names
    """Methods; each is a row of the map."""
    protocol: Identifier = "best"
    """The protocol that the methods are trained with."""
    anchorings: Annotated[list[AnchoringName], Unique] | None = None
    """The anchoring for each column of the map on this source, such as one with other features; null for the map's
    own."""


class AnchoringMap(BySource):
    """Map of where anchoring helps and where it harms, over sources, methods and anchorings (docs/paper.md); null for
    none."""

    keys = ("anchoring_map",)
    title = "Where anchoring helps and where it harms"
    alone = True
    parts = ("", "runs")
    caption = (
        "A cell is about one measure: the share of features other than anchors "
        f"that decoder columns recover (cosine above {TAU_STRICT:g}), or the share of absorbed pairs of parent and "
        "child. It shows the difference to the same runs without anchors, paired by seed, in points, with its 95 % t "
        "interval. Anchoring helps or harms if the interval excludes 0. The cell has no power if every seed of both "
        "sides is at 0 or at 100 %. Verdicts are not corrected for the number of cells, and cells of one regime and "
        "measure share the runs without anchors."
    )

    runs: Annotated[Mapping[Identifier, Regimes | None], MinLen(1)]
    """Source -> the methods trained on it. A source needs true features or classes; null leaves it out."""
    anchorings: Annotated[list[AnchoringName], MinLen(1), Unique]
    """Anchorings, the columns of the map."""
    seeds: Seeds | None = None
    """Seeds; null for the configuration's."""

    def anchored_runs(self, study: Study) -> list[tuple[str, Cell]]:
        """Return the runs with anchors, each with the column of the map, in the order of the map's rows."""
        return [
            (column, Cell(source, method, entry.protocol, anchoring, seed))
            for source, entry in self.entries().items()
            for method in entry.methods
            for column, anchoring in zip(self.anchorings, entry.anchorings or self.anchorings, strict=True)
            for seed in self.seeds or study.seeds
        ]

    def cells(self, study: Study) -> list[Cell]:
        return list(dict.fromkeys(cell for _, run in self.anchored_runs(study) for cell in (plain(run), run)))

    def accepted_sources(self, study: Study) -> tuple[list[str], str]:
        judged = [name for name, s in study.all_sources().items() if s.n_features is not None or s.is_labelled]
        return judged, "a source with true features or classes"

    def unknown_names(self, path: str, study: Study) -> Iterator[str]:
        yield from super().unknown_names(path, study)
        for source, entry in self.entries().items():
            if entry.anchorings is not None and len(entry.anchorings) != len(self.anchorings):
                hint = f"set {path}.runs.{source} to null to leave the source out"
                yield f"{path}.runs.{source}.anchorings: expected {len(self.anchorings)}, one for each column; {hint}"

    def inputs(self, files: Files) -> list[str]:
        paths = []
        for _, cell in self.anchored_runs(files.study):
            paths += [files.metrics(plain(cell)), files.metrics(cell), files.history(cell)]
            paths += [files.anchors(cell.source, cell.anchoring, cell.seed)]
            if references := files.references(cell.source, cell.seed):
                paths.append(references)
        return list(dict.fromkeys(paths))

    def frames(self, files: Files) -> dict[str, pd.DataFrame]:
        runs = pd.DataFrame([self._judged(column, cell, files) for column, cell in self.anchored_runs(files.study)])
        runs = runs.reindex(columns=RUN_COLUMNS)
        return {"": summary(runs), "runs": runs}

    def _judged(self, column: str, cell: Cell, files: Files) -> dict[str, str | float | None]:
        """Score a run with anchors and the same run without, on the features that no anchoring of the map anchors."""
        from sdlcore.data.anchors import load_anchors
        from sdlcore.data.references import load_references
        from sdlcore.evaluation.ground_truth import anchored_features, near_anchors

        judge = files.references(cell.source, cell.seed)
        assert judge is not None, f"{cell.source} has neither true features nor classes"
        references = load_references(judge)
        beside = self.entries()[cell.source].anchorings or self.anchorings
        anchors = {name: load_anchors(files.anchors(cell.source, name, cell.seed)) for name in beside}
        remaining = ~np.any([near_anchors(some, references, TAU_STRICT) for some in anchors.values()], axis=0)
        anchored = anchored_features(anchors[cell.anchoring], references)
        row: dict[str, str | float | None] = {
            **{"source": cell.source, "method": cell.method, "protocol": cell.protocol},
            **{"anchoring": column, "seed": cell.seed, "judged": int(remaining.sum()), "given": len(anchored)},
        }
        for run, suffix in ((cell, ""), (plain(cell), "_none")):
            scores = read_metrics(files.metrics(run))
            hits = recovered(np.array(scores.features["decoder"]), TAU_STRICT)
            row |= {f"recovery{suffix}": hits[remaining].mean(), f"given_recovered{suffix}": hits[anchored].mean()}
            row |= {f"{name}{suffix}": scores.metrics.get(name) for name in ("absorption", "fvu")}
        history = read_csv(files.history(cell))
        # a rule that chose the weight recorded it
        usual = files.study.anchorings[cell.anchoring].lambda_anchor
        row["lambda_anchor"] = history["lambda_anchor"].iloc[-1] if "lambda_anchor" in history else usual
        return row

    def draw(self, rows: pd.DataFrame, files: Files) -> Figure:
        """Draw a row for each source, method and measure, a column for each anchoring, coloured by verdict."""
        import seaborn

        place = [f"{_regime(row)}\n{row['measure']} without: {row['none']:.0f} %" for _, row in rows.iterrows()]
        cells = rows.assign(place=place, column=rows["anchoring"].map(_name), text=rows.apply(_cell_text, axis=1))
        cells = cells.assign(code=cells["verdict"].map(list(COLOURS).index)).set_index(["place", "column"])
        index, columns = list(dict.fromkeys(place)), list(dict.fromkeys(map(_name, rows["anchoring"])))
        codes, texts = (cells[name].unstack().reindex(index=index, columns=columns) for name in ("code", "text"))
        figure = Figure(figsize=(2.6 + 1.25 * len(codes.columns), 1.4 + 0.55 * len(codes)), layout="constrained")
        axes = figure.subplots()
        look: dict[str, Any] = {"cmap": list(COLOURS.values()), "vmin": 0, "vmax": len(COLOURS), "linewidths": 1.5}
        seaborn.heatmap(codes, annot=texts, fmt="", annot_kws={"fontsize": 6.5}, ax=axes, **look)
        bar: Any = axes.collections[0].colorbar
        bar.set_ticks([code + 0.5 for code in range(len(COLOURS))], labels=list(COLOURS))
        axes.set(xlabel="", ylabel="")
        axes.xaxis.tick_top()
        return figure


def plain(cell: Cell) -> Cell:
    """Return the same run without anchors."""
    return replace(cell, anchoring="none")


def summary(runs: pd.DataFrame) -> pd.DataFrame:
    """Judge each cell of the map by its runs.

    Parameters
    ----------
    runs
        One row for each run with anchors, with the columns `RUN_COLUMNS`.

    Returns
    -------
    DataFrame
        One row for each source x method x measure x anchoring. ``seeds`` counts seeds; ``judged`` and ``given`` are
        mean numbers of features. The columns are in per cent: ``none`` (the mean without anchors), ``difference`` (with
        minus without anchors, paired by seed), ``low`` and ``high`` (its 95 % t interval). ``verdict`` is the
        judgement. The shares of anchored features recovered with and without anchors, in per cent, are
        ``given_recovered`` and ``given_recovered_none``. Measures without values are left out.
    """
    rows = []
    keys = ["source", "method", "anchoring"]
    for key, cell in runs.groupby(keys, sort=False):
        for measure, better in MEASURES.items():
            with_, without = (100 * cell[name].to_numpy(float) for name in (measure, f"{measure}_none"))
            if np.isnan(with_).all():
                continue
            difference, low, high = paired_interval(with_ - without)
            rows.append(
                {
                    **dict(zip(keys, map(str, key), strict=True)),
                    "measure": measure,
                    "seeds": len(cell),
                    **{name: float(cell[name].mean()) for name in ("judged", "given")},
                    "none": float(without.mean()),
                    **{"difference": difference, "low": low, "high": high},
                    "verdict": verdict(with_, without, better),
                    **{name: 100 * float(cell[name].mean()) for name in ("given_recovered", "given_recovered_none")},
                }
            )
    return pd.DataFrame(rows)


def verdict(with_: np.ndarray, without: np.ndarray, better: int = 1) -> str:
    """Judge percentages with and without anchors, paired by seed.

    The verdict is "helps" if the 95 % t interval of the differences is on the better side of 0, and "harms" if it is on
    the other side. The verdict is "no power" if all values on both sides are 0, or all are 100, so that no difference
    could show. Otherwise it is "cannot tell".
    """
    values = np.concatenate([with_, without])
    if (values == 0).all() or (values == 100).all():
        return POWERLESS
    _, low, high = paired_interval(better * (with_ - without))
    return HELPS if low > 0 else HARMS if high < 0 else UNTOLD


def _name(name: str) -> str:
    return name.replace("_", " ")


def _cell_text(row: pd.Series) -> str:
    """Return the difference in points with its interval, and how many anchored features the runs recover."""
    text = f"{row['difference']:+.1f}\n{row['low']:+.1f} to {row['high']:+.1f}"
    if row["verdict"] == POWERLESS:
        text = f"both {row['none']:.0f} %"
    return text + (f"\nanchored: {row['given_recovered']:.0f} %" if row["measure"] == "recovery" else "")


def _regime(row: pd.Series) -> str:
    return f"{_name(row['source'])}, {label_method(row['method'])}"
