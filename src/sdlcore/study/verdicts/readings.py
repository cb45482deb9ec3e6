"""What the paper's numbers may mean: readings of its tables, as data.

The paper leaves open at which threshold recovery is counted, by which similarity, over which features, with how many
anchors and which k. A reading is one choice of all of these. Each table is judged under the reading that its text
states; the alternatives say what else a number could be. Enough readings make anything reproducible, so how many were
tried stands beside every count.
"""

from collections.abc import Iterator
from functools import cache
from itertools import product
from typing import Any, NamedTuple

from sdlcore.data.recovery_rule import TAU, TAU_STRICT
from sdlcore.evaluation.metrics import ALL, COSINE, GT_RECOVERY, INNER, MIP, OTHERS, SIDES, Matched, Measure


class Reading(NamedTuple):
    """One meaning of a table's numbers."""

    tau: float
    """Threshold of recovery."""
    recovery: str
    """Similarity whose best match recovery counts: `COSINE`, or `INNER` products with rows that are not normalised."""
    mip: str
    """Similarity that MIP averages."""
    side: str
    """encoder or decoder."""
    scored: str
    """Features that anchored rows are scored on: `ALL`, or `OTHERS`. Rows without anchors are scored on all."""
    n_anchors: int
    """Anchors of the anchored rows."""
    k: int
    """Active latents of TopK and its kin, where the table does not vary them."""

    def similarity(self, measure: Measure) -> str:
        """Return the similarity whose best matches recovery counts, or MIP averages."""
        return self.recovery if measure == GT_RECOVERY else self.mip

    @property
    def of_the_paper(self) -> tuple[str, str, str]:
        """Similarities and side, which one formula says for all tables; the rest is each table's own."""
        return self.recovery, self.mip, self.side


class Question(NamedTuple):
    """What a reading makes of one number: the runs to look at, and their metric."""

    metric: str
    n_anchors: int | None
    """None for a row without anchors."""
    k: int | None
    """None for a method without one, and where the table varies it."""


VERSION_3, LATER = "version 3", "later revision"
JUDGED = LATER
"""The stated reading that tables are judged under."""
WITH_K = ("TopK SAE", "BatchTopK SAE", "Matryoshka SAE", "Transcoder", "Crosscoder")
"""Methods that keep k latents."""
MEASURED = {"gt_recovery_percent": GT_RECOVERY, "mip": MIP}
"""The paper's numbers that are made of the best matches of features."""
TAUS = (TAU_STRICT, TAU)
SIMILARITIES = ((INNER, INNER), (COSINE, COSINE), (COSINE, INNER))
"""Of recovery and of MIP."""
ANCHORS = {"table2": (30,), "table4": (100,), "table7": (100,)}
"""Numbers of anchors that a table may have; others may have either. Tables 4 and 7 say 100. Tables 5 and 6 do, too,
but repeat Table 1's block, whose anchored rows are whole numbers out of 970 features."""
K = {"table2": (64,), "table7": (64,)}
"""The k that a table may have: its L0 tells Table 2's, and Table 7 varies it. Others may have 64 or 128, Table 7's
larger two: 128 is what Table 1's TopK agrees with."""


def stated(table: str) -> dict[str, Reading]:
    """Return the readings that the paper states for a table, by the version that states them, `JUDGED` first.

    Both versions define similarity as |W_E W_p|, in which only the true features are normalised. Version 3 names .9
    first of two thresholds, averages over all features, and has 100 anchors in its appendix. The later revision states
    .95 and the features that are no anchors, both in Table 1's caption and nowhere else, so .95 is taken for all
    tables. Two numbers neither states: Table 1's 30 anchors, by which its anchored rows are whole numbers out of the
    others, and k, which is taken from the L0 of its BatchTopK, 65.0.
    """
    n_anchors = 30 if table == "table2" else 100
    first = Reading(tau=TAU, recovery=INNER, mip=INNER, side="encoder", scored=ALL, n_anchors=n_anchors, k=64)
    later = first._replace(tau=TAU_STRICT)
    if table == "table1":
        later = later._replace(scored=OTHERS, n_anchors=30)
    return {LATER: later, VERSION_3: first}


@cache
def readings(table: str) -> list[Reading]:
    """Return every listed reading of a table: the one that it is judged under, the other stated one, then the rest."""
    listed = [
        Reading(tau, recovery, mip, side, scored, n_anchors, k)
        for (recovery, mip), side, tau, scored, n_anchors, k in product(
            SIMILARITIES,
            SIDES,
            TAUS,
            (OTHERS, ALL),
            ANCHORS.get(table, (30, 100)),
            K.get(table, (64, 128)),
        )
    ]
    return list(dict.fromkeys([*stated(table).values(), *listed]))


def question(row: Any, reading: Reading) -> Question:
    """Return what a reading makes of a row of `paper.read_numbers`; equal for readings that do not differ on it."""
    anchored = row["anchoring"] != "none"
    n_anchors = reading.n_anchors if anchored else None
    k = reading.k if row["method"] in WITH_K and row["parameter"] != "k" else None
    if row["number"] == "l0":
        return Question("l0", n_anchors, k)
    measure = MEASURED[row["number"]]
    scored = reading.scored if anchored else ALL
    matched = Matched(reading.side, reading.similarity(measure), scored, measure=measure, tau=reading.tau)
    return Question(matched.name, n_anchors, k)


def questions(row: Any) -> dict[Question, Reading]:
    """Return what a row's number may be, each with the first reading that makes it so; the judged one comes first."""
    asked: dict[Question, Reading] = {}
    for reading in readings(row["table"]):
        asked.setdefault(question(row, reading), reading)
    return asked


def describe(row: Any, reading: Reading) -> str:
    """Return a reading in words, as far as a row's number hangs on it; a stated one by its name."""
    for name, text in stated(row["table"]).items():
        if question(row, reading) == question(row, text):
            return name
    return ", ".join(_parts(row, reading))


def _parts(row: Any, reading: Reading) -> Iterator[str]:
    anchored = row["anchoring"] != "none"
    if measure := MEASURED.get(row["number"]):
        yield reading.side
        yield reading.similarity(measure)
        if measure == GT_RECOVERY:
            yield f"tau = {reading.tau:g}"
        if anchored:
            yield reading.scored
    if anchored:
        yield f"{reading.n_anchors} anchors"
    if (k := question(row, reading).k) is not None:
        yield f"k = {k}"
