"""A verdict on each of the paper's numbers, by one rule."""

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
import scipy.special

from sdlcore.study.results.tables import LEVEL
from sdlcore.study.verdicts.contradictions import TOLERANCE, Accusation, accusations, remark
from sdlcore.study.verdicts.evidence import PROTOCOL, Cell, Evidence, Place, cells, shortfall
from sdlcore.study.verdicts.paper import MEASURES, NUMBER_COLUMNS
from sdlcore.study.verdicts.readings import JUDGED, Reading, describe, question, questions

REPRODUCED = "reproduced"
NOT_REPRODUCED = "not reproduced"
INCONSISTENT = "inconsistent in the paper"
NOT_READ = "not run under this reading"
NOT_RUN = "not run at this scale"
VERDICTS = (REPRODUCED, NOT_REPRODUCED, INCONSISTENT, NOT_READ, NOT_RUN)
UNDECIDED = (NOT_READ, NOT_RUN)
"""What was not run has no verdict."""

L0_TOLERANCE = 0.05
"""Of our own L0."""

VERDICT_COLUMNS = [
    *NUMBER_COLUMNS,
    "ours",
    "low",
    "high",
    "seeds",
    "protocol",
    "reading",
    "verdict",
    "reason",
    "reproduced_under",
    "readings",
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
        ``protocol`` under ``reading``, in the paper's unit; ``low`` and ``high``, the `prediction_interval`; the
        verdict, one of `VERDICTS`, and its reason. ``reproduced_under`` names the readings that reproduce the number,
        of all ``readings`` under which there are runs at the paper's scale; readings that do not differ on a number
        count once. ``contradiction`` names what is wrong with the number in the paper under every reading, whatever
        was run. What is not at the paper's scale is shown, but not judged.
    """
    accused = accusations(numbers)
    rows = []
    for index, row in zip(numbers.index, numbers.to_dict("records"), strict=True):
        # NaN is no key that is found again
        value = row["value"] if row["parameter"] else math.nan
        place = Place(row["table"], row["method"], row["anchoring"], row["parameter"], value)
        asked = questions(row)
        found = {reading: cells(evidence, place, ask.n_anchors, ask.k) for ask, reading in asked.items()}
        rows.append(_judged(row, place, accused.get(int(str(index))), found))
    return pd.DataFrame(rows, columns=VERDICT_COLUMNS)


def _judged(
    row: Any, place: Place, accusation: Accusation | None, found: Mapping[Reading, Mapping[str, Cell]]
) -> dict[str, str | float]:
    measure, number, text = MEASURES[row["number"]], row["number"], next(iter(found))
    findings, excuse = accusation or Accusation([], "")
    wrong, inconsistent = "; ".join(finding.reason for finding in findings), bool(findings) and not excuse
    under = dict(_reproduced(row, found))
    readings = sum(bool(len(_judgeable(row, reading, runs))) for reading, runs in found.items())
    judged: dict[str, str | float] = {
        **{name: row[name] for name in NUMBER_COLUMNS},
        **dict.fromkeys(["ours", "low", "high"], math.nan),
        "seeds": 0,
        "protocol": "",
        "reading": JUDGED,
        "reproduced_under": "; ".join(under.pop(PROTOCOL, [])),
        "readings": readings,
        "contradiction": ", ".join(dict.fromkeys(finding.kind for finding in findings)) if inconsistent else "",
    }
    excused = f"under the text's reading, {wrong}; not so with {excuse}" if excuse else ""
    notes = [excused, remark(row), *(f"holds under protocol {name}: {'; '.join(told)}" for name, told in under.items())]
    runs = found[text]
    values = np.array([])
    if runs:
        cell = next(iter(runs.values()))
        values = _values(cell, row, text)
        judged["protocol"] = cell.protocol
    if len(values):
        low, high = prediction_interval(values, number)
        judged |= {"ours": values.mean(), "low": max(low, 0.0), "high": min(high, measure.most), "seeds": len(values)}
    lacking = shortfall(runs, place)
    if lacking or not len(values):
        if not lacking:
            lacking = [f"its runs have no {question(row, text).metric}"]
        notes = [f"{INCONSISTENT}: {wrong}" if inconsistent else "", *notes]
        verdict = NOT_READ if readings else NOT_RUN
        return judged | {"verdict": verdict, "reason": "; ".join(lacking), "note": _joined(notes)}
    good = matches(row["paper"], values, number)
    if inconsistent:
        would = f"would {'' if good else 'not '}have been reproduced"
        return judged | {"verdict": INCONSISTENT, "reason": wrong, "note": _joined([would, *notes])}
    within = "within" if good else "outside of"
    reason = f"{row['paper']:g} lies {within} {judged['low']:.4g} to {judged['high']:.4g}"
    if len(values) == 1:
        reason += " (one seed: our value and the tolerance)"
    verdict = REPRODUCED if good else NOT_REPRODUCED
    return judged | {"verdict": verdict, "reason": reason, "note": _joined(notes)}


def _values(cell: Cell, row: Any, reading: Reading) -> np.ndarray:
    """Return a run's value for each seed in the paper's unit, none where a run lacks it."""
    return cell.runs.values(question(row, reading).metric).to_numpy() * MEASURES[row["number"]].unit


def _judgeable(row: Any, reading: Reading, runs: Mapping[str, Cell], protocol: str = PROTOCOL) -> np.ndarray:
    """Return the values of a protocol's runs if they are at the paper's scale, none else."""
    cell = runs.get(protocol)
    return np.array([]) if cell is None or cell.differences else _values(cell, row, reading)


def _reproduced(row: Any, found: Mapping[Reading, Mapping[str, Cell]]) -> Iterator[tuple[str, list[str]]]:
    """Yield each protocol with the readings, in words, under which its runs reproduce a number."""
    for protocol in dict.fromkeys(name for runs in found.values() for name in runs):
        under = []
        for reading, runs in found.items():
            values = _judgeable(row, reading, runs, protocol)
            if len(values) and matches(row["paper"], values, row["number"]):
                under.append(describe(row, reading))
        if under:
            yield protocol, under


def _joined(notes: Sequence[str]) -> str:
    return "; ".join(note for note in notes if note)
