"""Readings of the paper's tables: the meanings that its numbers can have, as data.

The paper leaves open the threshold of recovery, the similarity, the features that are scored, the number of anchors,
and k. A reading fixes all of these choices. Each table is judged under the reading that its text states; the other
readings show what else a number could mean. With enough readings anything can be reproduced, so each count of
reproduced numbers comes with the number of readings tried.
"""

from collections.abc import Iterator
from functools import cache
from itertools import product
from typing import Any, NamedTuple

from sdlcore.data.recovery_rule import TAU, TAU_STRICT
from sdlcore.evaluation.metric_names import GT_RECOVERY, MIP, SIDES, FeatureSet, Matched, Measure, Similarity


class Reading(NamedTuple):
    """One meaning of a table's numbers."""

    tau: float
    """Threshold of recovery."""
    recovery: str
    """The `Similarity` of recovery: cosines, or inner products with rows that are not normalised."""
    mip: str
    """The `Similarity` of MIP."""
    side: str
    """Whose directions are compared: encoder or decoder."""
    scored: str
    """The `FeatureSet` that anchored rows are scored on, all or unanchored. Rows without anchors are scored on all."""
    n_anchors: int
    """Number of anchors of the anchored rows."""
    k: int
    """Active latents of the methods in `WITH_K`, unless the table varies k."""

    def similarity(self, measure: Measure) -> str:
        """Return the similarity of recovery or of MIP."""
        return self.recovery if measure == GT_RECOVERY else self.mip

    @property
    def of_the_paper(self) -> tuple[str, str, str]:
        """Similarities and side. One formula fixes similarity and side for all tables; the other fields may differ
        between tables."""
        return self.recovery, self.mip, self.side


class Question(NamedTuple):
    """The runs and the metric that correspond to one number under a reading."""

    metric: str
    n_anchors: int | None
    """None for a row without anchors."""
    k: int | None
    """None for methods without k, and in tables that vary it."""


VERSION_3, LATER = "version 3", "later revision"
JUDGED = LATER
"""The stated reading under which tables are judged."""
WITH_K = ("TopK SAE", "BatchTopK SAE", "Matryoshka SAE", "Transcoder", "Crosscoder")
"""Methods that keep k latents."""
MEASURED = {"gt_recovery_percent": GT_RECOVERY, "mip": MIP}
"""The paper's numbers that follow from the best matches of features."""
TAUS = (TAU_STRICT, TAU)
SIMILARITIES = (
    (Similarity.INNER, Similarity.INNER),
    (Similarity.COSINE, Similarity.COSINE),
    (Similarity.COSINE, Similarity.INNER),
)
"""Pairs of the similarity of recovery and the similarity of MIP."""
ANCHORS = {"table2": (30,), "table4": (100,), "table7": (100,)}
"""Table -> possible numbers of anchors, by default 30 or 100. Tables 4 to 7 state 100, but Tables 5 and 6 repeat
Table 1's rows, whose recoveries are whole numbers out of 970 features."""
K = {"table2": (64,), "table7": (64,)}
"""Table -> possible values of k, by default 64 or 128, the larger two of Table 7: Table 1's TopK agrees with 128.
Table 2's k follows from its L0, and Table 7 varies k."""


def stated(table: str) -> dict[str, Reading]:
    """Return the readings that the versions of the paper state for a table, `JUDGED` first.

    Both versions define similarity as |W_E W_p|, where only the true features are normalised. Version 3 gives .9 as
    the first of two thresholds, averages over all features, and has 100 anchors in its appendix. The later revision
    states .95 and scores only the features that are not anchors, both in Table 1's caption alone; we use .95 for all
    tables. Neither version states Table 1's 30 anchors, which follow from its anchored rows (whole numbers out of 970),
    or k, which follows from the L0 of its BatchTopK, 65.0.
    """
    n_anchors = 30 if table == "table2" else 100
    first = Reading(
        tau=TAU,
        recovery=Similarity.INNER,
        mip=Similarity.INNER,
        side="encoder",
        scored=FeatureSet.ALL,
        n_anchors=n_anchors,
        k=64,
    )
    later = first._replace(tau=TAU_STRICT)
    if table == "table1":
        later = later._replace(scored=FeatureSet.UNANCHORED, n_anchors=30)
    return {LATER: later, VERSION_3: first}


@cache
def readings(table: str) -> list[Reading]:
    """Return all readings to try for a table: the judged one, the other stated one, then the alternatives."""
    listed = [
        Reading(tau, recovery, mip, side, scored, n_anchors, k)
        for (recovery, mip), side, tau, scored, n_anchors, k in product(
            SIMILARITIES,
            SIDES,
            TAUS,
            (FeatureSet.UNANCHORED, FeatureSet.ALL),
            ANCHORS.get(table, (30, 100)),
            K.get(table, (64, 128)),
        )
    ]
    return list(dict.fromkeys([*stated(table).values(), *listed]))


def question(row: Any, reading: Reading) -> Question:
    """Return the meaning of a row of `paper.read_numbers` under a reading. Several readings may have the same
    meaning."""
    anchored = row["anchoring"] != "none"
    n_anchors = reading.n_anchors if anchored else None
    k = reading.k if row["method"] in WITH_K and row["parameter"] != "k" else None
    if row["number"] == "l0":
        return Question("l0", n_anchors, k)
    measure = MEASURED[row["number"]]
    scored = reading.scored if anchored else FeatureSet.ALL
    matched = Matched(reading.side, reading.similarity(measure), scored, measure=measure, tau=reading.tau)
    return Question(matched.name, n_anchors, k)


def questions(row: Any) -> dict[Question, Reading]:
    """Return the possible meanings of a row's number, each with its first reading; the judged meaning comes first."""
    meanings: dict[Question, Reading] = {}
    for reading in readings(row["table"]):
        meanings.setdefault(question(row, reading), reading)
    return meanings


def describe(row: Any, reading: Reading) -> str:
    """Return the choices of a reading that matter for a row's number, in words; a stated reading by its name."""
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
