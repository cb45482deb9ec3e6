"""How far a protocol is from the paper's tables, under which reading, and which of its numbers it gives.

Written down before the first training, with the stages of the search (docs/results/explain/README.md).
"""

from collections.abc import Iterator, Sequence
from itertools import product
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import scipy.stats

from sdlcore.evaluation.metrics import COSINE, INNER
from sdlcore.study.explain.looks import ABOVE, THRESHOLDS
from sdlcore.study.explain.protocols import Protocol
from sdlcore.study.results.tables import PAPER_METHODS
from sdlcore.study.verdicts.readings import SIMILARITIES

TOLERANCE = {"gt_recovery_percent": 2.0, "mip": 0.02}
"""Within which a number is given, as verdicts have it: 2 points of recovery, .02 of MIP, and 5 % of the paper's L0."""
L0_TOLERANCE = 0.05
CAP = 10.0
"""Tolerances beyond which a number is wrong, and no more wrong than another."""
ROW = ["method", "anchored", "value"]
"""What names a row of a table."""
NUMBERS = ("gt_recovery_percent", "mip", "l0")
SIDES = {
    "encoder": ("encoder", "encoder"),
    "decoder": ("decoder", "decoder"),
    "mixed": ("decoder", "encoder"),
}
"""Which rows are read, of autoencoders and of transcoders and crosscoders: mixed has the pattern of Table 1, in which
the latter recover far less."""
_NAMES = {COSINE: "cosine", INNER: "inner"}


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
        recovery, mip = f"{side}_{_NAMES[self.recovery_of]}_{self.tau:g}", f"{side}_{_NAMES[self.mip_of]}_mip"
        return recovery, mip, f"l0_{self.above:g}"


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
        values = part.set_index([*ROW, "step"]).drop(columns=["seed", "fvu", "number"], errors="ignore")
        wrong = {}
        for column in values:
            number = number_of(str(column))
            unit = {"gt_recovery_percent": 100.0, "mip": 1.0, "l0": float(divisor)}[number]
            tolerance = TOLERANCE.get(number, L0_TOLERANCE * row.l0)
            wrong[column] = (unit * values[column] - getattr(row, number)).abs() / tolerance
        found.append(pd.DataFrame(wrong).groupby(level=[*ROW, "step"]).mean())
    return pd.concat(found)


def number_of(column: str) -> str:
    """Return which of `NUMBERS` a column of looks may be."""
    return "mip" if column.endswith("_mip") else "l0" if column.startswith("l0_") else "gt_recovery_percent"


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
    best: Nearest | None = None
    for reading, end, wrong in _candidates(protocol, looks, paper, divisor, readings, step):
        distance = float(np.nanmean(np.minimum(wrong / CAP, 1)))
        if best is None or distance < best.distance:
            best = Nearest(distance, int((wrong <= 1).sum()), int((~np.isnan(wrong)).sum()), end, reading)
    if best is None:
        raise ValueError("no reading to be near under")
    return best


def _candidates(
    protocol: Protocol,
    looks: pd.DataFrame,
    paper: pd.DataFrame,
    divisor: int,
    readings: Sequence[Reading] = READINGS,
    step: int | None = None,
) -> Iterator[tuple[Reading, int, np.ndarray]]:
    """Yield errors in tolerances (rows x `NUMBERS`) for every reading and end of a training."""
    rows = list(looks.fillna({"value": 0})[ROW].drop_duplicates().itertuples(index=False, name=None))
    wrong = errors(looks, paper, divisor)
    ends = sorted(looks["step"].unique()) if protocol.schedule == "constant" else [protocol.steps]
    ends = ends if step is None else [step]
    by_row = {row: wrong.loc[row].reindex(ends, fill_value=np.inf) for row in rows}
    for reading in readings:
        # rows x numbers x ends
        values = np.stack([by_row[row][list(reading.columns(str(row[0])))].to_numpy().T for row in rows])
        for place, end in enumerate(ends):
            yield reading, int(end), values[:, :, place]


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
        Columns ``number``, those of `Nearest`, those of `Reading`, then the protocol's settings.
    """
    rows = []
    for _, part in looks.groupby("number"):
        protocol = protocols[int(part["number"].iloc[0])]
        near = nearest(protocol, part, paper, divisor, readings, step)._asdict()
        reading = near.pop("reading")._asdict()
        rows.append({"number": int(part["number"].iloc[0]), **near, **reading, **vars(protocol)})
    return pd.DataFrame(rows).sort_values(["distance", "number"], ignore_index=True)


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
        runs = {int(str(number)): own for number, own in part.groupby("number")}
        near = {number: nearest(protocols[number], own, paper, divisor) for number, own in runs.items()}
        giving = sum(_gives_all(protocols[number], own, paper, divisor) for number, own in runs.items())
        best = min(near, key=lambda number: near[number].distance)
        found = near[best]
        place = {
            **dict(zip(ROW, key, strict=True)),
            "protocols": len(runs),
            "readings": len(READINGS),
            "giving": giving,
        }
        rows.append(
            {**place, "number": best, "distance": found.distance, "step": found.step, **found.reading._asdict()}
        )
    return pd.DataFrame(rows)


def _gives_all(protocol: Protocol, looks: pd.DataFrame, paper: pd.DataFrame, divisor: int) -> bool:
    tried = _candidates(protocol, looks, paper, divisor)
    return any(bool(((wrong <= 1) | np.isnan(wrong)).all()) for _, _, wrong in tried)


def agreement(
    one: tuple[Sequence[Protocol], pd.DataFrame, pd.DataFrame],
    other: tuple[Sequence[Protocol], pd.DataFrame, pd.DataFrame],
) -> pd.DataFrame:
    """Return whether two scales rank protocols alike.

    Parameters
    ----------
    one, other
        A stage's list, its looks, and its `distances`.

    Returns
    -------
    DataFrame
        Of the protocols that both have: ``quantity`` (the distance, or a column of looks after the last step),
        ``method`` (empty for the distance), ``protocols``, and Spearman's ``rank_correlation`` with its ``p``.
    """
    rows = []
    ranked = [table.set_index(_named(protocols, table["number"]))["distance"] for protocols, _, table in (one, other)]
    rows.append({"quantity": "distance", "method": "", **_ranks(*ranked)})
    ends = [_ends(protocols, looks) for protocols, looks, _ in (one, other)]
    for method in ends[0].index.get_level_values("method").unique():
        sides = [end.xs(method, level="method") for end in ends]
        for column in sides[0].columns:
            rows.append({"quantity": column, "method": method, **_ranks(sides[0][column], sides[1][column])})
    return pd.DataFrame(rows)


def _named(protocols: Sequence[Protocol], numbers: pd.Series) -> pd.Index:
    return pd.Index([str(protocols[number]) for number in numbers], name="protocol")


def _ends(protocols: Sequence[Protocol], looks: pd.DataFrame) -> pd.DataFrame:
    """Return the last looks, by protocol and method."""
    last = looks.sort_values("step").groupby(["number", "method"]).last().reset_index("method")
    last.index = _named(protocols, last.index.to_series())
    return last.set_index("method", append=True).drop(columns=["anchored", "value", "seed", "step"])


def _ranks(one: pd.Series, other: pd.Series) -> dict[str, float]:
    both = one.index.intersection(other.index)
    if one[both].nunique() < 2 or other[both].nunique() < 2:
        return {"protocols": len(both), "rank_correlation": np.nan, "p": np.nan}
    found = scipy.stats.spearmanr(one[both], other[both])
    return {"protocols": len(both), "rank_correlation": float(found.statistic), "p": float(found.pvalue)}
