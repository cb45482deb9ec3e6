"""Compute all metrics of one run."""

import math
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch

from sdlcore.data.anchors import Anchors
from sdlcore.data.memory import Activations
from sdlcore.data.pairs import make_direction_pair, make_pair
from sdlcore.data.recovery_rule import recovered
from sdlcore.data.references import labels_by
from sdlcore.evaluation.coefficient_scores import CoefficientScores
from sdlcore.evaluation.metrics import (
    ALL,
    ANCHORS_ONLY,
    INNER,
    METRICS,
    NORM_QUANTILES,
    ORACLE,
    OTHERS,
    PATTERN,
    RAREST,
    Matched,
    baseline_name,
    mip_name,
    norm_name,
    recovery_name,
)
from sdlcore.evaluation.oracle import oracle_codes
from sdlcore.evaluation.pattern import covariance, patterns
from sdlcore.evaluation.plugin_metrics import metrics_of_plugins
from sdlcore.evaluation.recovery import (
    best_match,
    f1_scores,
    gt_recovery,
    hungarian,
    match_metrics,
    mip,
    normalise_rows,
    recovery_metrics,
    simulated_chance,
)
from sdlcore.evaluation.top_samples import TopSamples, class_sharing, sharing_metrics
from sdlcore.model.sparse_coder import SparseCoder
from sdlcore.sources.bench.hierarchy import Hierarchy

ROWS_AT_ONCE = 1024
DIGITS = 6
"""Decimals of the best matches that are kept feature by feature."""
ENCODER_PATTERN = Matched("encoder", PATTERN)


class GroundTruth(NamedTuple):
    """The directions that a model is judged against: a bench's true features, or the means of classes."""

    W_p: np.ndarray
    """n_p x n, unit columns."""
    W_r: np.ndarray | None
    """n_r x n, unit columns."""
    anchored: np.ndarray
    """Indices of the features that the seed's anchors give away (`given.given_away`), in this run or not."""
    classes: np.ndarray | None = None
    """Which class each is the mean of (n), where they are means of classes."""
    class_names: Sequence[str] | None = None
    """Their names, by which samples say their classes (`data.references.labels_by`)."""
    hierarchy: Hierarchy | None = None
    """Parents and children among a bench's features, where it has them."""
    anchors: Anchors | None = None
    """The anchors themselves, where they are not those features."""
    coefficients: bool = True
    """Whether samples say which of the features they have, which F1 and its like need."""


class Judged(NamedTuple):
    """What a plugin's metric is computed from (`sdlcore.evaluation.plugin_metrics.metric`)."""

    model: SparseCoder
    """In evaluation mode, on the CPU."""
    store: Activations
    """Samples that training did not see."""
    truth: GroundTruth | None
    """What it is judged against, where there is anything."""

    def samples(self) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Yield x_p (B x n_p) and x_r (B x n_r), float32, in batches."""
        return _samples(self.store, self.model.config.pair)


class Evaluation(NamedTuple):
    """What `evaluate` finds."""

    metrics: dict[str, float | None]
    chance: dict[str, float]
    """Recovery and MIP of as many random directions of the same dimensions, or of their patterns, by name."""
    features: dict[str, list[float]]
    """What recovery was counted from: another threshold or another part of the features needs no weights. ``anchored``:
    the indices of the features that anchors give away; ``encoder`` and ``decoder`` (cosines), ``encoder_raw`` and
    ``decoder_raw`` (inner products): the n best matches. Empty without ground truth."""


@torch.no_grad()
def evaluate(
    model: SparseCoder,
    store: Activations,
    truth: GroundTruth | None = None,
    chance: np.random.Generator | None = None,
) -> Evaluation:
    """Return the metrics of a trained model, and those of random directions.

    Parameters
    ----------
    model
        In evaluation mode.
    store
        Samples that training did not see.
    truth
        The true features; without them only what every run has can be told.
    chance
        Stream for the random directions; needed with ``truth``.

    Returns
    -------
    metrics
        By name, as `sdlcore.evaluation.metrics` declares them, which says what each is and which runs have it. None
        where there is nothing to take a mean over.
    chance, features
        See `Evaluation`.
    """
    detectors = None
    if truth is not None:
        if chance is None:
            raise ValueError("a ground truth needs a stream for the chance level")
        true_p, true_r = make_direction_pair(model.config.pair, truth.W_p.T, None if truth.W_r is None else truth.W_r.T)
        matches = {
            "encoder": best_match(normalise_rows(model.W_enc.numpy()), true_p),
            "decoder": best_match(normalise_rows(model.W_dec.numpy()), true_r),
        }
        detectors = matches["decoder"].latent
    top = TopSamples.none(model.config.n_q) if truth is not None and truth.classes is not None else None
    scores = None
    if truth is not None and truth.classes is None and truth.coefficients:
        scores = _coefficient_scores(model, store, truth)
    metrics, detected, top = _on_samples(model, store, detectors, top, scores)
    own = metrics_of_plugins(truth is not None, truth is not None and truth.classes is None)
    metrics |= {name: _own(name, found.made(Judged(model, store, truth))) for name, found in own.items()}
    if truth is None or chance is None:
        return Evaluation(_declared(metrics), {}, {})

    similarity = {Matched(side): match.similarity for side, match in matches.items()}
    similarity[Matched("encoder", INNER)] = best_match(model.W_enc.numpy(), true_p).similarity
    similarity[Matched("decoder", INNER)] = best_match(model.W_dec.numpy(), true_r).similarity
    for matched, best in similarity.items():
        metrics |= recovery_metrics(matched, best, truth.anchored)
    metrics |= _norms("encoder", model.W_enc) | _norms("decoder", model.W_dec)
    spread = covariance(x_p for x_p, _ in _samples(store, model.config.pair))
    pattern = best_match(normalise_rows(patterns(model.W_enc.numpy(), spread)), true_p)
    metrics |= recovery_metrics(ENCODER_PATTERN, pattern.similarity, truth.anchored)
    metrics["hungarian_encoder"] = hungarian(model.W_enc.numpy(), true_p)
    assigned = hungarian(model.W_dec.numpy(), true_r)
    metrics["hungarian_decoder"] = assigned
    if len(model.target_sites) > 1:
        metrics |= _by_site(model, truth)
    if truth.coefficients:
        assert detected is not None
        f1 = f1_scores(detected, _present(store, truth))
        metrics["f1"] = None if np.isnan(f1).all() else float(np.nanmean(f1))
    anchors_p, anchors_r = true_p[truth.anchored], true_r[truth.anchored]
    if truth.anchors is not None:
        anchors_p, anchors_r = make_direction_pair(model.config.pair, truth.anchors.w_p, truth.anchors.w_r)
    metrics |= _anchors_only("encoder", anchors_p, true_p, truth.anchored)
    metrics |= _anchors_only("decoder", anchors_r, true_r, truth.anchored)
    if scores is not None:
        metrics |= _oracle(model, store, true_p, true_r) | scores.metrics()
        # the same assignment, over the pairs that there are
        metrics["mcc"] = assigned * len(true_r) / min(len(true_r), model.config.n_q)
        rarest = matches["decoder"].similarity[scores.rarest()]
        metrics[recovery_name("decoder", features=RAREST)] = float(recovered(rarest).mean())
    if top is not None:
        anchored = np.isin(np.arange(len(true_r)), truth.anchored)
        sharing = class_sharing(top, store.read("labels"))
        metrics |= sharing_metrics(sharing, matches["decoder"].latent, anchored)

    random = {
        Matched("encoder"): simulated_chance(model.config.n_q, true_p, chance),
        Matched("decoder"): simulated_chance(model.config.n_q, true_r, chance),
        ENCODER_PATTERN: simulated_chance(model.config.n_q, true_p, chance, spread),
    }
    levels: dict[str, float] = {}
    for matched, match in random.items():
        levels |= match_metrics(matched, match.similarity)
    features = {what.directions: [round(float(value), DIGITS) for value in best] for what, best in similarity.items()}
    return Evaluation(_declared(metrics), levels, {"anchored": [int(index) for index in truth.anchored], **features})


def _own(name: str, value: Any) -> float | None:
    """Return what a plugin's metric gives, as metrics files hold it."""
    if value is None:
        return None
    if not math.isfinite(number := float(value)):
        raise ValueError(f"metric {name} is {number}; return None where there is nothing to take it over")
    return number


def _declared(metrics: dict[str, float | None]) -> dict[str, float | None]:
    """Return metrics if the list has them all: no table would show another one."""
    if unknown := [name for name in metrics if name not in METRICS]:
        raise ValueError(f"metric {unknown[0]} is not declared, expected an entry in sdlcore/evaluation/metrics.py")
    return metrics


def _norms(side: str, W: torch.Tensor) -> dict[str, float]:
    """Return quantiles of the norms of the rows of ``W``."""
    norms = np.linalg.norm(W.numpy().astype(np.float64), axis=1)
    return {norm_name(side, name): float(np.quantile(norms, q)) for name, q in NORM_QUANTILES.items()}


def _present(store: Activations, truth: GroundTruth) -> np.ndarray:
    """Return which features each sample has (N x n)."""
    if truth.classes is not None:
        return labels_by(store, truth.classes, truth.class_names)[:, None] == truth.classes
    features = store.features()
    if features is None:
        raise ValueError(f"{store.path}: holds no ground-truth coefficients, which F1 needs")
    return features.toarray() > 0


def _anchors_only(side: str, anchors: np.ndarray, true: np.ndarray, anchored: np.ndarray) -> dict[str, float | None]:
    """Return recovery and MIP of a dictionary that consists of the anchors (k x d, beside n x d references).

    Where references lie close together, anchors recover more of them than they give away.
    """
    if not len(anchors):
        return {}
    alone = Matched(side, baseline=ANCHORS_ONLY)
    # of the features that they are, they recover all
    return recovery_metrics(alone, best_match(anchors, true).similarity, anchored, (ALL, OTHERS))


def _oracle(model: SparseCoder, store: Activations, true_p: np.ndarray, true_r: np.ndarray) -> dict[str, float]:
    """Return how sparse and how good the true features are as a dictionary."""
    active, error, spread = 0, 0.0, Spread(sum(model.target_sites))
    for x_p, x_r in _samples(store, model.config.pair):
        codes = oracle_codes(x_p, true_p, model.sigma)
        active += int((codes > 0).sum())
        error += float(np.square(x_r - codes @ true_r).sum())
        spread.add(x_r)
    return {
        baseline_name(ORACLE, "l0"): active / store.rows,
        baseline_name(ORACLE, "fvu"): error / spread.total,
    }


class Spread:
    """The sum of squared distances of samples from their mean, in one pass and without cancellation (Chan's update)."""

    def __init__(self, dimension: int) -> None:
        self.total = 0.0
        self._mean = np.zeros(dimension)
        self._seen = 0

    def add(self, block: np.ndarray) -> None:
        """Take B x d samples."""
        block = block.astype(np.float64)
        shift = block.mean(0) - self._mean
        whole = self._seen + len(block)
        self.total += float(np.square(block - block.mean(0)).sum())
        self.total += float(np.square(shift).sum()) * self._seen * len(block) / whole
        self._seen = whole
        self._mean += shift * len(block) / whole


def _samples(store: Activations, pair: str) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yield x_p and x_r of `ROWS_AT_ONCE` samples, float32."""
    for start in range(0, store.rows, ROWS_AT_ONCE):
        stop = start + ROWS_AT_ONCE
        target = store.read("target", start, stop) if pair != "sae" else None
        x_p, x_r = make_pair(pair, store.read("input", start, stop), target)
        yield x_p.astype(np.float32), x_r.astype(np.float32)


def _coefficient_scores(model: SparseCoder, store: Activations, truth: GroundTruth) -> CoefficientScores:
    x = store.features()
    if x is None:
        raise ValueError(f"{store.path}: holds no ground-truth coefficients, which a bench is judged by")
    _, units = make_pair(model.config.pair, truth.W_p.T, None if truth.W_r is None else truth.W_r.T)
    return CoefficientScores(model.W_dec.numpy(), units, x, truth.hierarchy)


def _on_samples(
    model: SparseCoder,
    store: Activations,
    detectors: np.ndarray | None,
    top: TopSamples | None,
    scores: CoefficientScores | None,
) -> tuple[dict[str, float | None], np.ndarray | None, TopSamples | None]:
    """Return l0, fvu and dead_fraction, when the latents ``detectors`` fire (N x n), and ``top`` of all samples.

    ``fvu`` is sum |x_r - x_r_hat|^2 over sum |x_r - mean|^2, the mean being the whole store's; None of samples that are
    all the same. ``scores`` get all latents.
    """
    active, error, fired, detected = 0, 0.0, torch.zeros(model.config.n_q, dtype=torch.bool), []
    spread, start = Spread(sum(model.target_sites)), 0
    for x_p, x_r in _samples(store, model.config.pair):
        out = model(torch.from_numpy(x_p))
        on = out.values > 0
        if (out.values < 0).any():
            raise ValueError(f"{type(model.sigma).__name__}: latents are below zero, expected none; clamp its values")
        active += int(on.sum())
        fired[out.support.columns[on]] = True
        if detectors is not None:
            latents = out.latents()
            detected.append((latents > 0)[:, detectors].numpy())
            top = top.with_batch(latents.numpy(), start) if top is not None else None
            if scores is not None:
                scores.add(latents.numpy())
        error += float(np.square(x_r.astype(np.float64) - out.x_hat.numpy()).sum())
        spread.add(x_r)
        start += len(x_p)
    metrics: dict[str, float | None] = {
        "l0": active / store.rows,
        "fvu": error / spread.total if spread.total else None,
        "dead_fraction": float((~fired).float().mean()),
    }
    return metrics, np.concatenate(detected) if detected else None, top


def _by_site(model: SparseCoder, truth: GroundTruth) -> dict[str, float | None]:
    metrics: dict[str, float | None] = {}
    for site, W in enumerate([truth.W_p] if truth.W_r is None else [truth.W_p, truth.W_r]):
        for side, weights, sites in (
            ("encoder", model.W_enc, model.input_sites),
            ("decoder", model.W_dec, model.target_sites),
        ):
            part = weights.split(list(sites), dim=1)[site].numpy()
            match = best_match(normalise_rows(part), W.T)
            metrics[recovery_name(side, site=site)] = gt_recovery(match)
            metrics[mip_name(side, site=site)] = mip(match)
    return metrics
