"""Find numbers of the paper that contradict each other or their own definition.

Each rule judges a number under one reading of its table (`readings`). A number is inconsistent only if it contradicts
something under every listed reading. Each number may be off by half a unit of its last digit, to allow for rounding.
"""

from collections.abc import Iterator, Mapping, Sequence
from decimal import Decimal
from functools import partial
from typing import Any, NamedTuple

import pandas as pd

from sdlcore.evaluation.metric_names import FeatureSet, Similarity
from sdlstudy.verdicts.paper import KEY, MEASURES, anchored, bench_setting, features, setting, title
from sdlstudy.verdicts.readings import JUDGED, Reading, describe, readings, stated

TOLERANCE = {"gt_recovery_percent": 2.0, "mip": 0.02}
"""Largest difference between a run and a number that it reproduces. `judging` adds L0, whose tolerance is relative."""
MOST_RUNS = 100
"""Largest number of runs to try when checking whether a printed recovery could be an average over runs."""
KEEPS_K = ("TopK SAE", "Transcoder", "Crosscoder")
"""Methods that keep at most k latents of each sample. BatchTopK keeps k on average; Matryoshka's k is not stated."""

GRANULARITY, SAME_SETTING, BOUNDS, L0_ABOVE_K = "granularity", "same setting", "recovery x tau", "L0 above k"
WRONG = {
    GRANULARITY: "a share that is not a whole number of features, although an average over runs may be",
    SAME_SETTING: "different from the same setting in another table",
    BOUNDS: "a recovery and an MIP that cannot belong to one row",
    L0_ABOVE_K: "an L0 above k",
}
"""Kind of contradiction -> its description in the report."""


class Contradiction(NamedTuple):
    """A contradiction that a number is part of under a reading."""

    kind: str
    reason: str


class Accusation(NamedTuple):
    """The contradictions of a number under the judged reading."""

    findings: list[Contradiction]
    excuse: str
    """A listed reading, in words, under which the number contradicts nothing; empty if there is none."""


class Pair(NamedTuple):
    """Recovery (per cent) and MIP of one row, and the bounds of each before rounding, as shares between 0 and 1."""

    recovery: float
    recovery_low: float
    recovery_high: float
    mip: float
    mip_low: float
    mip_high: float


def accusations(numbers: pd.DataFrame) -> dict[int, Accusation]:
    """Return the contradictions of each number under the judged reading, and a reading without contradictions.

    Parameters
    ----------
    numbers
        As `paper.read_numbers` returns them.

    Returns
    -------
    dict
        Index in ``numbers`` -> accusation, for numbers with a contradiction under the judged reading. If several
        readings excuse a number, `Accusation.excuse` names the reading that is closest to the judged one.
    """
    # plain dictionaries, because access to a row of a data frame takes microseconds
    rows = dict(zip((int(str(index)) for index in numbers.index), numbers.to_dict("records"), strict=True))
    pairs, by_index = _pairs(rows), {}
    alike: dict[tuple[Any, ...], list[Any]] = {}
    for row in rows.values():
        alike.setdefault(_compared(row), []).append(row)
    for index, row in rows.items():
        beside = [other for other in alike[_compared(row)] if other["table"] != row["table"]]
        judged = stated(row["table"])[JUDGED]
        wrong = partial(_wrong, row, pairs.get(index), beside)
        if findings := list(wrong(judged)):
            nearest = sorted(readings(row["table"]), key=partial(_changes, judged))
            excuse = next((reading for reading in nearest if not any(wrong(reading))), None)
            by_index[index] = Accusation(findings, "" if excuse is None else _named(row, judged, excuse))
    return by_index


def _compared(row: Any) -> tuple[Any, ...]:
    """Return the key that comparable rows share. Table 2 uses other data than the bench tables."""
    return row["table"] == "table2", row["method"], row["anchoring"], row["number"]


def _wrong(row: Any, pair: Pair | None, beside: Sequence[Any], reading: Reading) -> Iterator[Contradiction]:
    """Yield the contradictions of one number under a reading of its table."""
    if row["number"] == "gt_recovery_percent":
        yield from _granularity(row, reading)
    if pair is not None:
        yield from _bounds(pair, reading)
    if row["number"] == "l0":
        yield from _l0_above_k(row, reading)
    else:
        yield from _same_setting(row, reading, beside)


def half_unit(value: float, number: str) -> float:
    """Return half a unit of the last printed digit of a number.

    Trailing zeros are lost in a float, so a number has at least the decimals that the paper prints for its kind.
    """
    exponent = int(Decimal(repr(float(value))).normalize().as_tuple().exponent)
    return 0.5 * 10.0 ** min(exponent, -MEASURES[number].decimals)


def is_share(percent: float, of: int) -> bool:
    """Return whether a rounded percentage can be a whole number out of ``of``."""
    off = abs(round(percent * of / 100) * 100 / of - percent)
    return off <= half_unit(percent, "gt_recovery_percent") + 1e-9


def _granularity(row: Any, reading: Reading) -> Iterator[Contradiction]:
    """Check that a recovery over n features is a multiple of 1/n."""
    n, percent = features(row), row["paper"]
    if row["anchoring"] != "none" and reading.scored == FeatureSet.UNANCHORED:
        n -= reading.n_anchors
    if is_share(percent, n):
        return
    runs = next((m for m in range(2, MOST_RUNS + 1) if is_share(percent, m * n)), None)
    fewest = f"over at least {runs} runs" if runs else "over very many runs"
    yield Contradiction(
        GRANULARITY,
        f"{percent:g} % of {n} directions is not a whole number ({percent * n / 100:g}), so it is not the recovery"
        f" of one run; it could be an average {fewest}, which the paper does not mention",
    )


def _bounds(pair: Pair, reading: Reading) -> Iterator[Contradiction]:
    """Check recovery x tau <= MIP, and for similarities up to 1 also MIP <= recovery + (1 - recovery) x tau.

    Both inequalities hold only if recovery and MIP use the same similarity.
    """
    if reading.recovery != reading.mip:
        return
    tau, has = reading.tau, f"has a recovery of {pair.recovery:g} % and an MIP of {pair.mip:g}"
    if pair.mip_high < pair.recovery_low * tau - 1e-9:
        least = f"an MIP of at least {pair.recovery_low * tau:.3f}"
        yield Contradiction(BOUNDS, f"the row {has}, but that recovery at tau = {tau:g} requires {least}")
    most = pair.recovery_high + (1 - pair.recovery_high) * tau
    if reading.mip == Similarity.COSINE and pair.mip_low > most + 1e-9:
        yield Contradiction(
            BOUNDS, f"the row {has}, but that recovery at tau = {tau:g} requires an MIP of at most {most:.3f}"
        )


def _l0_above_k(row: Any, reading: Reading) -> Iterator[Contradiction]:
    """Check that L0 is at most k: TopK keeps k latents of a sample, or fewer if fewer pre-activations are positive."""
    if row["method"] in KEEPS_K and row["paper"] > reading.k:
        yield Contradiction(L0_ABOVE_K, f"{row['paper']:g} active latents are impossible for TopK with k = {reading.k}")


def _same_setting(row: Any, reading: Reading, beside: Sequence[Any]) -> Iterator[Contradiction]:
    """Check that numbers of different tables with the same setting agree within the tolerance.

    Similarity and side are one choice for the whole paper; each table may choose the rest. A number of another table
    contradicts this one only if every reading of that table with this similarity and side gives it the same setting.
    """
    row_setting, apart = bench_setting(row, reading), []
    for other in beside:
        if abs(other["paper"] - row["paper"]) <= TOLERANCE[row["number"]] + 1e-9:
            continue
        possible = [r for r in readings(other["table"]) if r.of_the_paper == reading.of_the_paper]
        if all(bench_setting(other, r) == row_setting for r in possible):
            apart.append(other)
    if apart:
        places = ", ".join(f"{other['paper']:g} in {_where(other)}" for other in [row, *apart])
        values = [row["paper"], *(other["paper"] for other in apart)]
        yield Contradiction(
            SAME_SETTING,
            f"{row['method']} {anchored(row['anchoring'])}, the same setting, has the {MEASURES[row['number']].label}"
            f" {places}: {max(values) - min(values):.3g} apart, while runs may differ by {TOLERANCE[row['number']]:g}",
        )


def remark(row: Any) -> str:
    """Return a remark on an unusual but possible number; empty for most numbers."""
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
    """Return how a reading differs from the judged one, in words; a stated reading by its name."""
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


def _pairs(rows: Mapping[int, Any]) -> dict[int, Pair]:
    """Return recovery and MIP of each row with both, under the indices of the two numbers."""
    indices: dict[tuple[str, ...], dict[str, int]] = {}
    for index, row in rows.items():
        if row["number"] != "l0":
            indices.setdefault(tuple(str(row[name]) for name in KEY[:-1]), {})[row["number"]] = index
    pairs: dict[int, Pair] = {}
    for by_number in indices.values():
        if len(by_number) == 2:
            pair = Pair(
                *_rounded(rows[by_number["gt_recovery_percent"]], 100.0), *_rounded(rows[by_number["mip"]], 1.0)
            )
            pairs |= dict.fromkeys(by_number.values(), pair)
    return pairs


def _rounded(row: Any, unit: float) -> tuple[float, float, float]:
    paper, reach = row["paper"], half_unit(row["paper"], row["number"])
    return paper, max((paper - reach) / unit, 0.0), min((paper + reach) / unit, 1.0)
