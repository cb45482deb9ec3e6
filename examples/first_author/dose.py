"""Draw the effect of anchoring over its weight, on features that are not anchored.

    snakemake anchoring_map --cores all --configfile config/dose.yaml
    python -m examples.first_author.dose results/dose/tables/anchoring_map_runs.csv docs/results/explain/first_author

The pipeline pairs each anchored run with the run of the same seed without anchors. This averages the differences over
seeds, with 95 % t intervals.
"""

import sys
from pathlib import Path

import pandas as pd
from matplotlib.figure import Figure

from sdlcore import paired_interval
from sdlstudy.rendering.figures import GREY, PALETTE, save_png, style
from sdlstudy.rendering.labels import label_method, label_source
from sdlstudy.results.tables import write_csv

MEASURES = {
    "recovery": ("recovery of features that are not anchored\n(points more than without anchoring)", 100),
    "fvu": ("unexplained variance\n(points more than without anchoring)", 100),
}
"""Column of the runs -> title of its panel, and factor."""
PAPER = (0.1, 9.6)
"""Weights in our loss, a sum over dimensions, that equal the paper's .1: if its loss is a sum too, and if it is a mean
over the 96 dimensions."""


def dose(runs: pd.DataFrame) -> pd.DataFrame:
    """Return a row for each regime and weight: mean without anchors, paired difference and its 95 % t interval."""
    rows = []
    for (source, method, weight), cell in runs.groupby(["source", "method", "lambda_anchor"], sort=False):
        row = {"source": source, "method": method, "lambda_anchor": weight, "seeds": len(cell)}
        for measure in MEASURES:
            without = cell[f"{measure}_none"].to_numpy(float)
            difference, low, high = paired_interval(cell[measure].to_numpy(float) - without)
            row |= {f"{measure}_none": without.mean(), measure: difference}
            row |= {f"{measure}_low": low, f"{measure}_high": high}
        rows.append(row | {"anchored_recovered": cell["given_recovered"].mean()})
    return pd.DataFrame(rows).sort_values(["source", "method", "lambda_anchor"], ignore_index=True)


def draw(table: pd.DataFrame) -> Figure:
    """Draw both measures over the weight, a line with its interval for each regime."""
    with style():
        figure = Figure(figsize=(9.6, 4.2), layout="constrained")
        for axes, (measure, (title, factor)) in zip(figure.subplots(1, 2), MEASURES.items(), strict=True):
            for colour, ((source, method), rows) in zip(PALETTE, table.groupby(["source", "method"]), strict=False):
                without = f"{100 * rows.recovery_none.mean():.0f} % without anchors"
                label = f"{label_method(method)}, {label_source(source)} ({without})"
                axes.plot(rows.lambda_anchor, factor * rows[measure], color=colour, marker=".", label=label)
                low, high = factor * rows[f"{measure}_low"], factor * rows[f"{measure}_high"]
                axes.fill_between(rows.lambda_anchor, low, high, color=colour, alpha=0.2, linewidth=0)
            axes.axhline(0, color=GREY, linewidth=1)
            for weight in PAPER:
                axes.axvline(weight, color=GREY, linestyle="--", linewidth=1)
            axes.set(
                xscale="log",
                xlabel="weight of anchors, lambda\n(dashed: the paper's .1, if its loss is a sum or a mean)",
            )
            axes.set_title(title, fontsize=9)
        handles, labels = axes.get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside lower center", ncols=2, fontsize=8)
    return figure


def main() -> None:
    runs, folder = Path(sys.argv[1]), Path(sys.argv[2])
    table = dose(pd.read_csv(runs))
    write_csv(folder / "anchoring_dose.csv", table.round(5))
    save_png(draw(table), folder / "anchoring_dose.png")
    print(table.round(3).to_string(index=False))


if __name__ == "__main__":
    main()
