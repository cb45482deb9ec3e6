"""Compare samples from our generator and from SAELens' generator, with the interpreter that has SAELens.

    python -m tests.benches.saelens

Prints JSON. Differences of estimates are in standard errors, which follow from the numbers of samples. If both
generators draw from the same distribution, the largest of m differences is near sqrt(2 ln m).
"""

import json
import logging

import numpy as np
import torch
from sae_lens.synthetic import (
    FoldedNormalMagnitudeConfig,
    HierarchyConfig,
    LinearMagnitudeConfig,
    LowRankCorrelationConfig,
    LowRankCorrelationMatrix,
    OrthogonalizationConfig,
    SyntheticModel,
    SyntheticModelConfig,
    ZipfianFiringProbabilityConfig,
)
from sae_lens.synthetic.evals import compute_classification_metrics, feature_uniqueness, mean_correlation_coefficient
from scipy.sparse import csr_array
from scipy.stats import ks_2samp

from sdlcore.benches.config import SynthSource
from sdlcore.benches.synth import Distribution, Sampler, directions, draw_distribution, families
from sdlcore.evaluation.coefficient_scores import Detection
from sdlcore.evaluation.recovery import hungarian
from sdlcore.random_streams import stream

SOURCE = SynthSource(n=256, n_p=96, roots=2)
SAMPLES, BLOCK = 200_000, 20_000
FEWEST = 50
"""Number of samples from which a mean counts as normally distributed."""


def their_settings(source: SynthSource, seed: int) -> SyntheticModelConfig:
    """Return SAELens' settings of the same distribution."""
    steps, rate = source.orthogonal_steps, source.orthogonal_rate
    return SyntheticModelConfig(
        num_features=source.n,
        hidden_dim=source.n_p,
        firing_probability=ZipfianFiringProbabilityConfig(source.exponent, source.max_frequency, source.min_frequency),
        hierarchy=HierarchyConfig(
            total_root_nodes=source.roots,
            branching_factor=source.branching,
            max_depth=source.depth,
            mutually_exclusive_portion=1.0,
            compensate_probabilities=True,
            scale_children_by_parent=source.version == 2,
        ),
        orthogonalization=OrthogonalizationConfig(steps, rate) if steps else None,
        correlation=LowRankCorrelationConfig(source.rank, source.correlation),
        mean_firing_magnitudes=LinearMagnitudeConfig(source.first_magnitude, source.last_magnitude),
        std_firing_magnitudes=FoldedNormalMagnitudeConfig(source.deviation, source.deviation_spread),
        bias=source.bias,
        seed=seed,
    )


class Moments:
    """Statistics of samples to compare, from sums over blocks."""

    def __init__(self, source: SynthSource) -> None:
        self.source, self.samples, self.orphans, self.siblings = source, 0, 0, 0
        self.active, self.sum, self.squares = (np.zeros(source.n) for _ in range(3))
        self.together = np.zeros((source.n, source.n))
        self.l0: list[np.ndarray] = []
        # sums over the samples in which a child is active, by the child
        self.products, self.squared_products = np.zeros(source.n), np.zeros(source.n)

    def add(self, x: np.ndarray) -> None:
        on = x > 0
        self.samples += len(x)
        self.active += on.sum(axis=0)
        self.sum += x.sum(axis=0, dtype=float)
        self.squares += np.square(x, dtype=float).sum(axis=0)
        self.together += on.T.astype(np.float32) @ on.astype(np.float32)
        self.l0.append(on.sum(axis=1))
        for above, below in zip(self.source.levels, self.source.levels[1:], strict=False):
            children = on[:, below.start : below.stop].reshape(len(x), len(above), -1)
            number = children.sum(axis=2)
            self.orphans += int(((number > 0) & ~on[:, above.start : above.stop]).sum())
            self.siblings += int((number > 1).sum())
            parents = np.repeat(x[:, above.start : above.stop], self.source.branching, axis=1)
            products = parents * x[:, below.start : below.stop]
            self.products[below.start : below.stop] += products.sum(axis=0, dtype=float)
            self.squared_products[below.start : below.stop] += np.square(products, dtype=float).sum(axis=0)


def apart(first: np.ndarray, second: np.ndarray, samples: int) -> np.ndarray:
    """Return the differences of shares in standard errors, for features that are active often enough."""
    # the mean of both shares decides, since it is independent of their difference
    often = (first + second) / 2 * samples > FEWEST
    share = (first[often] + second[often]) / 2
    return np.abs(first[often] - second[often]) / np.sqrt(2 * share * (1 - share) / samples)


def compare() -> dict[str, float]:
    distribution = draw_distribution(SOURCE, stream(0, "law"))
    drawn = SyntheticModel(their_settings(SOURCE, seed=1))
    # each library draws a distribution of its own here; `_samples` gives ours to SAELens, to compare single features
    once = {
        "candidacy": np.abs(distribution.candidacy - drawn.activation_generator.firing_probabilities.numpy()).max(),
        "means": np.abs(distribution.means - drawn.activation_generator.mean_firing_magnitudes.numpy()).max(),
        "bias": abs(np.linalg.norm(distribution.bias) - float(drawn.feature_dict.bias.detach().norm())),
    }
    many = SynthSource()
    ours, theirs = draw_distribution(many, stream(0, "many")), their_settings(many, seed=1)
    deviations = theirs.std_firing_magnitudes.generate(many.n, seed=1)
    once["deviations_p"] = ks_2samp(ours.deviations, deviations.numpy()).pvalue
    factors = drawn.correlation_matrix.correlation_factor
    once["factors_p"] = ks_2samp(distribution.factors.ravel(), factors.ravel().numpy()).pvalue
    overlaps = [_overlaps(directions(SOURCE.n, SOURCE.n_p, 100, 3e-4, stream(0, "directions")).T)]
    overlaps.append(_overlaps(drawn.feature_dict.feature_vectors.detach().numpy()))
    spread = np.sqrt(sum(overlap.var() / len(overlap) for overlap in overlaps))
    once |= {"overlap": overlaps[0].mean(), "overlap_apart": abs(overlaps[0].mean() - overlaps[1].mean()) / spread}
    statistics = once | _scores()
    for version in (1, 2):
        samples = _samples(SOURCE.changed(version=version), distribution)
        statistics |= {f"{name}_v{version}": value for name, value in samples.items()}
    return {name: float(value) for name, value in statistics.items()}


def _overlaps(W: np.ndarray) -> np.ndarray:
    """Return each direction's largest absolute cosine with another (n x d)."""
    cosines = np.abs(W @ W.T)
    np.fill_diagonal(cosines, 0)
    return cosines.max(axis=1)


def _samples(source: SynthSource, distribution: Distribution) -> dict[str, float]:
    factors = torch.from_numpy(distribution.factors)
    matrix = LowRankCorrelationMatrix(factors, 1 - factors.square().sum(1))
    model = SyntheticModel(their_settings(source, seed=1), correlation_matrix=matrix)
    model.activation_generator.std_firing_magnitudes = torch.from_numpy(distribution.deviations)
    torch.manual_seed(0)
    sampler = Sampler(distribution, families(source), stream(0, "samples"))
    ours, theirs = Moments(source), Moments(source)
    for first in range(0, SAMPLES, BLOCK):
        ours.add(sampler.coefficients(first, BLOCK).toarray())
        theirs.add(model.activation_generator.sample(BLOCK).numpy())
    active = apart(ours.active / SAMPLES, theirs.active / SAMPLES, SAMPLES)
    pairs = np.triu_indices(SOURCE.n, 1)
    together = apart(ours.together[pairs] / SAMPLES, theirs.together[pairs] / SAMPLES, SAMPLES)
    often = (ours.active + theirs.active) / 2 > FEWEST

    def compared(sums: str, squares: str) -> tuple[np.ndarray, np.ndarray]:
        """Return the standard errors between means over active samples, and the ratio of the deviations."""
        means, variances, active = [], [], []
        for totals in (ours, theirs):
            active.append(totals.active[often])
            means.append(getattr(totals, sums)[often] / active[-1])
            variances.append(getattr(totals, squares)[often] / active[-1] - np.square(means[-1]))
        errors = np.sqrt(sum(variance / number for variance, number in zip(variances, active, strict=True)))
        with np.errstate(invalid="ignore"):  # roots have no products
            return np.abs(means[0] - means[1]) / errors, np.sqrt(variances[0] / variances[1])

    magnitudes, ratios = compared("sum", "squares")
    products, _ = compared("products", "squared_products")
    return {
        **{"active_largest": active.max(), "active_mean_square": np.square(active).mean(), "features": active.size},
        **{"together_largest": together.max(), "together_mean_square": np.square(together).mean()},
        **{"pairs": together.size, "magnitudes_largest": magnitudes.max()},
        **{"deviations_ratio": float(np.median(ratios)), "products_largest": np.nanmax(products)},
        **{"children": int(np.isfinite(products).sum()), "l0": np.concatenate(ours.l0).mean()},
        **{"l0_p": ks_2samp(np.concatenate(ours.l0), np.concatenate(theirs.l0)).pvalue},
        **{"orphans": ours.orphans + theirs.orphans, "siblings": ours.siblings + theirs.siblings},
    }


def _scores() -> dict[str, float]:
    """Return differences between our scores and SAELens' of a random dictionary with fewer latents than features."""
    rng, n, n_q, d = stream(0, "scores"), 40, 25, 16
    true, W_dec = (rng.standard_normal((rows, d)).astype(np.float32) for rows in (n, n_q))
    x, latents = (np.maximum(0, rng.standard_normal((500, columns)) - 1) for columns in (n, n_q))
    latents[:, 0] = 0
    ours = Detection.of_nearest(W_dec, true)
    ours.add(csr_array(latents), csr_array(x))
    scores = ours.metrics()
    unit = true / np.linalg.norm(true, axis=1, keepdims=True)
    torch_true, torch_dec = torch.from_numpy(true), torch.from_numpy(W_dec)
    theirs = compute_classification_metrics(torch.from_numpy(latents), torch.from_numpy(x), torch_dec, torch_true)
    return {
        "f1_apart": abs(scores["detection_f1"] - theirs.f1_score),
        "precision_apart": abs(scores["detection_precision"] - theirs.precision),
        "recall_apart": abs(scores["detection_recall"] - theirs.recall),
        "uniqueness_apart": abs(scores["uniqueness"] - feature_uniqueness(torch_dec, torch_true)),
        "mcc_apart": abs(hungarian(W_dec, unit) * n / n_q - mean_correlation_coefficient(torch_dec, torch_true)),
    }


if __name__ == "__main__":
    logging.disable()
    print(json.dumps(compare()))
