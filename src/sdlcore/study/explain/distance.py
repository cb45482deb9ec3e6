"""How far a protocol is from the paper's Table 1, under which reading, and which of its numbers it gives.

Written down before the first training, with the stages of the search (docs/results/explain/README.md).
"""

from itertools import product
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from sdlcore.evaluation.metrics import COSINE, INNER
from sdlcore.study.explain.looks import ABOVE, TAUS
from sdlcore.study.explain.protocols import Protocol
from sdlcore.study.results.tables import PAPER_METHODS
from sdlcore.study.verdicts.readings import SIMILARITIES

TOLERANCE = {"gt_recovery_percent": 2.0, "mip": 0.02}
"""Within which a number is given, as verdicts have it: 2 points of recovery, .02 of MIP, and 5 % of the paper's L0."""
L0_TOLERANCE = 0.05
CAP = 10.0
"""Tolerances beyond which a number is wrong, and no more wrong than another."""
NUMBERS = ("gt_recovery_percent", "mip", "l0")
SIDES = {
    "encoder": ("encoder", "encoder"),
    "decoder": ("decoder", "decoder"),
    "decoder of autoencoders, encoder of others": ("decoder", "encoder"),
}
"""Which rows are read, of autoencoders and of transcoders and crosscoders."""
_NAMES = {COSINE: "cosine", INNER: "inner"}


class Reading(NamedTuple):
    """What the paper's three numbers are taken to mean, for all methods alike."""

    recovery: str
    mip: str
    tau: float
    side: str
    """A key of `SIDES`."""
    above: float
    """Latents above this count for L0."""

    def columns(self, method: str) -> tuple[str, str, str]:
        """Return the columns of looks (`sdlcore.study.explain.looks.Look`) that hold `NUMBERS`."""
        side = SIDES[self.side][method in ("transcoder", "crosscoder")]
        recovery, mip = f"{side}_{_NAMES[self.recovery]}_{self.tau:g}", f"{side}_{_NAMES[self.mip]}_mip"
        return recovery, mip, f"l0_{self.above:g}"


READINGS = [
    Reading(recovery, mip, tau, side, above)
    for (recovery, mip), tau, side, above in product(SIMILARITIES, TAUS, SIDES, ABOVE)
]


def errors(looks: pd.DataFrame, paper: pd.DataFrame, reading: Reading, divisor: int) -> pd.DataFrame:
    """Return how many tolerances each look is from the paper.

    Parameters
    ----------
    looks
        Columns ``method``, ``anchored`` and those of looks.
    paper
        As `sdlcore.study.results.tables.read_paper` returns it, of Table 1.
    reading
        What the numbers mean.
    divisor
        Of the scale; L0 is multiplied by it.

    Returns
    -------
    DataFrame
        The looks' index; columns `NUMBERS`.
    """
    published: dict[Any, Any] = {(row.method, row.anchoring): row for row in paper.itertuples(index=False)}
    found = pd.DataFrame(np.nan, index=looks.index, columns=list(NUMBERS))
    for (method, anchored), part in looks.groupby(["method", "anchored"]):
        row = published[PAPER_METHODS[str(method)], "anchored" if anchored else "none"]
        recovery, mip, l0 = (part[column] for column in reading.columns(str(method)))
        unit = {"gt_recovery_percent": 100.0, "mip": 1.0, "l0": float(divisor)}
        for number, ours in zip(NUMBERS, (recovery, mip, l0), strict=True):
            tolerance = TOLERANCE.get(number, L0_TOLERANCE * row.l0)
            found.loc[part.index, number] = (unit[number] * ours - getattr(row, number)).abs() / tolerance
    return found


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


def nearest(protocol: Protocol, looks: pd.DataFrame, paper: pd.DataFrame, divisor: int) -> Nearest:
    """Return where a protocol is nearest to the paper: one step and one reading for all methods and seeds.

    Where the learning rate is constant any look may be the end of a training, else the last one alone. Rows that
    diverged before count as wrong in all numbers.
    """
    rows = looks[["method", "anchored"]].drop_duplicates()
    steps = sorted(looks["step"].unique()) if protocol.schedule == "constant" else [protocol.steps]
    best: Nearest | None = None
    for reading in READINGS:
        wrong = errors(looks, paper, reading, divisor)
        wrong[["method", "anchored", "step"]] = looks[["method", "anchored", "step"]]
        means = wrong.groupby(["step", "method", "anchored"])[list(NUMBERS)].mean()
        for step in steps:
            at = means.loc[step] if step in means.index.get_level_values(0) else means.iloc[:0]
            values = at.to_numpy()
            missing = (len(rows) - len(at)) * len(NUMBERS)
            total = len(rows) * len(NUMBERS)
            distance = (np.minimum(values / CAP, 1).sum() + missing) / total
            if best is None or distance < best.distance:
                best = Nearest(float(distance), int((values <= 1).sum()), total, int(step), reading)
    assert best is not None
    return best
