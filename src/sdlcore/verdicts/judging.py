"""A verdict on each of the paper's numbers, by one rule."""

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
import scipy.special

from sdlcore.verdicts.contradictions import TOLERANCE, Contradiction, contradictions, remark
from sdlcore.verdicts.evidence import PROTOCOL, Cell, Evidence, cells, shortfall
from sdlcore.verdicts.paper import MEASURES, NUMBER_COLUMNS, anchored, title

REPRODUCED = "reproduced"
NOT_REPRODUCED = "not reproduced"
INCONSISTENT = "inconsistent in the paper"
NOT_RUN = "not run at this scale"
VERDICTS = (REPRODUCED, NOT_REPRODUCED, INCONSISTENT, NOT_RUN)

LEVEL = 0.95
L0_TOLERANCE = 0.05
"""Of our own L0."""

VERDICT_COLUMNS = [
    *NUMBER_COLUMNS,
    "ours",
    "low",
    "high",
    "seeds",
    "protocol",
    "verdict",
    "reason",
    "contradiction",
    "note",
]


def prediction_interval(values: Sequence[float] | np.ndarray, number: str) -> tuple[float, float]:
    """Return where one more run of ours would fall, at least as wide as the tolerance.

    Parameters
    ----------
    values
        Of one run each, in the paper's unit; at least one.
    number
        Which of `paper.MEASURES`.

    Returns
    -------
    tuple
        Mean -+ the larger of t s sqrt(1 + 1/m), the 95 % prediction interval over m runs, and the tolerance: 2 points
        of recovery, .02 of MIP, 5 % of our mean L0. One run has no spread, so only the tolerance.
    """
    found = np.asarray(values, float)
    m, mean = len(found), float(found.mean())
    reach = TOLERANCE.get(number, L0_TOLERANCE * abs(mean))
    if m > 1:
        quantile = float(scipy.special.stdtrit(m - 1, (1 + LEVEL) / 2))
        reach = max(reach, quantile * float(found.std(ddof=1)) * math.sqrt(1 + 1 / m))
    return mean - reach, mean + reach


def matches(paper: float, values: Sequence[float] | np.ndarray, number: str) -> bool:
    """Tell whether a number of the paper could have been one more run of ours."""
    low, high = prediction_interval(values, number)
    # binary dust must not decide: .285 is .265 + .02
    return low - 1e-9 <= paper <= high + 1e-9


def verdicts(numbers: pd.DataFrame, evidence: Evidence) -> pd.DataFrame:
    """Return a verdict on each of the paper's numbers.

    Parameters
    ----------
    numbers
        As `paper.read_numbers` returns them.
    evidence
        Our runs. A table that was not run has its verdicts too.

    Returns
    -------
    DataFrame
        One row a number, with the columns `VERDICT_COLUMNS`: what the paper has; our mean over ``seeds`` runs of
        ``protocol``, by the paper's metric (rows of the encoder, tau = .9) and in its unit; ``low`` and ``high``, the
        `prediction_interval`; the verdict, one of `VERDICTS`, and its reason. ``contradiction`` names what is wrong
        with the number in the paper, whatever was run. What is not at the paper's scale is shown, but not judged.
    """
    wrong = contradictions(numbers)
    found: dict[tuple[Any, ...], dict[str, Cell]] = {}
    rows = []
    for index, row in numbers.iterrows():
        where = row["table"], row["method"], row["anchoring"], row["parameter"]
        # NaN is no key that is found again
        key = (*where, str(row["value"]))
        if key not in found:
            found[key] = cells(evidence, *where, row["value"])
        rows.append(_judged(row, wrong.get(int(str(index)), []), found[key]))
    return pd.DataFrame(rows, columns=VERDICT_COLUMNS)


def _judged(row: Any, wrong: Sequence[Contradiction], found: Mapping[str, Cell]) -> dict[str, Any]:
    measure, number = MEASURES[row["number"]], row["number"]
    who = f"{row['method']} {anchored(row['anchoring'])} in {title(row['table'])}"
    lacking = shortfall(found, who, row["parameter"], row["value"])
    told = "; ".join(finding.reason for finding in wrong)
    judged: dict[str, Any] = {
        **row[NUMBER_COLUMNS],
        **dict.fromkeys(["ours", "low", "high"], math.nan),
        "seeds": 0,
        "protocol": "",
        "contradiction": ", ".join(dict.fromkeys(finding.kind for finding in wrong)),
    }
    values = np.array([])
    if found:
        cell = next(iter(found.values()))
        values = _values(cell, row["number"], next(iter(measure.metrics)))
        judged["protocol"] = cell.protocol
    if len(values):
        low, high = prediction_interval(values, number)
        judged |= {"ours": values.mean(), "low": max(low, 0.0), "high": min(high, measure.most), "seeds": len(values)}
    elif found:
        lacking = [*lacking, f"its runs have no {measure.label}"]
    odd = remark(row)
    if lacking:
        notes = [f"{INCONSISTENT}: {told}" if told else "", odd]
        return judged | {"verdict": NOT_RUN, "reason": "; ".join(lacking), "note": _joined(notes)}
    good = matches(row["paper"], values, number)
    under = "" if good else "; ".join(f"holds under {name}" for name in _elsewhere(row, found))
    if told:
        would = f"would {'' if good else 'not '}have been reproduced"
        return judged | {"verdict": INCONSISTENT, "reason": told, "note": _joined([would, under, odd])}
    within = "within" if good else "outside of"
    reason = f"{row['paper']:g} lies {within} {judged['low']:.4g} to {judged['high']:.4g}"
    if len(values) == 1:
        reason += " (one seed: our value and the tolerance)"
    verdict = REPRODUCED if good else NOT_REPRODUCED
    return judged | {"verdict": verdict, "reason": reason, "note": _joined([under, odd])}


def _values(cell: Cell, number: str, what: str) -> np.ndarray:
    """Return a run's value for each seed in the paper's unit, none where a run lacks it."""
    measure = MEASURES[number]
    return cell.values(measure.metrics[what]).to_numpy() * measure.unit


def _elsewhere(row: Any, found: Mapping[str, Cell]) -> Iterator[str]:
    """Yield what else the number could be: another protocol, or another measure, at the same scale."""
    metrics = MEASURES[row["number"]].metrics
    for protocol, cell in found.items():
        for what in metrics:
            judged = protocol == PROTOCOL and what == next(iter(metrics))
            values = _values(cell, row["number"], what)
            if not judged and not cell.differences and len(values) and matches(row["paper"], values, row["number"]):
                yield f"protocol {protocol}" + (f", {what}" if len(metrics) > 1 else "")


def _joined(notes: Sequence[str]) -> str:
    return "; ".join(note for note in notes if note)
