"""Test whether anchors help, from the table of finished runs. Written before the first scored run.

    python -m studies.anchoring_effect.judge

It reads `anchoring_effect_runs.csv` in resources/kept and writes, beside it,

- `anchoring_effect_effects.csv`: differences of two kinds of anchors in each condition, paired by seed;
- `anchoring_effect_settings.csv`: the same, averaged over the weights and numbers of anchors of a setting (source,
  method, clipping).

A difference has its mean over seeds, its 95 % t interval and its two-sided p value. Holm's correction counts all tests
that were planned, whether or not their runs are finished: in each of the first two tables, true against none, true
against random, and true against shuffled anchors, for one measure. The main measure is `recovery_90`.

The verdict on a condition: `helps` if true anchors beat none and beat random ones, both with corrected p below .05;
`any direction helps` if they beat none, but not random ones; `harms` if they are worse than none; else `not shown`.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from scipy import stats

from studies import KEPT
from studies.anchoring_effect.runs import SEEDS, scored_runs

MAIN = "recovery_90"
MEASURES = (
    *("recovery_80", "recovery_90", "recovery_95", "mip", "raw_encoder_95", "raw_encoder_mip", "fvu"),
    *("recovery_anchored_90", "recovery_beside_90", "recovery_apart_90"),
    *("start_feature_cosine", "start_recovered_both", "start_column_cosine"),
)
STARTS = tuple(name for name in MEASURES if name.startswith("start_"))
"""Measures of the second start."""
TESTED = ("true - none", "true - random", "true - shuffled")
CONTRASTS = (*TESTED, "random - none")
SETTING = ["source", "method", "clip"]
CONDITION = [*SETTING, "number", "weight"]
LEVEL = 0.05


def read_runs(path: Path) -> pd.DataFrame:
    return pd.read_csv(path, keep_default_na=False, na_values=[""])


def conditions() -> pd.DataFrame:
    """Return every planned condition with true anchors, in a row for each kind of anchors."""
    planned = [run for run in scored_runs() if run.anchors != "none" and run.start == 0]
    table = pd.DataFrame([{name: getattr(run, name) for name in (*CONDITION, "anchors")} for run in planned])
    has_true = table["anchors"].eq("true").groupby([table[name] for name in CONDITION]).transform("any")
    return table[has_true].drop_duplicates()


class Values:
    """Measures of the finished runs, by condition, kind of anchors and seed."""

    def __init__(self, runs: pd.DataFrame) -> None:
        self._rows: dict[tuple[Any, ...], dict[Any, Any]] = {}
        for row in runs.to_dict("records"):
            number, weight = (0, 0.0) if row["anchors"] == "none" else (row["number"], row["weight"])
            at = (*(row[name] for name in SETTING), number, weight, row["anchors"], row["start"], row["seed"])
            self._rows[at] = row

    def of_kind(self, condition: dict[Any, Any], kind: str, measure: str) -> dict[int, float]:
        """Return a measure by seed, of the runs of one kind of anchors in a condition."""
        left, *right = measure.split(" - ")
        number, weight = (0, 0.0) if kind == "none" else (condition["number"], condition["weight"])
        found = {}
        for seed in SEEDS:
            at = (*(condition[name] for name in SETTING), number, weight, kind, int(left in STARTS), seed)
            if (row := self._rows.get(at)) is not None:
                found[seed] = row[left] - row[right[0]] if right else row[left]
        return found


def differences(runs: Values, condition: dict[Any, Any], contrast: str, measure: str) -> pd.Series:
    """Return the differences of a contrast by seed, for the seeds that have both runs."""
    left, right = (runs.of_kind(condition, kind, measure) for kind in contrast.split(" - "))
    return pd.Series({seed: left[seed] - right[seed] for seed in left if seed in right}, dtype=float).dropna()


def summary(found: np.ndarray) -> dict[str, float]:
    """Return mean, 95 % t interval and two-sided p value of paired differences; NaN below 3 seeds."""
    found = np.asarray(found, float)
    empty = {"seeds": len(found), "mean": np.nan, "low": np.nan, "high": np.nan, "p": np.nan}
    if len(found) < 3:
        return empty | ({"mean": found.mean()} if len(found) else {})
    mean, error = found.mean(), found.std(ddof=1) / np.sqrt(len(found))
    reach = stats.t.ppf(1 - LEVEL / 2, len(found) - 1) * error
    p = float(mean == 0) if error == 0 else float(2 * stats.t.sf(abs(mean) / error, len(found) - 1))
    return {"seeds": len(found), "mean": mean, "low": mean - reach, "high": mean + reach, "p": p}


def holm(p: np.ndarray) -> np.ndarray:
    """Return Holm's corrected p values; a test without a p value counts, and stays NaN."""
    corrected, largest = np.full(len(p), np.nan), 0.0
    order = [index for index in np.argsort(p) if np.isfinite(p[index])]
    for rank, index in enumerate(order):
        largest = max(largest, min(1.0, (len(p) - rank) * p[index]))
        corrected[index] = largest
    return corrected


def made(contrast: str, planned: pd.DataFrame) -> bool:
    """Return whether the planned conditions have both kinds of anchors of a contrast."""
    return set(contrast.split(" - ")) <= {*planned.anchors, "none"}


def effects(runs: Values) -> pd.DataFrame:
    """Return a row for each condition, contrast and measure."""
    planned = conditions()
    rows = []
    for values, group in planned.groupby(CONDITION, sort=False):
        condition = dict(zip(CONDITION, values, strict=True))
        for contrast in CONTRASTS:
            if not made(contrast, group):
                continue
            for measure in MEASURES:
                found = differences(runs, condition, contrast, measure).to_numpy()
                rows.append(condition | {"contrast": contrast, "measure": measure} | summary(found))
    return corrected(pd.DataFrame(rows))


def settings(runs: Values) -> pd.DataFrame:
    """Return a row for each setting, contrast and measure: differences averaged over the setting's conditions.

    A seed counts if all conditions of the setting have it.
    """
    planned = conditions()
    rows = []
    for values, group in planned.groupby(SETTING, sort=False):
        for contrast in CONTRASTS:
            if not made(contrast, group):
                continue
            all_conditions = group[CONDITION].drop_duplicates().to_dict("records")
            for measure in MEASURES:
                each = [differences(runs, condition, contrast, measure) for condition in all_conditions]
                found = pd.concat(each, axis=1).dropna().mean(axis=1).to_numpy()
                cell = dict(zip(SETTING, values, strict=True))
                rows.append(cell | {"contrast": contrast, "measure": measure} | summary(found))
    return corrected(pd.DataFrame(rows))


def corrected(table: pd.DataFrame) -> pd.DataFrame:
    """Add Holm's p values, over the tests of each measure."""
    table["p_holm"] = np.nan
    for measure in MEASURES:
        family = (table.measure == measure) & table.contrast.isin(TESTED)
        table.loc[family, "p_holm"] = holm(table.loc[family, "p"].to_numpy(float))
    return table


def verdict(rows: pd.DataFrame) -> str:
    """Return the verdict on one condition or setting, from its rows of the main measure."""
    by_contrast = rows[rows.measure == MAIN].set_index("contrast")
    none, random = by_contrast.loc["true - none"], by_contrast.loc["true - random"]
    if none["seeds"] < len(SEEDS) or random["seeds"] < len(SEEDS):
        return "not complete"
    better, worse = (none["p_holm"] < LEVEL and sign * none["mean"] > 0 for sign in (1, -1))
    if better:
        return "helps" if random["p_holm"] < LEVEL and random["mean"] > 0 else "any direction helps"
    return "harms" if worse else "not shown"


def verdicts(table: pd.DataFrame, names: list[str]) -> pd.DataFrame:
    """Add the verdict of each condition or setting."""
    found = {values: verdict(group) for values, group in table.groupby(names, sort=False)}
    keys = pd.MultiIndex.from_frame(table[names])
    return table.assign(verdict=[found[key] for key in keys])


def tables() -> Iterator[tuple[str, pd.DataFrame]]:
    """Yield the name and the rows of each table."""
    runs = Values(read_runs(KEPT / "anchoring_effect_runs.csv"))
    yield "effects", verdicts(effects(runs), CONDITION)
    yield "settings", verdicts(settings(runs), SETTING)


def main() -> None:
    for name, table in tables():
        table.round(6).to_csv(KEPT / f"anchoring_effect_{name}.csv", index=False, lineterminator="\n")
        print(name, table.drop_duplicates().iloc[:, -1].value_counts().to_dict())


if __name__ == "__main__":
    main()
