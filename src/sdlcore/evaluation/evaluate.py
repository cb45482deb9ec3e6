"""Compute all metrics of one run."""

import copy
import math
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import torch

from sdlcore.data.arrays import Activations
from sdlcore.data.pairs import make_direction_pair
from sdlcore.data.recovery_rule import recovered
from sdlcore.evaluation.ground_truth import GroundTruth
from sdlcore.evaluation.metrics import NORM_QUANTILES
from sdlcore.evaluation.plugin_metrics import metrics_of_plugins
from sdlcore.evaluation.recovery import (
    best_match,
    covariance,
    gt_recovery,
    hungarian,
    match_metrics,
    mip,
    normalise_rows,
    ordinary_rows,
    patterns,
    recovery_metrics,
    simulated_chance,
)
from sdlcore.evaluation.samples import LatentStatistics, Spread, batches, on_samples
from sdlcore.model.activation import Activation, Encoder, Weights
from sdlcore.model.activations.posterior import Posterior
from sdlcore.model.coder import SparseCoder

DIGITS = 6
"""Decimals of the best matches stored for each feature."""


class Judged(NamedTuple):
    """Input of a plugin's metric (`sdlcore.evaluation.plugin_metrics.metric`)."""

    model: SparseCoder
    """The model, in evaluation mode, on the CPU."""
    store: Activations
    """The held-out samples."""
    truth: GroundTruth | None
    """Reference directions to judge the model against, or None."""

    def samples(self) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Yield x_p (B x n_p) and x_r (B x n_r), float32, in batches."""
        return batches(self.store, self.model.config.pair)


class Evaluation(NamedTuple):
    """Result of `evaluate_coder`."""

    metrics: dict[str, float | None]
    """By name, as `sdlcore.evaluation.metrics` declares them; None if there is nothing to average."""
    chance: dict[str, float]
    """Recovery and MIP of equally many random directions, and of the patterns of random rows, by metric name."""
    features: dict[str, list[float]]
    """Best match of each feature, to recompute recovery for another threshold or subset of features.
    ``anchored``: indices of the features that anchors reveal; ``encoder`` and ``decoder`` (cosines), ``encoder_raw``
    and ``decoder_raw`` (inner products): n numbers each. Empty without ground truth."""


@torch.no_grad()
def evaluate_coder(
    model: SparseCoder,
    store: Activations,
    truth: GroundTruth | None = None,
    chance: np.random.Generator | None = None,
) -> Evaluation:
    """Return the metrics of a trained model on held-out samples, and the chance level of random directions.

    The model is in evaluation mode, on the CPU. Without ``truth``, only the metrics of `EVERY_RUN` are computed. With
    ``truth``, a random stream for the chance level is required.

    Raises
    ------
    ValueError
        If ``store`` lacks the true coefficients that a bench's metrics need, or a plugin's metric is not finite.
    """
    if truth is None:
        return Evaluation(on_samples(model, store) | _of_plugins(Judged(model, store, None)), {}, {})
    assert chance is not None
    true_p, true_r = make_direction_pair(model.config.pair, *(W.T for W in truth.references.sites))
    W_enc, W_dec = model.W_enc.numpy(), model.W_dec.numpy()
    decoder = best_match(normalise_rows(W_dec), true_r)
    best = {
        "encoder": best_match(normalise_rows(W_enc), true_p).similarity,
        "decoder": decoder.similarity,
        "encoder_raw": best_match(W_enc, true_p).similarity,
        "decoder_raw": best_match(W_dec, true_r).similarity,
    }
    latents = LatentStatistics(model, store, truth, decoder.latent)
    metrics = on_samples(model, store, latents) | _of_plugins(Judged(model, store, truth))
    for directions, similarity in best.items():
        metrics |= recovery_metrics(directions, similarity, truth.anchored)
    metrics |= _norms("encoder", W_enc) | _norms("decoder", W_dec)
    spread = covariance(x_p for x_p, _ in batches(store, model.config.pair))
    pattern = best_match(normalise_rows(ordinary_rows(patterns(W_enc, spread)).astype(np.float32)), true_p)
    metrics |= recovery_metrics("encoder_pattern", pattern.similarity, truth.anchored)
    assigned = hungarian(W_dec, true_r)
    metrics |= {"hungarian_encoder": hungarian(W_enc, true_p), "hungarian_decoder": assigned}
    if len(model.target_sites) > 1:
        metrics |= _by_site(model, truth)
    metrics |= latents.macro_f1() | _anchors_only(model.config.pair, truth, true_p, true_r)
    if latents.on_bench:
        metrics |= oracle(model, store, true_p, true_r) | latents.coefficient_metrics()
        # the same assignment, averaged over its pairs instead of over all features
        metrics["mcc"] = assigned * len(true_r) / min(len(true_r), model.config.n_q)
        rarest = decoder.similarity[latents.rarest()]
        metrics["gt_recovery_decoder_rarest"] = float(recovered(rarest).mean())
    metrics |= latents.sharing_metrics()
    features = {name: [round(float(value), DIGITS) for value in similarities] for name, similarities in best.items()}
    levels = _chance_levels(model.config.n_q, true_p, true_r, spread, chance)
    return Evaluation(metrics, levels, {"anchored": [int(index) for index in truth.anchored], **features})


def _chance_levels(
    n_q: int, true_p: np.ndarray, true_r: np.ndarray, spread: np.ndarray, rng: np.random.Generator
) -> dict[str, float]:
    """Return recovery and MIP of n_q random directions, and of the patterns of n_q random rows."""
    random = {
        "encoder": simulated_chance(n_q, true_p, rng),
        "decoder": simulated_chance(n_q, true_r, rng),
        "encoder_pattern": simulated_chance(n_q, true_p, rng, spread),
    }
    levels: dict[str, float] = {}
    for directions, match in random.items():
        levels |= match_metrics(directions, match.similarity)
    return levels


def _of_plugins(judged: Judged) -> dict[str, float | None]:
    """Compute the metrics that plugins define for this kind of run."""
    truth = judged.truth
    extensions = metrics_of_plugins(truth is not None, truth is not None and truth.references.classes is None)
    metrics: dict[str, float | None] = {}
    for name, extension in extensions.items():
        value = extension.implementation(judged)
        metrics[name] = None if value is None else float(value)
        if value is not None and not math.isfinite(value):
            raise ValueError(f"metric {name} is {value}; return None if there is nothing to compute it from")
    return metrics


def _norms(side: str, W: np.ndarray) -> dict[str, float]:
    """Return quantiles of the norms of the rows of ``W``."""
    norms = np.linalg.norm(W.astype(np.float64), axis=1)
    return {f"norm_{side}_{name}": float(np.quantile(norms, q)) for name, q in NORM_QUANTILES.items()}


def _anchors_only(pair: str, truth: GroundTruth, true_p: np.ndarray, true_r: np.ndarray) -> dict[str, float | None]:
    """Return recovery and MIP of a dictionary that consists of the anchors alone.

    If references lie close together, anchors recover more references than they reveal.
    """
    anchors_p, anchors_r = true_p[truth.anchored], true_r[truth.anchored]
    if truth.anchors is not None:
        anchors_p, anchors_r = make_direction_pair(pair, *truth.anchors.sites)
    metrics: dict[str, float | None] = {}
    if not len(anchors_p):
        return metrics
    # no row for the anchored features: anchors recover all of them by definition
    for side, anchors, true in (("encoder", anchors_p, true_p), ("decoder", anchors_r, true_r)):
        best = best_match(anchors, true).similarity
        metrics |= recovery_metrics(side, best, truth.anchored, ("", "_unanchored"))
    return {f"anchors_only_{name}": value for name, value in metrics.items()}


def _by_site(model: SparseCoder, truth: GroundTruth) -> dict[str, float | None]:
    """Return recovery and MIP at each site of a crosscoder, over the features that occur there."""
    metrics: dict[str, float | None] = {}
    for site, W in enumerate(truth.references.sites):
        occurs = W.any(axis=0)
        if not occurs.all():  # a feature that does not occur at a site cannot be recovered there
            W = W[:, occurs]
        if not W.size:
            continue
        for side, weights in (("encoder", model.W_enc), ("decoder", model.W_dec)):
            # a crosscoder reads and writes the same sites
            part = weights.split(list(model.target_sites), dim=1)[site].numpy()
            match = best_match(normalise_rows(part), W.T)
            metrics[f"gt_recovery_{side}_site{site}"] = gt_recovery(match)
            metrics[f"mip_{side}_site{site}"] = mip(match)
    return metrics


def oracle_codes(x_BP: np.ndarray, true_p: np.ndarray, sigma: Activation) -> np.ndarray:
    """Return the codes (B x n) of samples by the true features, under a model's activation.

    The pre-activations are the positive inner products with the features, or all of them if latents are signed. An
    activation without parameters is applied to these pre-activations as in training: TopK keeps the k largest of each
    sample, BatchTopK as many on average over the B samples. JumpReLU, Gated and posterior codes learned their
    parameters for other directions, so a threshold replaces them: the largest inner product of two features. A sample
    of a single feature with magnitude 1 then activates no other feature.

    ``true_p`` are the true features (n x n_p, unit rows). The model's activation is not modified.
    """
    z_BN = x_BP @ true_p.T
    if not sigma.signed:
        z_BN = np.maximum(z_BN, 0)
    if any(True for _ in sigma.parameters()) or isinstance(sigma, Posterior):
        inner = true_p @ true_p.T
        np.fill_diagonal(inner, -np.inf)
        return np.where(z_BN > inner.max(), z_BN, 0)
    z, true = torch.from_numpy(z_BN), torch.from_numpy(np.ascontiguousarray(true_p))
    with torch.no_grad():
        if isinstance(sigma, Encoder):
            weights = Weights(true, true.new_zeros(len(true)), true, true.new_zeros(true.shape[1]))
            return sigma.encode(torch.from_numpy(np.ascontiguousarray(x_BP)), weights).numpy()
        return copy.deepcopy(sigma).train()(z).numpy()


def oracle(model: SparseCoder, store: Activations, true_p: np.ndarray, true_r: np.ndarray) -> dict[str, float | None]:
    """Return L0 and FVU of the true features as a dictionary (Theorem 3.3); the FVU is None if all samples are equal.

    True features are encoder rows and decoder columns, without biases. Recovery is then 1 by construction, and the
    reconstruction error shows how far the loss rewards recovery.
    """
    active, error, spread = 0, 0.0, Spread(sum(model.target_sites))
    for x_p, x_r in batches(store, model.config.pair):
        codes = oracle_codes(x_p, true_p, model.sigma)
        active += int((codes != 0).sum())
        error += float(np.square(x_r - codes @ true_r).sum())
        spread.add(x_r)
    return {
        "oracle_l0": active / store.rows,
        "oracle_fvu": error / spread.total if spread.total else None,
    }
