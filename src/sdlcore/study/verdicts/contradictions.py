"""Where the paper's numbers contradict each other or what they are defined as: found by code, told in sentences.

Each rule is asked under one reading of a table (`readings`). A number contradicts others only if some rule accuses it
under every listed reading. Numbers are given half a unit of their last digit, so that rounding accuses none.
"""

from collections.abc import Iterator, Sequence
from decimal import Decimal
from functools import partial
from itertools import groupby
from typing import Any, NamedTuple

import pandas as pd

from sdlcore.evaluation.metrics import COSINE, OTHERS
from sdlcore.study.verdicts.paper import KEY, MEASURES, anchored, bench_setting, features, setting, title
from sdlcore.study.verdicts.readings import JUDGED, Reading, describe, readings, stated

TOLERANCE = {"gt_recovery_percent": 2.0, "mip": 0.02}
"""How far a run may be off a number and still reproduce it; `judging` adds L0, which is relative."""
MOST_RUNS = 100
"""Averages over more runs than these are not looked for."""
KEEPS_K = ("TopK SAE", "Transcoder", "Crosscoder")
"""Methods that keep at most k latents of a sample. BatchTopK does on average only; Matryoshka's largest k is unsaid."""

GRANULARITY, SAME_SETTING, BOUNDS, L0_ABOVE_K = "granularity", "same setting", "recovery x tau", "L0 above k"
WRONG = {
    GRANULARITY: "a share that no whole number of features is, though an average over runs may be",
    SAME_SETTING: "unlike the same setting’s in another table",
    BOUNDS: "a recovery and an MIP that cannot be one row’s",
    L0_ABOVE_K: "an L0 above k",
}
"""What is wrong with a number, by the kind of contradiction."""


class Contradiction(NamedTuple):
    """One thing that is wrong with one number under a reading."""

    kind: str
    reason: str


class Accusation(NamedTuple):
    """What is wrong with a number under the reading that its table is judged under, or under every reading."""

    findings: list[Contradiction]
    excuse: str
    """The listed reading, in words, under which nothing is wrong with it; empty if there is none."""


def accusations(numbers: pd.DataFrame) -> dict[int, Accusation]:
    """Return what is wrong with each number under the judged reading, and which other one excuses it.

    Parameters
    ----------
    numbers
        As `paper.read_numbers` returns them.

    Returns
    -------
    dict
        Index in ``numbers`` -> accusation, of the numbers that some rule accuses under the judged reading. The excuse
        is the reading that changes least.
    """
    # dictionaries, since a pandas row takes microseconds for each look
    rows = list(zip((int(str(index)) for index in numbers.index), numbers.to_dict("records"), strict=True))
    pairs = _pairs(numbers)
    beside = _comparable(rows)
    found = {}
    for index, row in rows:
        judged = stated(row["table"])[JUDGED]
        nearest = sorted(readings(row["table"]), key=partial(_changes, judged))
        findings = list(_wrong(index, row, judged, pairs, beside))
        if not findings:
            continue
        excuse = next((r for r in nearest if not any(_wrong(index, row, r, pairs, beside))), None)
        found[index] = Accusation(findings, "" if excuse is None else _named(row, judged, excuse))
    return found


def _wrong(
    index: int, row: Any, reading: Reading, pairs: dict[int, Any], beside: dict[int, list[Any]]
) -> Iterator[Contradiction]:
    """Yield what is wrong with one number under a reading of its table."""
    if row["number"] == "gt_recovery_percent":
        yield from _granularity(row, reading)
    if index in pairs:
        yield from _bounds(pairs[index], reading)
    if row["number"] == "l0":
        yield from _l0_above_k(row, reading)
    else:
        yield from _same_setting(row, reading, beside[index])


def half_unit(value: float, number: str) -> float:
    """Return half a unit of the last digit of a number: those that it shows, and those that all of its kind have."""
    exponent = int(Decimal(repr(float(value))).normalize().as_tuple().exponent)
    return 0.5 * 10.0 ** min(exponent, -MEASURES[number].decimals)


def is_share(percent: float, of: int) -> bool:
    """Tell whether a rounded per cent can be a whole number out of ``of``."""
    off = abs(round(percent * of / 100) * 100 / of - percent)
    return off <= half_unit(percent, "gt_recovery_percent") + 1e-9


def _granularity(row: Any, reading: Reading) -> Iterator[Contradiction]:
    """A recovery over n features is a multiple of 1/n."""
    n, percent = features(row), row["paper"]
    if row["anchoring"] != "none" and reading.scored == OTHERS:
        n -= reading.n_anchors
    if is_share(percent, n):
        return
    runs = next((m for m in range(2, MOST_RUNS + 1) if is_share(percent, m * n)), None)
    fewest = f"of {runs} at the fewest" if runs else "of very many"
    yield Contradiction(
        GRANULARITY,
        f"{percent:g} % of {n} directions is no whole number ({percent * n / 100:g}), so not one run's recovery;"
        f" if an average over runs, then {fewest}, and the paper tells of none",
    )


def _bounds(pair: Any, reading: Reading) -> Iterator[Contradiction]:
    """Recovery x tau <= MIP, and MIP <= recovery + (1 - recovery) x tau for similarities of at most 1.

    Only where both are of one similarity.
    """
    if reading.recovery != reading.mip:
        return
    tau, has = reading.tau, f"has a recovery of {pair['recovery']:g} % and an MIP of {pair['mip']:g}"
    if pair["mip_high"] < pair["recovery_low"] * tau - 1e-9:
        least = f"an MIP of at least {pair['recovery_low'] * tau:.3f}"
        yield Contradiction(BOUNDS, f"the row {has}, but that recovery at tau = {tau:g} means {least}")
    high = pair["recovery_high"]
    if reading.mip == COSINE and pair["mip_low"] > high + (1 - high) * tau + 1e-9:
        most = f"an MIP of at most {high + (1 - high) * tau:.3f}"
        yield Contradiction(BOUNDS, f"the row {has}, but that recovery at tau = {tau:g} means {most}")


def _l0_above_k(row: Any, reading: Reading) -> Iterator[Contradiction]:
    """TopK keeps at most k latents of a sample. Fewer it may keep, where fewer pre-activations are positive."""
    if row["method"] in KEEPS_K and row["paper"] > reading.k:
        yield Contradiction(L0_ABOVE_K, f"{row['paper']:g} active latents cannot come out of TopK with k = {reading.k}")


def _same_setting(row: Any, reading: Reading, beside: Sequence[Any]) -> Iterator[Contradiction]:
    """Tables that give the same setting must agree, as nearly as a run must agree with a number.

    A number of another table accuses this one only if every reading of that table gives it the same setting: similarity
    and side are the same throughout the paper, the rest is each table's own.
    """
    here, apart = bench_setting(row, reading), []
    for other in beside:
        if abs(other["paper"] - row["paper"]) <= TOLERANCE[row["number"]] + 1e-9:
            continue
        alike = [r for r in readings(other["table"]) if r.of_the_paper == reading.of_the_paper]
        if all(bench_setting(other, r) == here for r in alike):
            apart.append(other)
    if apart:
        told = ", ".join(f"{other['paper']:g} in {_where(other)}" for other in [row, *apart])
        values = [row["paper"], *(other["paper"] for other in apart)]
        yield Contradiction(
            SAME_SETTING,
            f"{row['method']} {anchored(row['anchoring'])}, the same setting, has the {MEASURES[row['number']].label}"
            f" {told}: {max(values) - min(values):.3g} apart, while runs may differ by {TOLERANCE[row['number']]:g}",
        )


def remark(row: Any) -> str:
    """Return what is odd about a number but not impossible; empty for most."""
    k = stated(row["table"])[JUDGED].k
    if row["number"] == "l0" and row["method"] in KEEPS_K and row["paper"] < k:
        return (
            f"an L0 below k = {k} is possible only where fewer than {k} pre-activations of a sample are positive"
            " (k itself is not told)"
        )
    return ""


def _changes(judged: Reading, other: Reading) -> int:
    return sum(mine != its for mine, its in zip(judged, other, strict=True))


def _named(row: Any, judged: Reading, other: Reading) -> str:
    """Return what a reading takes otherwise than the judged one."""
    for name, text in stated(row["table"]).items():
        if text == other:
            return name
    names = {
        "tau": f"tau = {other.tau:g}",
        "recovery": f"recovery by {other.recovery}",
        "mip": f"MIP by {other.mip}",
        "side": other.side,
        "scored": f"scored on {other.scored}",
        "n_anchors": f"{other.n_anchors} anchors",
        "k": f"k = {other.k}",
    }
    changed = [names[field] for field in Reading._fields if getattr(judged, field) != getattr(other, field)]
    return ", ".join(changed) or describe(row, other)


def _where(row: Any) -> str:
    name = title(row["table"])
    return f"{name} ({setting(row['parameter'], row['value'])})" if row["parameter"] else name


def _comparable(rows: Sequence[tuple[int, Any]]) -> dict[int, list[Any]]:
    """Return, for each number of the bench, those of other tables that could be the same."""

    def key(row: Any) -> tuple[str, str, str]:
        return row["method"], row["anchoring"], row["number"]

    bench = sorted(((i, row) for i, row in rows if row["table"] != "table2"), key=lambda pair: key(pair[1]))
    found: dict[int, list[Any]] = {index: [] for index, _ in rows}
    for _, group in groupby(bench, key=lambda pair: key(pair[1])):
        members = list(group)
        for index, row in members:
            found[index] = [other for _, other in members if other["table"] != row["table"]]
    return found


def _pairs(numbers: pd.DataFrame) -> dict[int, Any]:
    """Return recovery and MIP of each row of the tables, with what rounding leaves open, by the index of either."""
    key = [name for name in KEY if name != "number"]
    found: dict[int, Any] = {}
    for _, group in numbers[numbers["number"] != "l0"].groupby(key, dropna=False, sort=False):
        pair: dict[str, float] = {}
        for _, row in group.iterrows():
            name, unit = ("mip", 1.0) if row["number"] == "mip" else ("recovery", 100.0)
            reach = half_unit(row["paper"], row["number"])
            pair[name] = row["paper"]
            pair[f"{name}_low"] = max((row["paper"] - reach) / unit, 0.0)
            pair[f"{name}_high"] = min((row["paper"] + reach) / unit, 1.0)
        if len(group) == 2:
            found |= {int(str(index)): pair for index in group.index}
    return found
