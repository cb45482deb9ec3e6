"""Where the paper's numbers contradict each other or what they are defined as: found by code, told in sentences.

Each rule takes the numbers as `paper.read_numbers` returns them and yields the index of a number with the sentence that
says what is wrong with it. Numbers are given half a unit of their last digit, so that rounding accuses none.
"""

from collections.abc import Iterator
from decimal import Decimal
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from sdlcore.verdicts.paper import KEY, MEASURES, anchored, bench_setting, features, setting, title
from sdlcore.verdicts.scale import DEFAULTS

TAU = 0.9
"""The smaller of the two thresholds that the paper names (Appendix B: "typically 0.9 or 0.95")."""
TOLERANCE = {"gt_recovery_percent": 2.0, "mip": 0.02}
"""How far a run may be off a number and still reproduce it; `judging` adds L0, which is relative."""
MOST_RUNS = 100
"""Averages over more runs than these are not looked for."""
KEEPS_K = ("TopK SAE", "Transcoder", "Crosscoder")
"""Methods that keep at most k latents of a sample. BatchTopK does on average only; Matryoshka's largest k is unsaid."""
K = int(DEFAULTS["k"])


class Contradiction(NamedTuple):
    """One thing that is wrong with one number."""

    kind: str
    reason: str


def contradictions(numbers: pd.DataFrame) -> dict[int, list[Contradiction]]:
    """Return what is wrong with each number that cannot stand beside the others: index in ``numbers`` -> findings."""
    found: dict[int, list[Contradiction]] = {}
    for kind, rule in RULES.items():
        for index, reason in rule(numbers):
            finding = Contradiction(kind, reason)
            if finding not in found.setdefault(index, []):
                found[index].append(finding)
    return found


def half_unit(value: float, number: str) -> float:
    """Return half a unit of the last digit of a number: those that it shows, and those that all of its kind have."""
    exponent = int(Decimal(repr(float(value))).normalize().as_tuple().exponent)
    return 0.5 * 10.0 ** min(exponent, -MEASURES[number].decimals)


def is_share(percent: float, of: int) -> bool:
    """Tell whether a rounded per cent can be a whole number out of ``of``."""
    off = abs(round(percent * of / 100) * 100 / of - percent)
    return off <= half_unit(percent, "gt_recovery_percent") + 1e-9


def _granularity(numbers: pd.DataFrame) -> Iterator[tuple[int, str]]:
    """A recovery over n features is a multiple of 1/n."""
    for index, row in _rows(numbers, "gt_recovery_percent"):
        n, percent = features(row), row["paper"]
        if is_share(percent, n):
            continue
        runs = next((m for m in range(2, MOST_RUNS + 1) if is_share(percent, m * n)), None)
        fewest = f"of {runs} at the fewest" if runs else "of very many"
        yield (
            index,
            f"{percent:g} % of {n} directions is no whole number ({percent * n / 100:g}), so not one run's recovery;"
            f" if an average over runs, then {fewest}, and the paper tells of none",
        )


def _same_setting(numbers: pd.DataFrame) -> Iterator[tuple[int, str]]:
    """Tables that give the same setting must agree, as nearly as a run must agree with a number."""
    for number, tolerance in TOLERANCE.items():
        same: dict[Any, list[tuple[int, Any]]] = {}
        for index, row in _rows(numbers, number):
            if (key := bench_setting(row)) is not None:
                same.setdefault(key, []).append((index, row))
        for group in same.values():
            values = [row["paper"] for _, row in group]
            gap = max(values) - min(values)
            for index, row in group:
                if max(abs(row["paper"] - value) for value in values) > tolerance + 1e-9:
                    told = ", ".join(f"{other['paper']:g} in {_where(other)}" for _, other in group)
                    yield (
                        index,
                        f"{row['method']} {anchored(row['anchoring'])}, the same setting, has the"
                        f" {MEASURES[number].label} {told}: {gap:.3g} apart, while runs may differ by {tolerance:g}",
                    )


def _bound(numbers: pd.DataFrame) -> Iterator[tuple[int, str]]:
    """The recovered features alone give a mean of best matches of at least recovery x tau."""
    for _, row in _pairs(numbers).iterrows():
        if row["mip_high"] < row["recovery_low"] * TAU - 1e-9:
            reason = (
                f"a recovery of {row['recovery']:g} % at tau = {TAU:g} means an MIP of at least"
                f" {row['recovery'] / 100 * TAU:.3f}, but the row has {row['mip']:g}"
            )
            yield int(row["recovery_index"]), reason
            yield int(row["mip_index"]), reason


def _single_tau(numbers: pd.DataFrame) -> Iterator[tuple[int, str]]:
    """All rows of a table have one tau, whatever it is, for similarities between 0 and 1.

    Recovery x tau <= MIP <= recovery + (1 - recovery) x tau.
    """
    for table, rows in _pairs(numbers).groupby("table", sort=False):
        recovered = rows["recovery_low"] > 0
        most = (rows["mip_high"] / rows["recovery_low"]).where(recovered, np.inf)
        missed = rows["recovery_high"] < 1
        least = ((rows["mip_low"] - rows["recovery_high"]) / (1 - rows["recovery_high"])).where(missed, -np.inf)
        for i, j in ((i, j) for i in rows.index for j in rows.index if least[i] > most[j] + 1e-9):
            low, high = rows.loc[i], rows.loc[j]
            reason = (
                f"no single tau fits {title(str(table))}: {_pair(low)} needs tau of at least {least[i]:.3f},"
                f" {_pair(high)} at most {most[j]:.3f}"
            )
            for row in (low, high):
                yield int(row["recovery_index"]), reason
                yield int(row["mip_index"]), reason


def _l0_above_k(numbers: pd.DataFrame) -> Iterator[tuple[int, str]]:
    """TopK keeps at most k latents of a sample. Fewer it may keep, where fewer pre-activations are positive."""
    for index, row in _rows(numbers, "l0"):
        if row["method"] in KEEPS_K and row["paper"] > K:
            yield (
                index,
                f"{row['paper']:g} active latents cannot come out of TopK with k = {K}, the k whose L0 the table's TopK"
                f" has; another k or sigma of the {row['method']} is not told",
            )


RULES = {
    "granularity": _granularity,
    "same setting": _same_setting,
    "recovery x tau": _bound,
    "one tau": _single_tau,
    "L0 above k": _l0_above_k,
}
"""What each kind of contradiction is called, and the rule that finds it."""


def remark(row: Any) -> str:
    """Return what is odd about a number but not impossible; empty for most."""
    if row["number"] == "l0" and row["method"] in KEEPS_K and row["paper"] < K:
        return (
            f"an L0 below k = {K} is possible only where fewer than {K} pre-activations of a sample are positive"
            " (k itself is not told)"
        )
    return ""


def _rows(numbers: pd.DataFrame, number: str) -> Iterator[tuple[int, Any]]:
    for index, row in numbers[numbers["number"] == number].iterrows():
        yield int(str(index)), row


def _where(row: Any) -> str:
    name = title(row["table"])
    return f"{name} ({setting(row['parameter'], row['value'])})" if row["parameter"] else name


def _pair(row: Any) -> str:
    where = f"{setting(row['parameter'], row['value'])} " if row["parameter"] else ""
    return f"{where}{anchored(row['anchoring'])} ({row['method']}: recovery {row['recovery']:g} %, MIP {row['mip']:g})"


def _pairs(numbers: pd.DataFrame) -> pd.DataFrame:
    """Return recovery (per cent) and MIP of each row of the tables side by side, with what rounding leaves open."""
    key = [name for name in KEY if name != "number"]
    parts = []
    for name, number, unit in (("recovery", "gt_recovery_percent", 100.0), ("mip", "mip", 1.0)):
        part = numbers[numbers["number"] == number].copy()
        reach = np.array([half_unit(value, number) for value in part["paper"]])
        part[f"{name}_index"] = part.index
        part[f"{name}_low"] = ((part["paper"] - reach) / unit).clip(lower=0)
        part[f"{name}_high"] = ((part["paper"] + reach) / unit).clip(upper=1)
        parts.append(part.rename(columns={"paper": name}).drop(columns="number"))
    return parts[0].merge(parts[1], on=key)
