"""Compare dictionaries of the same activations, latent by latent: their rows, active samples and values."""

from collections.abc import Mapping, Sequence
from itertools import combinations
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import scipy.optimize
import scipy.sparse
import scipy.stats
import torch

from sdlcore.data.recovery_rule import recovered
from sdlcore.dictionary.dictionary import ROWS_AT_ONCE, Dictionary
from sdlcore.dictionary.load import check_sample_shape, coders_of
from sdlcore.dictionary.samples import encode_sparse, samples_of
from sdlcore.extras import extra
from sdlcore.model.coder import SparseCoder
from sdlcore.text import number, table

if TYPE_CHECKING:
    import pandas as pd

TOP = 20
"""Number of samples with the largest activations."""
KEPT = 0.5
"""A latent keeps its meaning if the Jaccard index and the overlap of top samples are at least this."""
MEASURES = ("jaccard", "rank_correlation", "top_overlap", "cosine")


class Comparison(dict[str, dict[str, np.ndarray]]):
    """The measures of each pair of latents, for ``after`` and for the dictionaries beside it; prints as a small table.

    ``comparison["after"]["jaccard"]`` has a number for each matched latent of ``before``.
    """

    def to_frame(self, name: str = "after") -> "pd.DataFrame":
        """Return a table, a row a matched latent of ``before``: the matched latent, the four measures, ``kept``."""
        with extra("tables"):
            import pandas as pd

        columns = {key: values for key, values in self[name].items() if key != "latent"}
        kept = {"kept": self._kept(self[name])}
        return pd.DataFrame(columns | kept, index=pd.Index(self[name]["latent"], name="latent"))

    def summary(self, name: str = "after") -> dict[str, float]:
        """Return ``kept``, the share of latents that keep their meaning, and the mean of each measure.

        Both are over the latents of ``before`` that are active in some sample and have a partner.
        """
        columns = self[name]
        alive = ~np.isnan(columns["jaccard"])
        measured = {"kept": self._kept(columns), **{key: columns[key] for key in MEASURES}}
        found = {key: values[alive & ~np.isnan(values)] for key, values in measured.items()}
        means = {key: float(values.mean()) if len(values) else np.nan for key, values in found.items()}
        return {"latents": int(alive.sum()), **means}

    def __repr__(self) -> str:
        rows = [[name, *(number(value) for value in self.summary(name).values())] for name in self]
        return table([["", "latents", "kept", *MEASURES], *rows])

    @staticmethod
    def _kept(columns: Mapping[str, np.ndarray]) -> np.ndarray:
        return (columns["jaccard"] >= KEPT) & (columns["top_overlap"] >= KEPT)


def compare(
    before: Dictionary | SparseCoder,
    after: Dictionary | SparseCoder,
    x: Any,
    *,
    beside: Mapping[str, Dictionary | SparseCoder] | None = None,
) -> Comparison:
    """Measure which latents of ``before`` still mean the same in ``after``, on the same samples.

    ``after`` may be the same rows with other codes (`search`, `reencode`), refined rows (`refine`), or another
    training. Latents are matched one to one, so that the sum of the cosines of decoder rows is largest (the Hungarian
    method); equal decoders keep their order.

    Parameters
    ----------
    before, after
        Two dictionaries that read the same activations.
    x
        Samples, as `Dictionary.encode` takes them.
    beside
        Further dictionaries to compare ``before`` with, by name, such as another seed's, or one that was trained on
        another half of the data. They show how much a meaning changes without a cause.

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
        Share of the 20 samples with the largest absolute values that both have; of fewer, if neither is active in 20.
    cosine
        Cosine of their decoder rows.

    A latent keeps its meaning (``kept``) if its Jaccard index and its top overlap are at least .5.

    Raises
    ------
    ValueError
        If a dictionary contains NaN, or dimensions differ from those of ``x`` or of ``before``.
    """
    coders = coders_of({"before": before, "after": after, **(beside or {})})
    codes = {name: _codes(name, coder, x) for name, coder in coders.items()}
    first, W_dec = codes.pop("before"), coders["before"].W_dec
    comparison = Comparison()
    for name, other in codes.items():
        latents, partners, cosines = _matches(W_dec, coders[name].W_dec)
        columns = [_measured(_column(first, i), _column(other, j)) for i, j in zip(latents, partners, strict=True)]
        measures = dict(zip(MEASURES, np.array(columns).reshape(-1, 3).T, strict=False))
        comparison[name] = {"latent": latents, "partner": partners, **measures, "cosine": cosines}
    return comparison


def _codes(name: str, coder: SparseCoder, x: Any) -> scipy.sparse.csc_array:
    with samples_of(x, coder.config.pair) as samples:
        check_sample_shape(name, coder, samples.shape)
        return encode_sparse(coder, samples, ROWS_AT_ONCE).tocsc()


def _matches(W: torch.Tensor, other: torch.Tensor) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return indices of matched rows, and their cosines."""
    W, other = unit_rows(W), unit_rows(other)
    if W.shape == other.shape and torch.allclose(W, other, atol=1e-6):
        same = np.arange(len(W))
        return same, same, (W * other).sum(1).numpy()
    return match_rows(W, other)


def _column(codes: scipy.sparse.csc_array, latent: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the samples that activate a latent, in order, and its values there."""
    span = slice(codes.indptr[latent], codes.indptr[latent + 1])
    active = codes.data[span] != 0
    return codes.indices[span][active], codes.data[span][active]


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


class Pairing(NamedTuple):
    """The latents of two dictionaries, matched one to one."""

    first: Any
    second: Any
    """Names of the dictionaries."""
    decoder: np.ndarray
    """Cosines of matched decoder columns, one for each latent of the smaller dictionary, in the first one's order."""
    encoder: np.ndarray
    """Cosines of encoder rows, which are matched for themselves."""

    def shared(self, side: str, tau: float) -> float:
        """Return the share of latents whose match has a cosine above ``tau``; side is encoder or decoder."""
        return float(recovered(getattr(self, side), tau).mean())


class Stability(list[Pairing]):
    """All pairs of several dictionaries; prints as a small table."""

    def to_frame(self) -> "pd.DataFrame":
        """Return a table, a row a pair: shares of decoder columns and encoder rows at each tau, and mean cosines."""
        with extra("tables"):
            import pandas as pd

        return pd.DataFrame([{"first": pair.first, "second": pair.second, **self._columns(pair)} for pair in self])

    def __repr__(self) -> str:
        head = ["first", "second", *self._columns(self[0])] if self else ["first", "second"]
        rows = [
            [str(pair.first), str(pair.second), *(f"{x:.3f}" for x in self._columns(pair).values())] for pair in self
        ]
        return table([head, *rows])

    @staticmethod
    def _columns(pair: Pairing) -> dict[str, float]:
        columns: dict[str, float] = {}
        for side in ("decoder", "encoder"):
            columns |= {f"{side}_{tau}": pair.shared(side, tau) for tau in TAUS}
            columns[f"{side}_mean"] = float(getattr(pair, side).mean())
        return columns


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
    Each pair, with the cosines of matched latents. Shares count the smaller dictionary's latents.

    Raises
    ------
    ValueError
        If there are fewer than two, one contains NaN, or dimensions differ.
    """
    coders = coders_of(dictionaries)
    if len(coders) < 2:
        raise ValueError(f"found {len(coders)} dictionaries, expected two or more to compare")
    decoders = {name: unit_rows(coder.W_dec) for name, coder in coders.items()}
    encoders = {name: unit_rows(coder.W_enc) for name, coder in coders.items()}
    return Stability(
        Pairing(name, other, *(match_rows(rows[name], rows[other])[2] for rows in (decoders, encoders)))
        for name, other in combinations(coders, 2)
    )


def unit_rows(W: torch.Tensor) -> torch.Tensor:
    """Return rows at unit norm, float32 on the CPU; zeros stay zero."""
    return torch.nn.functional.normalize(W.detach().cpu().float())


def match_rows(one_QD: torch.Tensor, other_QD: torch.Tensor) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Match unit rows one to one, so that the sum of cosines is largest; return both indices and the cosines."""
    if one_QD.shape[1] != other_QD.shape[1]:
        raise ValueError(f"dictionaries have {one_QD.shape[1]} and {other_QD.shape[1]} dimensions, expected the same")
    cosines = (one_QD @ other_QD.T).numpy()
    rows, columns = scipy.optimize.linear_sum_assignment(cosines, maximize=True)
    return rows, columns, np.asarray(cosines[rows, columns])
