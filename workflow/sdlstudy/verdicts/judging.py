"""The rule that compares the paper's numbers with our runs and gives each a verdict."""

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
import scipy.special

from sdlstudy.results.tables import LEVEL
from sdlstudy.verdicts.contradictions import TOLERANCE, Accusation, accusations, remark
from sdlstudy.verdicts.evidence import PROTOCOL, Cell, Evidence, Place, cells, shortfall
from sdlstudy.verdicts.paper import MEASURES, NUMBER_COLUMNS
from sdlstudy.verdicts.readings import JUDGED, Reading, describe, question, questions

REPRODUCED = "reproduced"
NOT_REPRODUCED = "not reproduced"
INCONSISTENT = "inconsistent in the paper"
NOT_READ = "not run under this reading"
NOT_RUN = "not run at this scale"
VERDICTS = (REPRODUCED, NOT_REPRODUCED, INCONSISTENT, NOT_READ, NOT_RUN)
UNDECIDED = (NOT_READ, NOT_RUN)

L0_TOLERANCE = 0.05
"""Tolerance of L0, as a share of our own mean L0."""

# the columns of verdicts.csv; `verdicts` explains them
VERDICT_COLUMNS = [*NUMBER_COLUMNS, "ours", "low", "high", "seeds", "protocol", "reading", "verdict", "reason"]
VERDICT_COLUMNS += ["reproduced_under", "readings", "contradiction", "note"]


def prediction_interval(values: Sequence[float] | np.ndarray, number: str) -> tuple[float, float]:
    """Return the prediction interval for one more run of ours, widened to the tolerance.

    Parameters
    ----------
    values
        One value for each run, at least one, in the paper's unit.
    number
        A key of `paper.MEASURES`.

    Returns
    -------
    tuple
        Mean -+ the larger of t s sqrt(1 + 1/m), the 95 % prediction interval over m runs, and the tolerance: 2 points
        of recovery, .02 of MIP, 5 % of our mean L0. A single run gives no spread, so only the tolerance counts.
    """
    array = np.asarray(values, float)
    m, mean = len(array), float(array.mean())
    reach = TOLERANCE.get(number, L0_TOLERANCE * abs(mean))
    if m > 1:
        quantile = float(scipy.special.stdtrit(m - 1, (1 + LEVEL) / 2))
        reach = max(reach, quantile * float(array.std(ddof=1)) * math.sqrt(1 + 1 / m))
    return mean - reach, mean + reach


def matches(paper: float, values: Sequence[float] | np.ndarray, number: str) -> bool:
    """Return whether a number of the paper could have been one more run of ours."""
    low, high = prediction_interval(values, number)
    # floating-point errors must not decide: .285 is .265 + .02
    return low - 1e-9 <= paper <= high + 1e-9


def verdicts(numbers: pd.DataFrame, evidence: Evidence) -> pd.DataFrame:
    """Return a verdict on each of the paper's numbers.

    Parameters
    ----------
    numbers
        As `paper.read_numbers` returns them.
    evidence
        Our runs. Numbers without runs get a verdict too.

    Returns
    -------
    DataFrame
        One row for each number with the columns `VERDICT_COLUMNS`.

        - ``ours``: our mean over ``seeds`` runs of ``protocol`` under ``reading``, in the paper's unit, also for runs
          at another scale, which are not judged. ``low`` and ``high`` are the `prediction_interval`.
        - ``verdict``: one of `VERDICTS`, with its ``reason``.
        - ``reproduced_under``: the readings that reproduce the number. ``readings`` counts the readings with runs at
          the paper's scale. Readings that give the number the same meaning count once.
        - ``contradiction``: the kinds of contradiction, if the number is inconsistent under every reading.
        - ``note``: further facts, such as the other protocols whose runs reproduce the number.
    """
    contradictions = accusations(numbers)
    rows = []
    for index, row in zip(numbers.index, numbers.to_dict("records"), strict=True):
        # always the same NaN object, so that rows without a value are equal as keys of the cache
        value = row["value"] if row["parameter"] else math.nan
        place = Place(row["table"], row["method"], row["anchoring"], row["parameter"], value)
        by_reading = {reading: cells(evidence, place, ask.n_anchors, ask.k) for ask, reading in questions(row).items()}
        rows.append(_judged(row, place, contradictions.get(int(str(index)), Accusation([], "")), by_reading))
    return pd.DataFrame(rows, columns=VERDICT_COLUMNS)


def _judged(
    row: Any, place: Place, accusation: Accusation, by_reading: Mapping[Reading, Mapping[str, Cell]]
) -> dict[str, str | float]:
    """Return a number's row of the table of verdicts.

    ``by_reading`` maps each reading, the judged one first, to the runs by protocol.
    """
    wrong = "; ".join(finding.reason for finding in accusation.findings)
    inconsistent = bool(wrong) and not accusation.excuse
    kinds = dict.fromkeys(finding.kind for finding in accusation.findings) if inconsistent else {}
    under = dict(_reproduced(row, by_reading))
    readings = sum(bool(len(_judgeable(row, reading, runs))) for reading, runs in by_reading.items())
    judged: dict[str, str | float] = {
        **{name: row[name] for name in NUMBER_COLUMNS},
        **dict.fromkeys(["ours", "low", "high"], math.nan),
        **{"seeds": 0, "protocol": "", "reading": JUDGED, "readings": readings},
        "reproduced_under": "; ".join(under.pop(PROTOCOL, [])),
        "contradiction": ", ".join(kinds),
    }
    reading, runs = next(iter(by_reading.items()))
    values = np.array([])
    if runs:
        cell = next(iter(runs.values()))
        values = _values(cell, row, reading)
        judged["protocol"] = cell.protocol
    if len(values):
        low, high = prediction_interval(values, row["number"])
        most = MEASURES[row["number"]].most
        judged |= {"ours": values.mean(), "low": max(low, 0.0), "high": min(high, most), "seeds": len(values)}

    good = bool(len(values)) and matches(row["paper"], values, row["number"])
    lacking = shortfall(runs, place) or ([] if len(values) else [f"its runs have no {question(row, reading).metric}"])
    first = ""
    if lacking:
        verdict, reason = NOT_READ if readings else NOT_RUN, "; ".join(lacking)
        first = f"{INCONSISTENT}: {wrong}" if inconsistent else ""
    elif inconsistent:
        verdict, reason = INCONSISTENT, wrong
        first = f"would {'' if good else 'not '}have been reproduced"
    else:
        verdict = REPRODUCED if good else NOT_REPRODUCED
        within = "within" if good else "outside of"
        reason = f"{row['paper']:g} lies {within} {judged['low']:.4g} to {judged['high']:.4g}"
        reason += " (one seed: our value and the tolerance)" if len(values) == 1 else ""
    excused = f"under the text's reading, {wrong}; not so with {accusation.excuse}" if accusation.excuse else ""
    other_protocols = [f"holds under protocol {name}: {'; '.join(names)}" for name, names in under.items()]
    note = "; ".join(text for text in (first, excused, remark(row), *other_protocols) if text)
    return judged | {"verdict": verdict, "reason": reason, "note": note}


def _values(cell: Cell, row: Any, reading: Reading) -> np.ndarray:
    """Return each seed's value in the paper's unit; empty if a run lacks the metric."""
    return cell.runs.values(question(row, reading).metric).to_numpy() * MEASURES[row["number"]].unit


def _judgeable(row: Any, reading: Reading, runs: Mapping[str, Cell], protocol: str = PROTOCOL) -> np.ndarray:
    """Return the values of a protocol's runs; empty if they are not at the paper's scale."""
    cell = runs.get(protocol)
    return np.array([]) if cell is None or cell.differences else _values(cell, row, reading)


def _reproduced(row: Any, by_reading: Mapping[Reading, Mapping[str, Cell]]) -> Iterator[tuple[str, list[str]]]:
    """Yield each protocol whose runs reproduce a number, with the readings, in words, under which they do."""
    for protocol in dict.fromkeys(name for runs in by_reading.values() for name in runs):
        under = []
        for reading, runs in by_reading.items():
            values = _judgeable(row, reading, runs, protocol)
            if len(values) and matches(row["paper"], values, row["number"]):
                under.append(describe(row, reading))
        if under:
            yield protocol, under
