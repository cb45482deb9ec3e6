"""Find the samples that latents respond to most, and count the classes that share them."""

from typing import NamedTuple

import numpy as np
import scipy.sparse

from sdlcore.evaluation.metric_names import FeatureSet, part_name

TOP_SAMPLES = 100
"""Number of samples per latent, with the largest activations, that are used to judge the latent."""
FEWEST_SAMPLES = 20
"""Fewest labelled samples to judge a latent by; fewer could share a class by accident."""


class TopSamples(NamedTuple):
    """The samples that most activate each of M latents, in descending order; equal values keep the store's order."""

    values: np.ndarray
    """M x top; zero where a latent responds to fewer samples."""
    samples: np.ndarray
    """M x top row numbers in the store; -1 where a latent responds to fewer samples."""

    @classmethod
    def none(cls, n_latents: int, top: int = TOP_SAMPLES) -> "TopSamples":
        """Return the empty result, before any sample is added."""
        return cls(np.zeros((n_latents, top), dtype=np.float32), np.full((n_latents, top), -1))

    def with_batch(self, latents: scipy.sparse.csr_array, start: int) -> "TopSamples":
        """Merge in the latents of B more samples (B x M), the store's rows from ``start`` on."""
        entries = latents.tocoo()
        latent, value, sample = entries.col, entries.data, start + entries.row.astype(np.int64)
        # strictly greater: a later sample that only ties with the smallest kept value does not enter
        enters = value > self.values[latent, -1]
        order = np.lexsort((sample[enters], -value[enters], latent[enters]))
        latent, value, sample = (part[enters][order] for part in (latent, value, sample))
        changed, firsts, line = np.unique(latent, return_index=True, return_inverse=True)
        place, top = np.arange(len(latent)) - firsts[line], self.values.shape[1]
        values, samples = np.zeros((len(changed), top), value.dtype), np.full((len(changed), top), -1)
        in_top = place < top
        values[line[in_top], place[in_top]], samples[line[in_top], place[in_top]] = value[in_top], sample[in_top]
        values = np.concatenate([self.values[changed], values], axis=1)
        samples = np.concatenate([self.samples[changed], samples], axis=1)
        best = np.argsort(-values, axis=1, kind="stable")[:, :top]
        result = TopSamples(self.values.copy(), self.samples.copy())
        result.values[changed] = np.take_along_axis(values, best, 1)
        result.samples[changed] = np.take_along_axis(samples, best, 1)
        return result

    def class_histogram(self, labels: np.ndarray, latent: int) -> list[tuple[int, int]]:
        """Return class and count of the labelled top samples of one latent, most frequent first.

        ``labels`` are the store's N labels, -1 for none.
        """
        samples = self.samples[latent]
        sample_labels = labels[samples[samples >= 0]]
        classes, counts = np.unique(sample_labels[sample_labels >= 0], return_counts=True)
        order = np.argsort(-counts, kind="stable")
        return [(int(classes[i]), int(counts[i])) for i in order]


class Sharing(NamedTuple):
    """Class counts and purity of the top samples of each of M latents."""

    classes: np.ndarray
    """Number of classes; NaN for latents with fewer than `FEWEST_SAMPLES` labelled samples."""
    purity: np.ndarray
    """Share of the most frequent class; NaN for the same latents."""


def class_sharing(top: TopSamples, labels: np.ndarray, fewest: int = FEWEST_SAMPLES) -> Sharing:
    """Count the classes that share the top samples of each latent.

    Parameters
    ----------
    top
        Top samples of a store.
    labels
        The store's N labels, -1 for none.
    fewest
        Fewest labelled samples of a latent; the result is NaN for latents with fewer.
    """
    classes, purity = np.full(len(top.samples), np.nan), np.full(len(top.samples), np.nan)
    for latent in range(len(top.samples)):
        counts = [count for _, count in top.class_histogram(labels, latent)]
        if sum(counts) >= fewest:
            classes[latent], purity[latent] = len(counts), max(counts) / sum(counts)
    return Sharing(classes, purity)


def sharing_metrics(sharing: Sharing, matched: np.ndarray, anchored: np.ndarray) -> dict[str, float | None]:
    """Return means over all latents, over latents matched to anchored references, and over latents of other references.

    Parameters
    ----------
    sharing
        Class counts and purity of all latents.
    matched
        Index of the latent matched to each of n references.
    anchored
        n booleans: which references are anchored.
    """
    groups = {
        FeatureSet.ALL: slice(None),
        FeatureSet.ANCHORED: matched[anchored],
        FeatureSet.UNANCHORED: matched[~anchored],
    }
    metrics: dict[str, float | None] = {}
    for part, latents in groups.items():
        for name, values in (("top_classes", sharing.classes[latents]), ("top_purity", sharing.purity[latents])):
            finite = values[~np.isnan(values)]
            metrics[part_name(name, part)] = float(finite.mean()) if len(finite) else None
    return metrics
