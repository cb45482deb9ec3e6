"""Compare looks at the recipe's dictionaries with Table 1 of the paper: a picture, and a table of what is reproduced.

    python -m examples.first_author.judge docs/results/explain/first_author

All methods of a candidate are read at the same step. The step is chosen by the distance to Table 1's rows without
anchors, as docs/results/explain/README.md defines it; everything else is fixed.
"""

import sys
from pathlib import Path

import matplotlib.pyplot as plt
import pandas as pd

PAPER = Path(__file__).parents[2] / "resources/paper/table1.csv"
METHODS = {
    "topk": "TopK SAE",
    "relu": "ReLU SAE",
    "jumprelu": "JumpReLU SAE",
    "transcoder": "Transcoder",
    "crosscoder": "Crosscoder",
}
"""Names of the recipe's methods in Table 1."""
COLOURS = dict(zip(METHODS, ("C0", "C1", "C5", "C2", "C3"), strict=True))
READINGS = {
    "encoder, inner products, .95": ("encoder_inner", 0.95),
    "encoder, inner products, .9": ("encoder_inner", 0.9),
    "encoder, cosines, .9": ("encoder_cosine", 0.9),
    "decoder, cosines, .95": ("decoder_cosine", 0.95),
    "decoder, inner products, .9": ("decoder_inner", 0.9),
    "mixed": ("decoder_cosine", 0.95),
}
"""Where recovery and MIP are read, and tau. The first was fixed before the first run, mixed after TopK's."""
MIXED = {"transcoder": ("encoder_inner", 0.9), "crosscoder": ("encoder_inner", 0.9)}
"""How mixed reads these; autoencoders by the decoder."""


def paper() -> pd.DataFrame:
    """Return Table 1 without anchors: a row for each method of the recipe, recovery as a share."""
    table = pd.read_csv(PAPER)
    table = table[table.anchoring == "none"].set_index("method")
    found = table.loc[list(METHODS.values())].set_axis(list(METHODS))
    return pd.DataFrame({"recovery": found.gt_recovery_percent / 100, "mip": found.mip, "l0": found.l0})


def tolerances(wanted: pd.Series) -> pd.Series:
    """Return 2 points of recovery, .02 of MIP and 5 % of L0."""
    return pd.Series({"recovery": 0.02, "mip": 0.02, "l0": 0.05 * wanted.l0})


def looks(folder: Path) -> pd.DataFrame:
    """Return all looks, of unfinished runs too, with the name of each run's candidate: its file without the method."""
    parts = []
    for path in sorted([*folder.glob("*.csv"), *folder.glob("*.csv.part")]):
        if path.name.startswith("reproduced"):
            continue
        rows = pd.read_csv(path)
        rows["candidate"] = path.name.split(".csv")[0].removeprefix(f"{rows.method[0]}_")
        parts.append(rows)
    return pd.concat(parts, ignore_index=True)


def errors(row: pd.Series, reading: str, wanted: pd.Series) -> pd.Series:
    """Return the errors of a look's three numbers, in tolerances."""
    column, tau = MIXED.get(str(wanted.name), READINGS[reading]) if reading == "mixed" else READINGS[reading]
    found = pd.Series({"recovery": row[f"{column}_{tau:g}"], "mip": row[f"{column}_mip"], "l0": row["l0"]})
    return (found - wanted).abs() / tolerances(wanted)


def reproduced(found: pd.DataFrame) -> pd.DataFrame:
    """Return, by candidate and reading, the step nearest to Table 1 and which numbers are reproduced there."""
    table, rows = paper(), []
    for candidate, of in found[found.step > 0].groupby("candidate"):
        present = sorted(set(of.method), key=list(METHODS).index)
        common = set.intersection(*(set(part.step) for _, part in of.groupby("method")))
        for reading in READINGS:
            best: dict[str, object] | None = None
            for step in sorted(common):
                at = of[of.step == step].set_index("method")
                by = {method: errors(at.loc[method], reading, table.loc[method]) for method in present}
                distance = float(pd.concat(by).clip(upper=10).mean() / 10)
                if best is None or distance < float(best["distance"]):
                    names = [f"{method} {name}" for method in present for name, off in by[method].items() if off <= 1]
                    best = {"step": step, "epoch": at.epoch.iloc[0], "distance": round(distance, 3)}
                    best |= {"reproduced": len(names), "of": 3 * len(present), "numbers": "; ".join(names)}
            if best is not None:
                rows.append({"candidate": candidate, "methods": " ".join(present), "reading": reading, **best})
    return pd.DataFrame(rows)


def draw(found: pd.DataFrame, candidates: list[str], path: Path) -> None:
    """Draw recovery, MIP and L0 over epochs, a column for each candidate, with the paper's values as dashed lines."""
    table = paper()
    columns = {"recovery": "encoder_inner_0.95", "mip": "encoder_inner_mip", "l0": "l0"}
    titles = {"recovery": "features above .95", "mip": "MIP", "l0": "active latents"}
    figure, axes = plt.subplots(3, len(candidates), figsize=(5 * len(candidates), 9), sharex="col", squeeze=False)
    for across, candidate in enumerate(candidates):
        for down, (quantity, column) in enumerate(columns.items()):
            axis = axes[down][across]
            for method, rows in found[found.candidate == candidate].groupby("method"):
                axis.plot(rows.epoch, rows[column], color=COLOURS[method], label=METHODS[method])
                axis.axhline(table.loc[method, quantity], color=COLOURS[method], ls="--", lw=1)
            if quantity == "l0":
                axis.set_yscale("log")
                axis.set_xlabel("epochs")
            axis.set_ylabel(titles[quantity])
        axes[0][across].set_title(candidate)
        axes[0][across].legend(fontsize=8)
    figure.tight_layout()
    figure.savefig(path, dpi=110)


def main() -> None:
    folder = Path(sys.argv[1])
    found = looks(folder)
    table = reproduced(found)
    table.to_csv(folder / "reproduced.csv", index=False)
    print(table.to_string(index=False))
    counted = found.groupby("candidate").method.nunique().sort_values(ascending=False)
    draw(found, list(counted.index[:2]), folder / "curves.png")


if __name__ == "__main__":
    main()
