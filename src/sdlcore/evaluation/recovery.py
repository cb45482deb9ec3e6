"""Recovery of true directions by learned ones (section 5.1).

There are two similarities: the absolute cosine, and the inner product of the paper's formula |W_E W_p|, which
normalises the true features but not the learned rows.

The best linear read-out of a feature is its direction times the inverse covariance Sigma of the input, so that it
ignores the other features. The direction that such a row responds to is its *pattern*: the covariance of the input with
the row's output (Haufe et al. 2014, "On the interpretation of weight vectors of linear models in multivariate
neuroimaging", eq. 7, row by row). The pattern of a row w is Sigma w. For the row Sigma^-1 w_d, the best read-out of a
feature d that is uncorrelated with others, the pattern is w_d.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

import numpy as np
import scipy.optimize
import scipy.special

from sdlcore.data.recovery_rule import TAU, TAU_STRICT, recovered
from sdlcore.evaluation.metrics import SIDES


class Match(NamedTuple):
    """The best learned direction for each of n true features."""

    similarity: np.ndarray
    """n floats."""
    latent: np.ndarray
    """n integers."""


def normalise_rows(W: np.ndarray) -> np.ndarray:
    """Return ``W`` with unit rows, however large or small its entries; zero rows stay zero."""
    W = ordinary_rows(W)
    norms = np.linalg.norm(W, axis=1, keepdims=True)
    return W / np.where(norms > 0, norms, 1.0)


def ordinary_rows(W: np.ndarray) -> np.ndarray:
    """Scale each row by a power of two, so that its largest entry is between a half and one.

    Scaling by a power of two is exact. Without scaling, float32 squares overflow beyond 1e19 and vanish below 1e-22.
    """
    return np.ldexp(W, -np.frexp(np.abs(W).max(axis=1, keepdims=True))[1])


def best_match(learned: np.ndarray, true: np.ndarray) -> Match:
    """Match each row of ``true`` (n x d, unit rows) to the row of ``learned`` (m x d) of largest |inner product|."""
    # in float64, so that a perfect match is 1 up to its own rounding
    similarity = np.abs(true.astype(np.float64) @ learned.astype(np.float64).T)
    latent = similarity.argmax(axis=1)
    return Match(similarity[np.arange(len(true)), latent], latent)


def gt_recovery(match: Match, tau: float = TAU) -> float:
    """Share of features whose best match exceeds tau (the paper's M_GT)."""
    return float(recovered(match.similarity, tau).mean())


def mip(match: Match) -> float:
    """Mean best match (the paper's maximum inner product)."""
    return float(match.similarity.mean())


def match_metrics(directions: str, best: np.ndarray) -> dict[str, float]:
    """Return recovery at both thresholds and MIP, by name, from the best match of each feature; at least one."""
    return {
        f"gt_recovery_{directions}": float(recovered(best).mean()),
        f"gt_recovery_{directions}_tau95": float(recovered(best, TAU_STRICT).mean()),
        f"mip_{directions}": float(best.mean()),
    }


def recovery_metrics(
    directions: str,
    best: np.ndarray,
    anchored: np.ndarray,
    parts: Iterable[str] = ("", "_anchored", "_unanchored"),
) -> dict[str, float | None]:
    """Return recovery and MIP over all features, over anchored features, and over the others; None for an empty set.

    The metrics' names contain ``directions``, such as encoder or decoder_raw. ``best`` is the best match of each
    of n features. ``anchored`` are the indices of features that anchors reveal.
    """
    is_anchored = np.isin(np.arange(len(best)), anchored)
    subsets = {"": best, "_anchored": best[is_anchored], "_unanchored": best[~is_anchored]}
    metrics: dict[str, float | None] = {}
    for part in parts:
        chosen = subsets[part]
        part_metrics = match_metrics(f"{directions}{part}", chosen if len(chosen) else np.zeros(1))
        metrics |= part_metrics if len(chosen) else dict.fromkeys(part_metrics)
    return metrics


def metrics_by_anchors(best: Mapping[str, Sequence[float]], anchored: np.ndarray) -> dict[str, float | None]:
    """Return recovery and MIP over anchored features and over the others, from the best matches in a metrics file.

    These are keyed by directions: ``encoder``, ``decoder``, ``encoder_raw`` and ``decoder_raw``. Other keys are
    ignored.
    """
    metrics: dict[str, float | None] = {}
    for name, similarity in best.items():
        if name.removesuffix("_raw") in SIDES:
            metrics |= recovery_metrics(name, np.array(similarity), anchored, ("_anchored", "_unanchored"))
    return metrics


def hungarian(learned: np.ndarray, true: np.ndarray) -> float:
    """Mean |cosine| of the best one-to-one assignment of rows of ``learned`` (m x d) to rows of ``true`` (n x d, unit).

    The mean is over the n features. Features that get no latent, because there are fewer latents than features, count
    as zero.
    """
    similarity = np.abs(true @ normalise_rows(learned).T)
    rows, columns = scipy.optimize.linear_sum_assignment(similarity, maximize=True)
    return float(similarity[rows, columns].sum() / len(true))


def one_to_one(learned: np.ndarray, true: np.ndarray) -> Match:
    """Match each row of ``true`` (n x d, unit rows) to a different row of ``learned`` (m x d), n <= m.

    The assignment maximises the sum of |cosines|.
    """
    similarity = np.abs(true.astype(np.float64) @ normalise_rows(learned).astype(np.float64).T)
    _, latent = scipy.optimize.linear_sum_assignment(similarity, maximize=True)
    return Match(similarity[np.arange(len(true)), latent], latent)


def simulated_chance(
    n_latents: int, true: np.ndarray, rng: np.random.Generator, covariance: np.ndarray | None = None
) -> Match:
    """Match ``true`` (n x d) to ``n_latents`` random directions, or with a covariance to the patterns of such rows."""
    rows = rng.standard_normal((n_latents, true.shape[1]))
    return best_match(normalise_rows(rows if covariance is None else rows @ covariance), true)


def chance_recovery(n_latents: int, dimension: int, tau: float = TAU) -> float:
    """Expected recovery of random directions, in closed form.

    1 - (1 - p)^m, where p = Pr(|cos| > tau) for one random direction is a regularised incomplete beta function.
    """
    p = scipy.special.betainc((dimension - 1) / 2, 0.5, 1 - tau**2)
    return float(-np.expm1(n_latents * np.log1p(-p)))


def f1_scores(both: np.ndarray, fires: np.ndarray, active: np.ndarray) -> np.ndarray:
    """Return the F1 of each of n latents as a detector of its feature; NaN for a feature that is never active.

    The arguments count samples (n each): the latent fires and the feature is active, the first, and the second.
    """
    return np.where(active > 0, 2 * both / np.maximum(fires + active, 1), np.nan)


def covariance(blocks: Iterable[np.ndarray]) -> np.ndarray:
    """Return the covariance (d x d, float64) of samples that come in blocks (B x d), by Chan's update."""
    n_samples, mean, total = 0, np.zeros(0), np.zeros((0, 0))
    for block in blocks:
        x = block.astype(np.float64)
        block_mean = x.mean(0)
        centred = x - block_mean
        if not n_samples:
            mean, total = np.zeros_like(block_mean), np.zeros((len(block_mean), len(block_mean)))
        shift, whole = block_mean - mean, n_samples + len(x)
        total += centred.T @ centred + np.outer(shift, shift) * (n_samples * len(x) / whole)
        mean += shift * len(x) / whole
        n_samples = whole
    return total / n_samples


def patterns(W_enc_QP: np.ndarray, covariance_PP: np.ndarray) -> np.ndarray:
    """Return the pattern of each row: the covariance of the input with its pre-activation (n_q x n_p).

    The result stays in float64, because squares of very large or small activations exceed float32.
    """
    return W_enc_QP.astype(np.float64) @ covariance_PP
