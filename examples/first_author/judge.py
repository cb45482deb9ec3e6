"""Compare the recipe's dictionaries with Table 1 of the paper: a picture, and a table of reproduced numbers.

    python -m examples.first_author.judge docs/results/explain/first_author

All methods of a candidate are read at the same step. The step is chosen by the distance to Table 1's rows without
anchors, as docs/results/explain/README.md defines it; everything else is fixed.
"""

import sys
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from sdlcore.study.rendering.figures import PALETTE, save_png, style

PAPER = Path(__file__).parents[2] / "resources/paper/table1.csv"
METHODS = {
    "topk": "TopK SAE",
    "relu": "ReLU SAE",
    "jumprelu": "JumpReLU SAE",
    "transcoder": "Transcoder",
    "crosscoder": "Crosscoder",
}
"""Names of the recipe's methods in Table 1."""
COLOURS = dict(zip(METHODS, (PALETTE[place] for place in (0, 7, 5, 2, 4)), strict=True))
READINGS = {
    "encoder, inner products, .95": ("encoder_inner", 0.95),
    "encoder, inner products, .9": ("encoder_inner", 0.9),
    "encoder, cosines, .9": ("encoder_cosine", 0.9),
    "decoder, cosines, .95": ("decoder_cosine", 0.95),
    "decoder, inner products, .9": ("decoder_inner", 0.9),
    "mixed": ("decoder_cosine", 0.95),
}
"""Columns of recovery and MIP, and tau. The first was fixed before the first run, "mixed" after TopK's run."""
MIXED = {"transcoder": ("encoder_inner", 0.9), "crosscoder": ("encoder_inner", 0.9)}
"""The reading "mixed" for transcoders and crosscoders; for autoencoders it is in `READINGS`."""
EVERY = 50
"""Distance in steps between compared looks."""


def paper() -> pd.DataFrame:
    """Return Table 1 without anchors: a row for each of the recipe's methods, recovery as a share."""
    table = pd.read_csv(PAPER)
    table = table[table.anchoring == "none"].set_index("method")
    found = table.loc[list(METHODS.values())].set_axis(list(METHODS))
    return pd.DataFrame({"recovery": found.gt_recovery_percent / 100, "mip": found.mip, "l0": found.l0})


def tolerances(wanted: pd.Series) -> pd.Series:
    """Return 2 points of recovery, .02 of MIP and 5 % of L0."""
    return pd.Series({"recovery": 0.02, "mip": 0.02, "l0": 0.05 * wanted.l0})


def looks(folder: Path) -> pd.DataFrame:
    """Return all looks, also from unfinished runs. A candidate's name is its files' name without the method."""
    parts = []
    for path in sorted([*folder.glob("*.csv"), *folder.glob("*.csv.part")]):
        if path.name.startswith("reproduced") or not path.stat().st_size:
            continue
        rows = pd.read_csv(path)
        rows["candidate"] = path.name.split(".csv")[0].removeprefix(f"{rows.method[0]}_")
        parts.append(rows)
    return pd.concat(parts, ignore_index=True)


def interpolated(rows: pd.DataFrame) -> pd.DataFrame:
    """Return the columns of one run at every `EVERY` steps, by lines between its looks."""
    numbers = rows.set_index("step").select_dtypes("number")
    steps = np.arange(EVERY, numbers.index[-1] + 1, EVERY)
    return pd.DataFrame({name: np.interp(steps, numbers.index, numbers[name]) for name in numbers}, index=steps)


def errors(row: pd.Series, reading: str, wanted: pd.Series) -> pd.Series:
    """Return the errors of a look's three numbers, in tolerances."""
    column, tau = MIXED.get(str(wanted.name), READINGS[reading]) if reading == "mixed" else READINGS[reading]
    found = pd.Series({"recovery": row[f"{column}_{tau:g}"], "mip": row[f"{column}_mip"], "l0": row["l0"]})
    return (found - wanted).abs() / tolerances(wanted)


def reproduced(found: pd.DataFrame) -> pd.DataFrame:
    """Return, by candidate and reading, the step nearest to Table 1 and which numbers are reproduced there."""
    table, rows = paper(), []
    for candidate, runs in found.groupby("candidate"):
        between = {method: interpolated(run) for method, run in runs.groupby("method")}
        present = sorted(between, key=list(METHODS).index)
        common = set.intersection(*(set(run.index) for run in between.values()))
        for reading in READINGS:
            best: dict[str, object] | None = None
            for step in sorted(common):
                by = {method: errors(between[method].loc[step], reading, table.loc[method]) for method in present}
                distance = float(pd.concat(by).clip(upper=10).mean() / 10)
                if best is None or distance < float(best["distance"]):
                    names = [f"{method} {name}" for method in present for name, off in by[method].items() if off <= 1]
                    best = {"step": step, "distance": round(distance, 3)}
                    best |= {"reproduced": len(names), "of": 3 * len(present), "numbers": "; ".join(names)}
            if best is not None:
                rows.append({"candidate": candidate, "methods": " ".join(present), "reading": reading, **best})
    return pd.DataFrame(rows)


def draw(found: pd.DataFrame, path: Path) -> None:
    """Draw recovery and MIP of encoder and decoder, and L0, over epochs; the paper's values are dashed lines."""
    table = paper()
    panels = {
        "A": ("encoder rows, raw inner products above .9", "encoder_inner_0.9", "recovery"),
        "B": ("decoder columns, cosines above .95", "decoder_cosine_0.95", "recovery"),
        "C": ("encoder rows, raw inner products", "encoder_inner_mip", "mip"),
        "D": ("decoder columns, cosines", "decoder_cosine_mip", "mip"),
        "E": ("active latents", "l0", "l0"),
    }
    with style():
        figure = Figure(figsize=(9.6, 8.4), layout="constrained")
        for name, axes in figure.subplot_mosaic("AB;CD;EE", sharex=True).items():
            title, column, quantity = panels[name]
            for method, rows in found.groupby("method"):
                axes.plot(rows.epoch, rows[column], color=COLOURS[method], marker=".", label=METHODS[method])
                axes.axhline(table.loc[method, quantity], color=COLOURS[method], linestyle="--", linewidth=1)
            axes.set_title(title, fontsize=9)
            axes.set_ylabel({"recovery": "features", "mip": "MIP", "l0": "L0"}[quantity])
        axes.set_yscale("log")
        axes.set_xlabel("epochs of 3,125 steps; dashed: the paper's Table 1")
        axes.legend(fontsize=8)
    save_png(figure, path)


def main() -> None:
    folder = Path(sys.argv[1])
    found = looks(folder)
    table = reproduced(found)
    table.to_csv(folder / "reproduced.csv", index=False)
    print(table.to_string(index=False))
    for candidate, rows in found.groupby("candidate"):
        draw(rows, folder / f"{candidate}.png")


if __name__ == "__main__":
    main()
