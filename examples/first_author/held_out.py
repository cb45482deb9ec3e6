"""Count how many of the paper's numbers the first author's recipe reproduces, on rows that nothing was fitted on.

    python -m examples.first_author.held_out docs/results/explain

Learning rate, step and reading of the recipe were fitted on four rows of the paper's Table 1. The other rows were not:
Table 1 with anchors, its BatchTopK, and Tables 4 to 7, as far as we trained them. The recipe's dictionaries are read
at step 2,350: autoencoders by cosines of decoder columns, transcoders and crosscoders by inner products of encoder rows
(`judge.MIXED`). Anchored features do not count. A number is reproduced within the tolerances of `judge.tolerance`.

Writes ``first_author/held_out.csv`` (all numbers) and ``first_author/held_out_counts.csv`` (counts, beside guesses) in
the given folder, and ``resources/paper/nearest_protocol.csv``, which the report shows beside the paper's numbers.
"""

import sys
from pathlib import Path

import numpy as np
import pandas as pd

from examples.first_author import judge

STEP, LR, K = 2350, 1e-3, 64
METHODS = judge.METHODS | {"batchtopk": "BatchTopK SAE", "matryoshka": "Matryoshka SAE"}
VARIED = {"table4": "n", "table5": "max_interference", "table6": "paper_S", "table7": "k"}
"""Table of the paper -> what it varies. Table 1 varies nothing; its value is 0 here."""
FITTED = ("table1", "none", ("topk", "transcoder", "crosscoder", "relu"))
"""Rows of Table 1 that step, rate and reading were chosen by."""
SAME = {("table5", 0.5): ("table5", 0.2), ("table7", 64.0): ("table1", 0.0)}
"""Settings with the bench and training of another: random features satisfy M = .2 and .5, and Table 1 has k = 64. So
rows without anchors have one run. With anchors the second pair differs, in the number of anchors."""
SEARCH = {
    "A": (160, ("decoder_inner", 0.9), ["stage4", "table4", "table5", "table6", "table7"]),
    "B": (480, ("decoder_cosine", 0.97), ["stage3b", "stage4b", "table5b", "table6b", "table7b"]),
}
"""Protocol of the search -> its step, its reading, and the stages that trained it; other stages' are Table 1's."""
KEYS = ["table", "value", "method", "anchoring"]
NUMBERS = ["recovery", "mip", "l0"]
RESOURCES = judge.PAPER.parent


def paper() -> pd.DataFrame:
    """Return all rows of Tables 1 and 4 to 7 without repeated ones, recovery as a share."""
    parts = []
    for table in ("table1", *VARIED):
        rows = pd.read_csv(RESOURCES / f"{table}.csv").rename(columns={VARIED.get(table, ""): "value"})
        parts.append(rows.assign(table=table, recovery=rows.gt_recovery_percent / 100))
    whole = pd.concat(parts, ignore_index=True).fillna({"value": 0.0})
    whole["method"] = whole.method.map({title: name for name, title in METHODS.items()})
    repeated = (whole.table == "table6") & (whole.value == 0.01)
    return whole[~repeated].set_index(KEYS)[NUMBERS]


def read(row: pd.Series, method: str) -> list[float]:
    """Return recovery, MIP and L0 of a look under the mixed reading."""
    column, tau = judge.MIXED.get(method, judge.READINGS["mixed"])
    return [row[f"{column}_{tau:g}"], row[f"{column}_mip"], row["l0"]]


def recipe(folder: Path) -> pd.DataFrame:
    """Return the recipe's numbers at its step, a row for each run; names of held-out files say the paper's row.

    Of other runs, those with another k than Table 1's belong to Table 7.
    """
    rows = []
    for path in sorted((folder / "held_out").glob("table*.csv")):
        table, method, value, anchoring, seed = path.stem.split("_")
        look = judge.interpolated(pd.read_csv(path)).loc[STEP]
        rows.append([table, float(value), method, anchoring, int(seed), *read(look, method)])
    for path in sorted(folder.glob("*.csv")):
        method, _, rest = path.stem.partition("_")
        if method in METHODS and rest.split("_")[0] == "lr1e-3":
            run = pd.read_csv(path)
            look, k = judge.interpolated(run).loc[STEP], float(run.k[0])
            row = ["table1", 0.0] if k == K else ["table7", k]
            if k == K or method == "topk":
                rows.append([*row, method, "none", int(run.seed[0]), *read(look, method)])
    found = pd.DataFrame(rows, columns=[*KEYS, "seed", *NUMBERS])
    found = found.drop_duplicates([*KEYS, "seed"])  # a longer run of the same training, beside the held-out one
    again = []
    for (table, value), (of_table, of_value) in SAME.items():
        same = found[(found.table == of_table) & (found.value == of_value)]
        if table == "table7":
            same = same[(same.anchoring == "none") & (same.method == "topk")]
        again.append(same.assign(table=table, value=value))
    return pd.concat([found, *again], ignore_index=True)


def searched(folder: Path, name: str) -> pd.DataFrame:
    """Return a protocol's numbers at its fixed step under its fixed reading, means over seeds."""
    step, (column, tau), stages = SEARCH[name]
    parts = []
    for stage in stages:
        rows = pd.read_csv(folder / f"explain_{stage}.csv")
        table = stage[:6] if stage.startswith("table") else "table1"
        parts.append(rows[rows.step == step].assign(table=table))
    looks = pd.concat(parts, ignore_index=True).fillna({"value": 0.0})
    looks = looks.drop_duplicates(["table", "value", "method", "anchored", "seed"])
    looks["anchoring"] = np.where(looks.anchored, "anchored", "none")
    looks = looks.assign(recovery=looks[f"{column}_{tau:g}"], mip=looks[f"{column}_mip"], l0=looks.l0_0)
    return looks.groupby(KEYS)[NUMBERS].mean()


def constant(numbers: pd.DataFrame) -> pd.Series:
    """Return the recovery, MIP and L0 that reproduce most of the given rows; the middle of the widest such range."""
    found = {}
    for name in NUMBERS:
        reach = numbers[name].map(lambda value, name=name: judge.tolerance(name, value))
        low, high = numbers[name] - reach, numbers[name] + reach
        ranges = []
        for start in low:
            covered = (low <= start) & (start <= high)
            ranges.append((covered.sum(), high[covered].min() - start, start))
        _, width, start = max(ranges)
        found[name] = start + width / 2
    return pd.Series(found)


def compared(folder: Path) -> pd.DataFrame:
    """Return the held-out numbers that the recipe has, beside the paper's, the searched protocols' and the baselines'.

    A row is a number. ``constant`` is fitted on all of Table 1's rows without anchors; ``table1`` repeats the method's
    row there, and has no value where that is the row itself.
    """
    wanted, ours = paper(), recipe(folder / "first_author")
    means = ours.groupby(KEYS)[NUMBERS].mean()
    plain = wanted.xs(("table1", 0.0, "none"), level=("table", "value", "anchoring"))
    best = constant(plain)
    others = {name: searched(folder, name) for name in SEARCH}
    rows = []
    for key in wanted.index.intersection(means.index):
        table, _, method, anchoring = key
        itself = (table, anchoring) == FITTED[:2]
        if itself and method in FITTED[2]:
            continue
        seeds = len(ours[(ours[KEYS] == list(key)).all(axis=1)])
        for name in NUMBERS:
            value = wanted.loc[key, name]
            if pd.isna(value):
                continue
            row = dict(zip(KEYS, key, strict=True)) | {"number": name, "seeds": seeds, "paper": value}
            row |= {
                "recipe": means.loc[key, name],
                "constant": best[name],
                "table1": np.nan if itself else plain.loc[method, name],
            }
            row |= {"complete": 1.0 if name != "l0" else np.nan}
            row |= {other: found.loc[key, name] if key in found.index else np.nan for other, found in others.items()}
            rows.append(row)
    return pd.DataFrame(rows)


CANDIDATES = ["recipe", "table1", "constant", "complete", *SEARCH]


def counts(numbers: pd.DataFrame) -> pd.DataFrame:
    """Return, for each table and kind of number, how many each candidate reproduces; a missing number is not."""
    reach = np.array([judge.tolerance(*each) for each in zip(numbers.number, numbers.paper, strict=True)]) + 1e-9
    given = numbers[CANDIDATES].sub(numbers.paper, axis=0).abs().le(reach, axis=0)
    given.insert(0, "of", 1)
    found = pd.concat([numbers[["table", "number"]], given], axis=1).groupby(["table", "number"]).sum()
    return found.reset_index()


def nearest(folder: Path) -> pd.DataFrame:
    """Return the recipe's numbers in Table 1's format, means over seeds, for the report."""
    table = pd.read_csv(judge.PAPER)[["method", "anchoring"]]
    means = recipe(folder / "first_author").groupby(KEYS)[NUMBERS].mean().loc[("table1", 0.0)].reset_index()
    means = means.assign(method=means.method.map(METHODS), gt_recovery_percent=100 * means.recovery)
    found = table.merge(means, how="inner", on=["method", "anchoring"])
    return found[["method", "anchoring", "gt_recovery_percent", "mip", "l0"]].round(4)


def main() -> None:
    folder = Path(sys.argv[1])
    numbers = compared(folder)
    numbers.round(4).to_csv(folder / "first_author/held_out.csv", index=False)
    table = counts(numbers)
    table.to_csv(folder / "first_author/held_out_counts.csv", index=False)
    nearest(folder).to_csv(RESOURCES / "nearest_protocol.csv", index=False)
    print(numbers.round(3).to_string(index=False))
    print(table.to_string(index=False))
    print(table.groupby("number").sum(numeric_only=True))


if __name__ == "__main__":
    main()
