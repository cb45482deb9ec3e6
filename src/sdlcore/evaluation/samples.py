"""Evaluate a model on samples, block by block: reconstruction error, active latents, and the top samples of latents."""

from collections.abc import Iterator
from itertools import pairwise

import numpy as np
import scipy.sparse
import torch

from sdlcore.data.arrays import Activations
from sdlcore.data.batches import read_pair
from sdlcore.data.pairs import make_pair
from sdlcore.data.references import References
from sdlcore.evaluation.absorption import Absorption
from sdlcore.evaluation.coefficient_scores import Detection, Splitting
from sdlcore.evaluation.ground_truth import GroundTruth
from sdlcore.evaluation.metrics import FEWEST_SAMPLES, TOP_SAMPLES
from sdlcore.model.coder import SparseCoder

ROWS_AT_ONCE = 1024


def batches(store: Activations, pair: str) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yield x_p (B x n_p) and x_r (B x n_r) of `ROWS_AT_ONCE` samples at a time, float32."""
    for start in range(0, store.rows, ROWS_AT_ONCE):
        x_p, x_r = read_pair(store, pair, start, start + ROWS_AT_ONCE)
        yield x_p.astype(np.float32), x_r.astype(np.float32)


class LatentStatistics:
    """Metrics of latents by the features that samples contain. Samples are added batch by batch, in the store's order.

    The store contains a bench's coefficients or, with class means, labels. ``detectors`` are the latents that match
    each of n features best.
    """

    def __init__(self, model: SparseCoder, store: Activations, truth: GroundTruth, detectors: np.ndarray) -> None:
        self._rows, self._store, self._truth, self._detectors = 0, store, truth, detectors
        self._signed, self._codes = model.sigma.signed, [scipy.sparse.csr_array((0, model.config.n_q))]
        self._x: scipy.sparse.csr_array | None = None
        """True coefficients, or a one for the class of each sample (N x n); None if they are unknown."""
        self.on_bench = truth.coefficients and truth.references.classes is None
        """Whether the true coefficients are known, which `coefficient_metrics` needs."""
        if truth.coefficients:
            self._x = _coefficients(store) if self.on_bench else _classes(truth.references, store)
        self._matched = Detection(detectors, np.arange(len(detectors)))
        if self.on_bench:
            W_dec = model.W_dec.numpy()
            _, units = make_pair(model.config.pair, *(W.T for W in truth.references.sites))
            self._nearest = Detection.of_nearest(W_dec, units)
            self._splitting = None if self._signed else Splitting(W_dec, units)
            has_absorption = truth.hierarchy is not None and len(W_dec) >= len(units) and not self._signed
            self._absorption = Absorption(W_dec, units) if has_absorption else None

    def add(self, latents: scipy.sparse.csr_array) -> None:
        """Add the latents (B x n_q) of the next B samples."""
        # a signed latent has two ends, which may respond to two classes
        if self._truth.references.classes is not None and not self._signed:
            self._codes.append(latents)
        if self._x is not None:
            x = self._x[self._rows : self._rows + latents.shape[0]]
            self._matched.add(latents, x)
            if self.on_bench:
                self._nearest.add(latents, x)
                if self._splitting is not None:
                    self._splitting.add(latents, x)
                if self._absorption is not None:
                    self._absorption.add(latents)
        self._rows += latents.shape[0]

    def macro_f1(self) -> dict[str, float | None]:
        """Return ``macro_f1``, if it is known which features the samples contain."""
        return {} if self._x is None else {"macro_f1": self._matched.macro_f1()}

    def rarest(self) -> np.ndarray:
        """Return the indices of the rarest quarter of features, rounded down but at least one, the rarest first.

        Features that are never active count as rarest.
        """
        assert self._x is not None
        active = np.asarray((self._x > 0).sum(axis=0))
        return np.argsort(active, kind="stable")[: max(1, len(active) // 4)]

    def coefficient_metrics(self) -> dict[str, float | None]:
        """Return the metrics by true coefficients: splitting, detection, and ``absorption`` if there is a hierarchy.

        Splitting, shrinkage and absorption are None with signed latents: they compare latents with coefficients that
        are never negative. Absorption is also None with fewer latents than features, or if no pair has a sample.
        """
        missing: dict[str, float | None] = {"splitting": None, "shrinkage": None}
        metrics = (self._splitting.metrics() if self._splitting else missing) | self._nearest.metrics()
        if self._truth.hierarchy is not None:
            assert self._x is not None
            absorption = self._absorption
            metrics["absorption"] = None if absorption is None else absorption.score(self._x, self._truth.hierarchy)
        return metrics

    def sharing_metrics(self) -> dict[str, float | None]:
        """Return class counts and purity of the latents' top samples; only with class means."""
        if self._truth.references.classes is None:
            return {}
        anchored = np.isin(np.arange(len(self._detectors)), self._truth.anchored)
        codes = scipy.sparse.vstack(self._codes, format="csc")
        return sharing_metrics(codes, self._store.read("labels"), self._detectors, anchored)


def on_samples(
    model: SparseCoder, store: Activations, latents: LatentStatistics | None = None
) -> dict[str, float | None]:
    """Return l0, fvu and dead_fraction, and add every batch to ``latents``.

    ``fvu`` is sum |x_r - x_r_hat|^2 over sum |x_r - mean|^2, with the mean of the whole store; None if all samples are
    equal.
    """
    active, error, fired = 0, 0.0, torch.zeros(model.config.n_q, dtype=torch.bool)
    spread = Spread(sum(model.target_sites))
    for x_p, x_r in batches(store, model.config.pair):
        out = model(torch.from_numpy(x_p))
        on = out.fires()
        active += int(on.sum())
        fired[out.support.columns[on]] = True
        if latents is not None:
            latents.add(out.csr())
        error += float(np.square(x_r.astype(np.float64) - out.x_hat.numpy()).sum())
        spread.add(x_r)
    return {
        "l0": active / store.rows,
        "fvu": error / spread.total if spread.total else None,
        "dead_fraction": float((~fired).float().mean()),
    }


def _coefficients(store: Activations) -> scipy.sparse.csr_array:
    features = store.features()
    if features is None:
        raise ValueError(f"{store.path}: no true coefficients, which a bench's metrics need; add them to the store")
    return features


def _classes(references: References, store: Activations) -> scipy.sparse.csr_array:
    """Return a one for the class of each sample (N x n), if it is one of the n references' classes."""
    assert references.classes is not None
    labels = references.labels_of(store)
    place = np.full(max(labels.max(initial=0), references.classes.max()) + 2, -1)  # label -1 indexes the last entry
    place[references.classes] = np.arange(len(references.classes))
    rows = np.flatnonzero(place[labels] >= 0)
    shape = (len(labels), len(references.classes))
    return scipy.sparse.csr_array((np.ones(len(rows), np.int8), (rows, place[labels[rows]])), shape=shape)


class Spread:
    """The sum of squared distances of samples from their mean, in one pass without cancellation (Chan's update)."""

    def __init__(self, dimension: int) -> None:
        self.total = 0.0
        self._mean = np.zeros(dimension)
        self._n_samples = 0

    def add(self, block: np.ndarray) -> None:
        """Add B x d samples."""
        block = block.astype(np.float64)
        shift = block.mean(0) - self._mean
        whole = self._n_samples + len(block)
        self.total += float(np.square(block - block.mean(0)).sum())
        self.total += float(np.square(shift).sum()) * self._n_samples * len(block) / whole
        self._n_samples = whole
        self._mean += shift * len(block) / whole


def sharing_metrics(
    codes: scipy.sparse.csc_array,
    labels: np.ndarray,
    matched: np.ndarray,
    anchored: np.ndarray,
    fewest: int = FEWEST_SAMPLES,
) -> dict[str, float | None]:
    """Return how many classes share the top samples of a latent, and the share of the most frequent one.

    Both are means over all latents, over latents matched to anchored references, and over latents of other references.
    ``codes`` (N x n_q) are the latents of all samples, and ``labels`` the store's N labels, -1 for none. Of equal
    codes, the earlier samples count. ``matched`` is the latent of each of n references, ``anchored`` whether it is
    anchored (n booleans). Latents with fewer than ``fewest`` labelled samples are left out.
    """
    codes.eliminate_zeros()
    classes, purity = np.full(codes.shape[1], np.nan), np.full(codes.shape[1], np.nan)
    for latent, (start, stop) in enumerate(pairwise(codes.indptr)):
        largest = np.argsort(-codes.data[start:stop], kind="stable")[:TOP_SAMPLES]
        sample_labels = labels[codes.indices[start:stop][largest]]
        _, counts = np.unique(sample_labels[sample_labels >= 0], return_counts=True)
        if counts.sum() >= fewest:
            classes[latent], purity[latent] = len(counts), counts.max() / counts.sum()
    groups = {"": slice(None), "_anchored": matched[anchored], "_unanchored": matched[~anchored]}
    metrics: dict[str, float | None] = {}
    for part, latents in groups.items():
        for name, values in (("top_classes", classes[latents]), ("top_purity", purity[latents])):
            finite = values[~np.isnan(values)]
            metrics[f"{name}{part}"] = float(finite.mean()) if len(finite) else None
    return metrics
