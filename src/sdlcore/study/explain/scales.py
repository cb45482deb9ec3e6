"""Whether two scales rank protocols alike."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
import scipy.stats

from sdlcore.study.explain.protocols import Protocol


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
