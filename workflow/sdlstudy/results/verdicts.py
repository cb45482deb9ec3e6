"""Compare each number of the paper with our runs: ours with its interval, inside or not, our decoder, and a reason.

The paper does not define its numbers completely. This module follows the paper's later revision: encoder rows matched
by inner products, tau = .95, and Table 1's anchored rows scored on the features that are not anchors (docs/paper.md).
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
import scipy.special

from sdlstudy.results.runs import KEY
from sdlstudy.results.tables import LEVEL, PAPER_ANCHORINGS
from sdlstudy.settings.cells import Cell, run_settings
from sdlstudy.settings.study import Anchoring, Study

RECOVERY_NUMBER, MIP_NUMBER, L0_NUMBER = "gt_recovery_percent", "mip", "l0"
COLUMNS = ["table", "method", "anchoring", "protocol", "value", "number", "paper"]
COLUMNS += ["ours", "low", "high", "seeds", "inside", "decoder", "reason"]
"""The columns of tableN_verdicts.csv; `judge` explains them."""

TOLERANCE = {RECOVERY_NUMBER: 2.0, MIP_NUMBER: 0.02, L0_NUMBER: 0.05}
"""Smallest half-width of an interval, in the paper's unit; for L0 as a share of our mean."""
UNITS = {RECOVERY_NUMBER: 100.0, MIP_NUMBER: 1.0, L0_NUMBER: 1.0}
"""Factors from our values to the paper's."""

SWEPT = {"table4": "n", "table5": "max_interference", "table6": "sparsity", "table7": "k"}
"""Table -> the parameter that it varies."""
WITHOUT_K = ("ReLU SAE", "JumpReLU SAE")
BENCH = {
    **{"n": 1000, "n_p": 768, "n_r": 768, "n_q": 16_000, "sparsity": 0.99, "max_interference": 0.1},
    **{"train_samples": 100_000, "k": 64, "frequency_exponent": None, "correlation": None, "noise": None},
    **{"hierarchy": None, "seed_leak": None},
}
"""The paper's settings of Tables 1 and 4 to 7; k follows from the L0 of BatchTopK, 65.0. None: the paper has no such
setting, so ours must be off."""
CLIP = {"n_q": 16_384, "k": 64, "pretrained": "openai", "embedding": "pooled"}
"""The paper's settings of Table 2."""
ANCHORS = {"table1": (30, 0.1), "table2": (30, 1.0)}
"""Table -> the number of anchors and their weight. Table 1's anchored recoveries are whole numbers out of 970."""
OTHER_ANCHORS = (100, 0.1)


def prediction_interval(values: Sequence[float] | np.ndarray, number: str) -> tuple[float, float]:
    """Return the prediction interval for one more run of ours, widened to the tolerance.

    Parameters
    ----------
    values
        One value for each run, at least one, in the paper's unit.
    number
        A key of `TOLERANCE`.

    Returns
    -------
    tuple
        Mean -+ the larger of t s sqrt(1 + 1/m), the 95 % prediction interval over m runs, and the tolerance: 2 points
        of recovery, .02 of MIP, 5 % of our mean L0. A single run has no spread, so only the tolerance counts.
    """
    array = np.asarray(values, float)
    m, mean = len(array), float(array.mean())
    reach = TOLERANCE[number] * (abs(mean) if number == L0_NUMBER else 1.0)
    if m > 1:
        quantile = float(scipy.special.stdtrit(m - 1, (1 + LEVEL) / 2))
        reach = max(reach, quantile * float(array.std(ddof=1)) * math.sqrt(1 + 1 / m))
    return mean - reach, mean + reach


def metrics_of(table: str, anchoring: str, number: str) -> tuple[str, str | None]:
    """Return our metric for a number of the paper, and the same by cosines of decoder columns at tau = .9.

    The second is None for L0.
    """
    if number == L0_NUMBER:
        return "l0", None
    others = table == "table1" and anchoring != "none"
    features = "_unanchored" if others else ""
    if number == MIP_NUMBER:
        return f"mip_encoder_raw{features}", f"mip_decoder{features}"
    return f"gt_recovery_encoder_raw{features}_tau95", f"gt_recovery_decoder{features}"


def judge(table: str, numbers: pd.DataFrame, runs: pd.DataFrame, study: Study | None = None) -> pd.DataFrame:
    """Compare the paper's numbers with the runs of one table.

    Parameters
    ----------
    table
        The paper's table, such as ``table1``.
    numbers
        The paper's numbers, ``resources/paper/numbers.csv``: table, method, anchoring, value (the printed value of the
        parameter that the table varies), number, paper, and contradicts (the number or the definition of the paper that
        this number contradicts under every reading).
    runs
        As `sdlstudy.results.tables.runs_over` returns them.
    study
        The configuration of the runs; None for runs that are known to be at the paper's scale.

    Returns
    -------
    DataFrame
        One row for each number and protocol with the columns `COLUMNS`.

        - ``ours``: our mean over ``seeds`` runs in the paper's unit; ``low`` and ``high`` are its
          `prediction_interval`.
        - ``inside``: whether the interval contains the paper's number; empty for runs at another scale.
        - ``decoder``: the same for our decoder columns, by cosines above .9; empty for L0.
        - ``reason``: what contradicts the number in the paper, how the runs' scale differs, or why there is no value.
    """
    runs = runs.assign(paper_value=runs["paper_value"].astype(float) if "paper_value" in runs else math.nan)
    numbers = numbers.fillna({"contradicts": ""})
    keys = ["paper_method", "anchoring", "protocol", "paper_value"]
    rows = []
    place: Any
    for place, group in runs.groupby(keys, sort=False, dropna=False):
        method, anchoring, protocol, value = place
        same_row = numbers["anchoring"].eq(PAPER_ANCHORINGS.get(anchoring, "")) & numbers["method"].eq(method)
        same_value = numbers["value"].isna() if math.isnan(value) else np.isclose(numbers["value"], value)
        printed = numbers[numbers["table"].eq(table) & same_row & same_value]
        other_scale = [] if study is None or printed.empty else list(scale_differences(study, table, group.iloc[0]))
        for row in printed.to_dict("records"):
            names = {"table": table, "method": method, "anchoring": anchoring, "protocol": protocol, "value": value}
            rows.append({**names, **_compared(row, anchoring, group, other_scale)})
    return pd.DataFrame(rows, columns=COLUMNS)


def _compared(row: Mapping[Any, Any], anchoring: str, runs: pd.DataFrame, other_scale: Sequence[str]) -> dict[str, Any]:
    """Return the columns of one number from ``number`` on."""
    number, paper = row["number"], float(row["paper"])
    metric, decoder = metrics_of(row["table"], anchoring, number)
    values = runs[metric].to_numpy(float) * UNITS[number] if metric in runs else np.array([math.nan])
    reasons = [f"contradicts the paper: {row['contradicts']}"] if row["contradicts"] else []
    compared: dict[str, Any] = {"number": number, "paper": paper, "seeds": len(runs)}
    if decoder is not None and decoder in runs:
        compared["decoder"] = runs[decoder].mean() * UNITS[number]
    if np.isnan(values).any():
        return compared | {"seeds": 0, "reason": "; ".join([*reasons, f"the runs have no {metric}"])}
    low, high = prediction_interval(values, number)
    compared |= {
        "ours": values.mean(),
        "low": max(low, 0.0),
        "high": min(high, 100.0) if number == RECOVERY_NUMBER else high,
    }
    if other_scale:
        reasons.append(f"another scale: {', '.join(other_scale)}")
    else:
        # floating-point errors must not decide: .285 is .265 + .02
        compared["inside"] = low - 1e-9 <= paper <= high + 1e-9
        reasons += ["one seed, so the interval is the tolerance"] if len(values) == 1 else []
    return compared | {"reason": "; ".join(reasons)}


def scale_differences(study: Study, table: str, run: pd.Series) -> Iterator[str]:
    """Yield how a run's settings differ from the paper's, such as ``n 128, the paper's 1000``.

    The length of training and Matryoshka's smaller k are not compared, because the paper does not state them.
    """
    cell = Cell(**{name: run[name] for name in KEY[:-1]}, seed=int(run["seed"]))
    source, settings = study.source(cell.source), run_settings(study, cell).to_dict()
    expected: dict[str, Any] = dict(CLIP if table == "table2" else BENCH)
    if source.kind != ("clip" if table == "table2" else "bench"):
        yield f"source of kind {source.kind}"
        return
    if table in SWEPT:
        printed = float(run["paper_value"])
        # Table 6 prints the share of samples that activate a feature
        expected[SWEPT[table]] = round(1 - printed, 9) if table == "table6" else printed
    if run["paper_method"] in WITHOUT_K:
        del expected["k"]
    if settings.get("pair") == "sae":
        expected.pop("n_r", None)
    ours = {**dict(source), "n_q": settings.get("n_q"), "k": settings.get("k")}
    if table == "table2" and not (ours["model"].startswith("ViT-B-32") and "imagenet" in ours["images"].lower()):
        yield f"{ours['model']} on {ours['images']}, the paper's ViT-B/32 on ImageNet-1K"
    if cell.anchoring != "none":
        n_anchors, weight = ANCHORS.get(table, OTHER_ANCHORS)
        ours |= dict(study.anchorings[cell.anchoring])
        expected |= {**dict.fromkeys(Anchoring.model_fields), "n_anchors": n_anchors, "lambda_anchor": weight}
    for name, papers in expected.items():
        if not _same(ours[name], papers):
            yield f"{name} {ours[name]}, the paper's {'none' if papers is None else papers}"


def _same(ours: Any, papers: Any) -> bool:
    """Return whether a setting is the paper's; None means that the setting is off."""
    if papers is None or ours is None or isinstance(papers, str):
        return ours == papers or (papers is None and not ours)
    return abs(ours - papers) <= 1e-9
