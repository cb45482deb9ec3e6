"""Compare dictionaries of the same activations, latent by latent: their decoder columns, active samples and values."""

from collections.abc import Mapping, Sequence
from itertools import combinations
from typing import TYPE_CHECKING, Any

import numpy as np
import scipy.optimize
import scipy.sparse
import scipy.stats
import torch

from sdlcore.data.recovery_rule import recovered
from sdlcore.dictionary.dictionary import Dictionary
from sdlcore.dictionary.load import coders_of
from sdlcore.dictionary.samples import encode_sparse, require_width, samples_of
from sdlcore.extras import data_frame
from sdlcore.model.coder import SparseCoder
from sdlcore.text import number, table

if TYPE_CHECKING:
    import pandas as pd

TOP = 20
"""Number of samples with the largest activations."""
KEPT = 0.5
"""Least Jaccard index and overlap of top samples of a latent that keeps its meaning."""
MEASURES = ("jaccard", "rank_correlation", "top_overlap", "cosine")
SUMMARY = ("kept", "cosine_0.9", *MEASURES)
LEGEND = """jaccard: share of common active samples; top_overlap: of the 20 top samples; cosine: of decoder columns
kept: share of latents with a jaccard and a top_overlap of .5 or more, which falls with the number of samples
cosine_0.9: share with a cosine above .9; with a small jaccard, these are often copies, which divide a feature's samples
rank_correlation: Spearman's, over samples that activate either latent; negative if most activate only one latent"""


class Comparison(dict[str, dict[str, np.ndarray]]):
    """The measures of each pair of latents, for ``after`` and for the dictionaries beside it; prints as a small table.

    ``comparison["after"]["jaccard"]`` has a number for each matched latent of ``before``.
    """

    def to_frame(self) -> "pd.DataFrame":
        """Return a table with a row for each dictionary and matched latent of ``before``, and a column a measure."""
        rows = [[name, *latent] for name in self for latent in zip(*self[name].values(), strict=True)]
        return data_frame(rows, columns=["dictionary", "latent", "partner", *MEASURES, "kept"]).set_index("dictionary")

    def summary(self, name: str = "after") -> dict[str, float]:
        """Return shares of latents (``kept``, and ``cosine_0.9`` with a cosine above .9), and the mean of each measure.

        All are over the latents of ``before`` that are active in some sample and have a partner.
        """
        columns = self[name] | {"cosine_0.9": recovered(self[name]["cosine"], 0.9)}
        alive = ~np.isnan(columns["jaccard"])
        measured = {key: columns[key][alive & ~np.isnan(columns[key])] for key in SUMMARY}
        means = {key: float(values.mean()) if len(values) else np.nan for key, values in measured.items()}
        return {"latents": int(alive.sum()), **means}

    def __repr__(self) -> str:
        rows = [[name, *(number(value) for value in self.summary(name).values())] for name in self]
        return f"{table([['', 'latents', *SUMMARY], *rows])}\n{LEGEND}"


def compare(
    before: Dictionary | SparseCoder,
    after: Dictionary | SparseCoder,
    x: Any,
    *,
    beside: Mapping[str, Dictionary | SparseCoder] | None = None,
) -> Comparison:
    """Measure which latents of ``before`` still mean the same in ``after``, on the same samples.

    ``after`` may be the same rows with other codes (`search`, `reencode`), refined rows (`refine`), or another
    training. Latents are matched one to one, so that the sum of the cosines of decoder columns is largest (the
    Hungarian method); equal decoders keep their order.

    Parameters
    ----------
    before, after
        Two dictionaries that read the same activations.
    x
        Samples, as `Dictionary.encode` takes them.
    beside
        Further dictionaries to compare ``before`` with, by name, such as a training with another seed or on
        another half of the data. They show how much meanings differ without a change of codes or rows.

    Returns
    -------
    For ``after`` and each dictionary beside it, arrays with a number for each matched latent of ``before``:

    latent, partner
        Its index, and the index of its match.
    jaccard
        |A and B| / |A or B| for the sets A and B of samples that activate the two latents; NaN if both are empty.
    rank_correlation
        Spearman's correlation of their values over the samples in A or B; NaN if one latent is constant there.
    top_overlap
        Share of common samples among the 20 largest absolute values of each latent. Fewer than 20 are compared if
        neither latent is active in 20.
    cosine
        Cosine of their decoder columns.
    kept
        Whether the latent keeps its meaning: its Jaccard index and its top overlap are at least .5. Among more samples,
        fewer of the top 20 agree, so compare shares at equal numbers of samples.

    Raises
    ------
    ValueError
        If a dictionary contains NaN, or its dimensions do not fit ``x`` or ``before``.
    """
    coders = coders_of({"before": before, "after": after, **(beside or {})})
    codes = {name: _codes(coder, x) for name, coder in coders.items()}
    first, W_dec = codes.pop("before"), coders["before"].W_dec
    comparison = Comparison()
    for name, other in codes.items():
        latents, partners, cosines = match_rows(W_dec, coders[name].W_dec)
        columns = [_measured(_column(first, i), _column(other, j)) for i, j in zip(latents, partners, strict=True)]
        jaccard, ranks, top_overlap = np.array(columns).reshape(-1, 3).T
        found = dict(zip(MEASURES, (jaccard, ranks, top_overlap, cosines), strict=True))
        keeps_meaning = (jaccard >= KEPT) & (top_overlap >= KEPT)
        comparison[name] = {"latent": latents, "partner": partners, **found, "kept": keeps_meaning}
    return comparison


def _codes(coder: SparseCoder, x: Any) -> scipy.sparse.csc_array:
    with samples_of(x, coder.config.pair) as samples:
        require_width(samples.shape, coder.W_enc.shape[1])
        codes = encode_sparse(coder, samples).tocsc()
    codes.eliminate_zeros()
    return codes


def _column(codes: scipy.sparse.csc_array, latent: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the samples that activate a latent, in order, and its values there."""
    span = slice(codes.indptr[latent], codes.indptr[latent + 1])
    return codes.indices[span], codes.data[span]


def _measured(one: tuple[np.ndarray, np.ndarray], other: tuple[np.ndarray, np.ndarray]) -> tuple[float, float, float]:
    """Return Jaccard index, rank correlation and top overlap of two latents."""
    (rows, values), (other_rows, other_values) = one, other
    either = np.union1d(rows, other_rows)
    if not len(either):
        return np.nan, np.nan, np.nan
    both = np.zeros((2, len(either)))
    both[0, np.searchsorted(either, rows)] = values
    both[1, np.searchsorted(either, other_rows)] = other_values
    constant = (both == both[:, :1]).all(axis=1).any()
    correlation = np.nan if constant else float(scipy.stats.spearmanr(*both).statistic)
    tops = [set(of[np.argsort(-np.abs(at), kind="stable")[:TOP]].tolist()) for of, at in (one, other)]
    jaccard = (len(rows) + len(other_rows) - len(either)) / len(either)
    return jaccard, correlation, len(tops[0] & tops[1]) / max(map(len, tops))


TAUS = (0.7, 0.9)
"""Two latents with a cosine above this count as shared."""


class Stability(dict[tuple[Any, Any], dict[str, np.ndarray]]):
    """Cosines of matched latents, by the names of two dictionaries; prints as a small table.

    ``stability[0, 1]["decoder"]`` has a number for each latent of the smaller dictionary, in the order of the first
    one. ``encoder`` rows are matched for themselves.
    """

    def rows(self) -> list[dict[str, Any]]:
        """Return a row a pair: shares of decoder columns and encoder rows above each of `TAUS`, and mean cosines."""
        rows: list[dict[str, Any]] = [{"first": first, "second": second} for first, second in self]
        for row, sides in zip(rows, self.values(), strict=True):
            for side, cosines in sides.items():
                row |= {f"{side}_{tau}": float(recovered(cosines, tau).mean()) for tau in TAUS}
                row[f"{side}_mean"] = float(cosines.mean())
        return rows

    def to_frame(self) -> "pd.DataFrame":
        """Return `rows` as a table."""
        return data_frame(self.rows())

    def __repr__(self) -> str:
        rows = [[str(x) if key in ("first", "second") else number(x) for key, x in row.items()] for row in self.rows()]
        return table([[*self.rows()[0]], *rows])


def stability(dictionaries: Sequence[Dictionary | SparseCoder] | Mapping[Any, Dictionary | SparseCoder]) -> Stability:
    """Match the latents of several dictionaries, and measure how many of them the dictionaries share.

    Latents of two dictionaries are matched one to one, so that the sum of cosines is largest (the Hungarian method):
    decoder columns with decoder columns, and encoder rows with encoder rows. Latents without a direction have the
    cosine 0. Time and memory grow with the square of the width at least: 4,096 latents take seconds, 16,384 minutes and
    some GB.

    Parameters
    ----------
    dictionaries
        Two or more, of the same dimensions; by name, or numbered from 0.

    Returns
    -------
    The cosines of matched latents by pair. Shares count the smaller dictionary's latents.

    Raises
    ------
    ValueError
        If there are fewer than two, one contains NaN, or dimensions differ.
    """
    coders = coders_of(dictionaries)
    if len(coders) < 2:
        raise ValueError(f"found {len(coders)} dictionaries, expected two or more to compare")
    cosines = Stability()
    for (name, one), (other, two) in combinations(coders.items(), 2):
        sides = {"decoder": (one.W_dec, two.W_dec), "encoder": (one.W_enc, two.W_enc)}
        cosines[name, other] = {side: match_rows(*both)[2] for side, both in sides.items()}
    return cosines


def match_rows(W: torch.Tensor, other: torch.Tensor) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Match rows one to one, so that the sum of cosines is largest; return both indices and the cosines.

    Rows of equal matrices keep their order, whichever of them are parallel or zero.
    """
    if W.shape[1] != other.shape[1]:
        raise ValueError(f"dictionaries have {W.shape[1]} and {other.shape[1]} dimensions, expected the same")
    one_QD, other_QD = (torch.nn.functional.normalize(rows.detach().cpu().float()) for rows in (W, other))
    if W.shape == other.shape and torch.allclose(one_QD, other_QD, atol=1e-6):
        same = np.arange(len(W))
        return same, same, (one_QD * other_QD).sum(1).numpy()
    cosines = (one_QD @ other_QD.T).numpy()
    rows, columns = scipy.optimize.linear_sum_assignment(cosines, maximize=True)
    return rows, columns, np.asarray(cosines[rows, columns])
