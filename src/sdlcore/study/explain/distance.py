"""How far a protocol is from the paper's tables, under which reading, and which of its numbers it gives.

Written down before the first training, with the stages of the search (docs/results/explain/README.md).
"""

from collections.abc import Iterator, Sequence
from itertools import product
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from sdlcore.study.explain.looks import (
    ABOVE,
    L0S,
    MIPS,
    RECOVERIES,
    THRESHOLDS,
    l0_column,
    mip_column,
    recovery_column,
)
from sdlcore.study.explain.protocols import Protocol
from sdlcore.study.results.tables import PAPER_METHODS
from sdlcore.study.verdicts.contradictions import TOLERANCE
from sdlcore.study.verdicts.judging import L0_TOLERANCE
from sdlcore.study.verdicts.readings import SIMILARITIES

CAP = 10.0
"""Tolerances beyond which a number is wrong, and no more wrong than another."""
ROW = ["method", "anchored", "value"]
"""What names a row of a table."""
RECOVERY, MIP, L0 = NUMBERS = ("gt_recovery_percent", "mip", "l0")
"""The paper's columns. A number is given within what verdicts tolerate: 2 points, .02, and 5 % of the paper's L0."""
KINDS = {**dict.fromkeys(RECOVERIES, RECOVERY), **dict.fromkeys(MIPS, MIP), **dict.fromkeys(L0S, L0)}
"""Columns of looks -> which of the numbers each may be."""
SIDES = {
    "encoder": ("encoder", "encoder"),
    "decoder": ("decoder", "decoder"),
    "mixed": ("decoder", "encoder"),
}
"""Which rows are read, of autoencoders and of transcoders and crosscoders: mixed has the pattern of Table 1, in which
the latter recover far less."""


class Reading(NamedTuple):
    """What the paper's three numbers are taken to mean, for all methods alike."""

    recovery_of: str
    """Similarity whose best match recovery counts: cosines, or raw inner products."""
    mip_of: str
    """Similarity that MIP averages."""
    tau: float
    side: str
    """A key of `SIDES`."""
    above: float
    """Latents above this count for L0."""

    def columns(self, method: str) -> tuple[str, str, str]:
        """Return the columns of looks (`sdlcore.study.explain.looks.Look`) that hold `NUMBERS`."""
        side = SIDES[self.side][method in ("transcoder", "crosscoder")]
        recovery, mip = recovery_column(side, self.recovery_of, self.tau), mip_column(side, self.mip_of)
        return recovery, mip, l0_column(self.above)


READINGS = [
    Reading(recovery, mip, tau, side, above)
    for (recovery, mip), tau, side, above in product(SIMILARITIES, THRESHOLDS, SIDES, ABOVE)
]


def errors(looks: pd.DataFrame, paper: pd.DataFrame, divisor: int) -> pd.DataFrame:
    """Return how many tolerances looks are from the paper, whichever of their columns is read.

    Parameters
    ----------
    looks
        Columns ``method``, ``anchored``, ``value`` (of what the table varies; NaN of Table 1), ``seed``, ``step`` and
        those of looks.
    paper
        The table, as `sdlcore.study.results.tables.read_paper` returns it.
    divisor
        Of the scale; L0 is multiplied by it.

    Returns
    -------
    DataFrame
        Means over seeds: index ``method``, ``anchored``, ``value`` (0 for NaN), ``step``; the looks' columns but
        ``fvu``. NaN for an L0 that the paper does not print.
    """
    published: dict[Any, Any] = {
        (row.method, row.anchoring, row.value): row for row in paper.fillna({"value": 0}).itertuples(index=False)
    }
    found = []
    for (method, anchored, value), part in looks.fillna({"value": 0}).groupby(ROW):
        row = published[PAPER_METHODS[str(method)], "anchored" if anchored else "none", value]
        values = part.set_index([*ROW, "step"])[list(KINDS)]
        units = _units(divisor)
        tolerances = {**TOLERANCE, L0: L0_TOLERANCE * row.l0}
        wrong = {
            column: (units[number] * values[column] - getattr(row, number)).abs() / tolerances[number]
            for column, number in KINDS.items()
        }
        found.append(pd.DataFrame(wrong).groupby(level=[*ROW, "step"]).mean())
    return pd.concat(found)


class Nearest(NamedTuple):
    """The training of a protocol that is nearest to the paper."""

    distance: float
    """Mean over all numbers of the error in tolerances, at most `CAP`, as a share of `CAP`: 0 to 1."""
    given: int
    """Numbers within their tolerance, in the mean over seeds."""
    numbers: int
    step: int
    """At which it ended."""
    reading: Reading
    gives_all: bool
    """Whether all numbers are within their tolerance at some end under some reading, if not here."""


def nearest(
    protocol: Protocol,
    looks: pd.DataFrame,
    paper: pd.DataFrame,
    divisor: int,
    readings: Sequence[Reading] = READINGS,
    step: int | None = None,
) -> Nearest:
    """Return where a protocol is nearest to the paper: one step and one reading for all methods and seeds.

    Where the learning rate is constant any look may be the end of a training, else the last one alone. Rows that
    diverged before count as wrong in all numbers. With a ``step``, only that one.
    """
    rows = _rows(looks)
    wrong = errors(looks, paper, divisor)
    ends = sorted(looks["step"].unique()) if protocol.schedule == "constant" else [protocol.steps]
    ends = ends if step is None else [step]
    by_row = {row: wrong.loc[row].reindex(ends, fill_value=np.inf) for row in rows}
    best: Nearest | None = None
    gives_all = False
    for reading in readings:
        # ends x rows x numbers
        values = np.stack([by_row[row][list(reading.columns(str(row[0])))].to_numpy() for row in rows], axis=1)
        for end, here in zip(ends, values, strict=True):
            printed = here[~np.isnan(here)]
            gives_all |= bool((printed <= 1).all())
            distance = float(np.minimum(printed / CAP, 1).mean())
            if best is None or distance < best.distance:
                best = Nearest(distance, int((printed <= 1).sum()), len(printed), int(end), reading, False)
    if best is None:
        raise ValueError("readings are empty, but a distance needs one reading or more")
    return best._replace(gives_all=gives_all)


def distances(
    protocols: Sequence[Protocol],
    looks: pd.DataFrame,
    paper: pd.DataFrame,
    divisor: int,
    readings: Sequence[Reading] = READINGS,
    step: int | None = None,
) -> pd.DataFrame:
    """Return where each protocol is nearest to the paper, nearest first.

    Parameters
    ----------
    protocols
        The stage's list.
    looks
        Columns ``number`` (of the protocol), then as for `errors`.
    paper, divisor
        As for `errors`.
    readings, step
        As for `nearest`.

    Returns
    -------
    DataFrame
        Columns ``number``, those of `Nearest`, ``perfect`` (`given_by_all_features`), those of `Reading`, then the
        protocol's settings.
    """
    rows = []
    for number, part in _by_number(looks):
        near = nearest(protocols[number], part, paper, divisor, readings, step)._asdict()
        reading = near.pop("reading")._asdict()
        near["perfect"] = given_by_all_features(part, paper)
        rows.append({"number": number, **near, **reading, **vars(protocols[number])})
    return pd.DataFrame(rows).sort_values(["distance", "number"], ignore_index=True)


def given_by_all_features(looks: pd.DataFrame, paper: pd.DataFrame) -> int:
    """Return how many of the rows' numbers a dictionary gives that has all features: a recovery of 100 %, an MIP of 1.

    Arguments as for `errors`. It says how much it means that a protocol gives so many.
    """
    rows = {(PAPER_METHODS[method], anchored, value) for method, anchored, value in _rows(looks)}
    there = [
        (row.method, row.anchoring != "none", row.value) in rows for row in paper.fillna({"value": 0}).itertuples()
    ]
    found, most = paper[there], {RECOVERY: 100.0, MIP: 1.0}
    return int(sum(((found[name] - end).abs() <= TOLERANCE[name] + 1e-9).sum() for name, end in most.items()))


def _rows(looks: pd.DataFrame) -> list[Any]:
    """Return the rows of a table that looks are of."""
    return list(looks.fillna({"value": 0})[ROW].drop_duplicates().itertuples(index=False, name=None))


def as_read(looks: pd.DataFrame, paper: pd.DataFrame, divisor: int, step: int, reading: Reading) -> pd.DataFrame:
    """Return a protocol's numbers under a reading, as the paper prints its own.

    Parameters
    ----------
    looks
        Of one protocol, as for `errors`.
    paper, divisor
        As for `errors`.
    step
        At which trainings end; rows that diverged before are left out.

    Returns
    -------
    DataFrame
        Columns ``method`` and ``anchoring`` as the paper has them, ``value`` where the table varies one, and `NUMBERS`,
        means over seeds, in the order of the paper's rows.
    """
    units, keys, rows = _units(divisor), ["method", "anchoring", "value"], []
    for (method, anchored, value), part in looks[looks["step"] == step].fillna({"value": 0}).groupby(ROW):
        means = part[list(KINDS)].mean()
        columns = zip(NUMBERS, reading.columns(str(method)), strict=True)
        place = (PAPER_METHODS[str(method)], "anchored" if anchored else "none", value)
        rows.append((*place, *(units[number] * means[column] for number, column in columns)))
    found = paper[keys].fillna({"value": 0}).merge(pd.DataFrame(rows, columns=[*keys, *NUMBERS]), on=keys)
    return found.drop(columns=[] if paper["value"].notna().any() else "value")


def by_row(protocols: Sequence[Protocol], looks: pd.DataFrame, paper: pd.DataFrame, divisor: int) -> pd.DataFrame:
    """Return, for each row of the paper's table by itself, which protocols give all of its numbers.

    Arguments as for `distances`. Each row may be read in its own way, so this asks far less than one protocol and one
    reading for all rows.

    Returns
    -------
    DataFrame
        Columns `ROW`; ``protocols`` tried and ``readings``; ``giving``, how many protocols give all numbers of the row
        at some end under some reading; then the nearest: ``number``, ``distance``, ``step``, columns of `Reading`.
    """
    rows = []
    for key, part in looks.fillna({"value": 0}).groupby(ROW):
        near = {number: nearest(protocols[number], own, paper, divisor) for number, own in _by_number(part)}
        best = min(near, key=lambda number: near[number].distance)
        giving = sum(found.gives_all for found in near.values())
        counts = {"protocols": len(near), "readings": len(READINGS), "giving": giving}
        found = near[best]
        place = {"number": best, "distance": found.distance, "step": found.step, **found.reading._asdict()}
        rows.append({**dict(zip(ROW, key, strict=True)), **counts, **place})
    return pd.DataFrame(rows)


def _units(divisor: int) -> dict[str, float]:
    """Return what looks are multiplied by to have the paper's units, for each of `NUMBERS`."""
    return {RECOVERY: 100.0, MIP: 1.0, L0: float(divisor)}


def _by_number(looks: pd.DataFrame) -> Iterator[tuple[int, pd.DataFrame]]:
    """Yield the looks of each protocol, by its number."""
    return ((int(str(number)), part) for number, part in looks.astype({"number": int}).groupby("number"))
