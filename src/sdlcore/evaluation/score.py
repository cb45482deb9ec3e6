"""Evaluate a dictionary by reference directions, or only by its reconstructions."""

from collections.abc import Callable, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from sdlcore.benches.config import Hierarchy
from sdlcore.benches.known_features import KnownFeatures
from sdlcore.config import ModelConfig, is_centred
from sdlcore.data.anchors import Anchors
from sdlcore.data.arrays import Activations, Arrays
from sdlcore.data.conversion import activations, is_pair
from sdlcore.data.recovery_rule import TAU
from sdlcore.data.references import References, as_anchors, as_references
from sdlcore.dictionary.dictionary import Dictionary
from sdlcore.dictionary.load import ONLY, coders_of
from sdlcore.evaluation.evaluate import evaluate_coder as evaluate_on
from sdlcore.evaluation.ground_truth import GroundTruth
from sdlcore.evaluation.metrics import EXPLAINED, METRICS, declared
from sdlcore.extras import data_frame
from sdlcore.model.coder import SparseCoder
from sdlcore.model.scaling import no_scaling
from sdlcore.plugins.registry import extensions
from sdlcore.random_streams import stream, torch_stream
from sdlcore.suggestions import did_you_mean
from sdlcore.text import table
from sdlcore.training.initialise import start_from_samples
from sdlcore.training.normalisation import fit_normalisation
from sdlcore.user_warnings import warn_at_call

if TYPE_CHECKING:
    import pandas as pd


LEGEND = f"""gt_recovery: share of features whose best cosine exceeds {TAU:g}
mip: maximum inner product, the mean best cosine of a feature
mcc: mean correlation coefficient, the mean cosine of features and decoder columns in pairs
detection_f1: F1 of detecting features, a mean over latents
macro_f1: F1 of detecting features or classes, a mean over these"""


@dataclass(frozen=True)
class Scores(Mapping[str, float | None]):
    """Metrics of a dictionary, by name: a mapping that prints as a small table.

    ``docs/metrics.md`` and `to_frame` describe each metric.
    """

    metrics: dict[str, float | None]
    """Value by name; None if there is nothing to average over."""
    chance: dict[str, float] = field(default_factory=dict)
    """Recovery and MIP of the same number of random directions, by metric name."""
    features: dict[str, list[float]] = field(default_factory=dict)
    """Best match of each feature: ``encoder`` and ``decoder`` are cosines, ``encoder_raw`` and ``decoder_raw`` inner
    products. ``anchored`` are the indices of anchored features."""

    nulls: dict[str, dict[str, float | None]] = field(default_factory=dict)
    """Metrics of untrained dictionaries of the same size, by name; empty unless requested."""

    def __getitem__(self, name: str) -> float | None:
        if name not in self.metrics:
            why = " without ground truth" if name in METRICS else did_you_mean(name, self.metrics)
            raise KeyError(f"there is no metric {name}{why}; to_frame() lists all metrics")
        return self.metrics[name]

    def __iter__(self) -> Any:
        return iter(self.metrics)

    def __len__(self) -> int:
        return len(self.metrics)

    def to_frame(self) -> "pd.DataFrame":
        """Return a table with a row per metric: ``value``, ``chance``, ``better`` (higher, lower), ``what`` (text).

        There is an additional column for each null baseline, if requested.
        """
        metrics = [metric for name in self.metrics if (metric := declared(name)) is not None]
        rows = {
            "value": [self.metrics[metric.name] for metric in metrics],
            "chance": [self.chance.get(metric.name) for metric in metrics],
            **{name: [null.get(metric.name) for metric in metrics] for name, null in self.nulls.items()},
            "better": [metric.better for metric in metrics],
            "what": [metric.caption for metric in metrics],
        }
        return data_frame(rows, index=[metric.name for metric in metrics]).rename_axis("metric")

    def main_metrics(self) -> list[str]:
        """Return the names of the main metrics and of plugins' metrics; with anchors, also of unanchored features."""
        names: list[str] = []
        for name in EXPLAINED:
            names.append(name)
            if self.features.get("anchored") and name.startswith("gt_recovery"):
                names.append(f"{name}_unanchored")
        return [name for name in (*names, *extensions("metric")) if name in self.metrics]

    def __repr__(self) -> str:
        """Return the main metrics with chance levels as a text table, with a legend."""
        names = self.main_metrics()
        columns: dict[str, Mapping[str, float | None]] = {"value": self.metrics, "chance": self.chance, **self.nulls}
        rows = [["metric", *columns]]
        for name in names:
            cells = {head: _brief(column.get(name)) for head, column in columns.items()}
            # the value of a baseline whose latents overlap would distract: 17.9 and 76 mean the same
            above_one = {head: "> 1" for head, null in self.nulls.items() if name == "fvu" and (null["fvu"] or 0) > 1}
            rows.append([name, *(cells | above_one).values()])
        more = len(self.metrics) - len(names)
        lines = [table(rows, 6)]
        if self.features:
            lines.append(LEGEND)
        if self.features.get("anchored"):
            lines.append("unanchored: features without an anchor")
        if self.nulls:
            lines.append("directions, samples: untrained dictionaries; fvu > 1 is worse than predicting the mean")
        return "\n".join([*lines, *([f"({more} more metrics in to_frame())"] if more else [])])


def _anchors_of(dictionary: Dictionary) -> Anchors | None:
    """Return the anchors of a dictionary's training; warn if it was anchored but the anchors were not saved."""
    anchored = dictionary.settings.get("lambda_anchor") or dictionary.settings.get("anchor_cosine")
    if anchored and dictionary.anchors is None:
        warn_at_call(
            "the dictionary was anchored, but its anchors are unknown, so metrics of unanchored features count all "
            "features. Pass anchors, or save and load the run's folder, which contains them"
        )
    return dictionary.anchors


def _warn_of_another_mean(references: References, normalised: bool) -> None:
    """Warn if class means are centred and the training was not, or the other way round."""
    if references.centred in (None, normalised):
        return
    trained, instead = ("raw", "False") if references.centred else ("normalised", "True")
    warn_at_call(
        f"the dictionary was trained on {trained} activations, but class means are "
        f"{'centred' if references.centred else 'not centred'}; use class_means(..., centred={instead})"
    )


def _brief(value: float | None) -> str:
    return "" if value is None else f"{value:.4g}"


def evaluate(
    dictionary: Dictionary | SparseCoder,
    truth: KnownFeatures | References | np.ndarray | Sequence[np.ndarray] | None = None,
    x: Any = None,
    target: Any = None,
    *,
    labels: Any = None,
    anchors: Anchors | np.ndarray | Sequence[np.ndarray] | None = None,
    seed: int = 0,
    n_samples: int | None = None,
    nulls: bool = True,
) -> Scores:
    """Evaluate a dictionary: feature recovery, reconstruction and sparsity.

    ``evaluate(sae, bench)`` compares the dictionary with the bench's true features, on held-out samples.
    ``evaluate(sae, references, x, labels=labels)`` compares the dictionary with class means. ``evaluate(sae, x=x)``
    computes only reconstruction and sparsity.

    Parameters
    ----------
    dictionary
        The dictionary. A copy of the dictionary is evaluated, on the CPU.
    truth
        A bench, or reference directions: `References`, an array of unit rows (n x n_p), or a pair of such arrays.
    x, target
        Arrays or stores to evaluate on, as in `solve`, which training should not have seen. Omit them for a bench,
        which draws its own.
    labels
        Classes of the samples, as in `class_means`, if the references are class means. Classes are matched by name, and
        samples may lack some classes.
    anchors
        Anchors of the training, as in `fit`, if they are not stored with the dictionary. Metrics of unanchored features
        leave out the features of these anchors.
    seed
        Seed of the random directions for chance levels, and of the null baselines.
    n_samples
        Number of samples to draw from a bench; None for its ``test_samples``.
    nulls
        Also evaluate null baselines: TopK dictionaries of the same size and L0 whose rows are random directions
        (``directions``) or random samples (``samples``), centred if the dictionary was trained on centred activations.
        Rows that are samples of sparse data recover most features but reconstruct badly, so compare recovery and
        ``fvu`` together. With False, one dictionary is evaluated instead of three, which is faster.

    Returns
    -------
    The metrics by name, such as ``scores["fvu"]``. `Scores.to_frame` lists and describes them, and ``scores.nulls``
    contains the metrics of the null baselines.

    Raises
    ------
    ValueError
        If samples or labels are missing or not needed, or do not match the dictionary or the references.
    """
    coder = coders_of({ONLY: dictionary})[ONLY]
    centred = isinstance(dictionary, Dictionary) and is_centred(dictionary.settings)
    baselines = partial(null_dictionaries, seed=seed, centred=centred) if nulls else None
    if anchors is not None:
        anchors = as_anchors(anchors)
    elif isinstance(dictionary, Dictionary):
        anchors = _anchors_of(dictionary)
    scored = partial(_scored, coder, anchors=anchors, seed=seed, nulls=baselines)
    if isinstance(truth, KnownFeatures):
        if x is not None:
            raise ValueError("a bench draws its own samples; leave x out, or pass bench.references as truth")
        drawn = truth.samples(truth.settings.test_samples if n_samples is None else n_samples, "test")
        sites = [drawn.input] if drawn.target is None else [drawn.input, drawn.target]
        samples = Arrays(*sites, features=drawn.features)
        return scored(samples, truth.references, truth.hierarchy)
    if x is None:
        raise ValueError(
            "x is missing: without a bench, evaluate needs samples; give them as x=..., "
            "since the second argument is the ground truth"
        )
    if coder.config.pair == "sae" and (target is not None or is_pair(x)):
        raise ValueError("the dictionary is an autoencoder, which reads one site: leave target out, and give one array")
    references = None if truth is None else as_references(truth, "truth")
    if isinstance(dictionary, Dictionary) and references is not None:
        _warn_of_another_mean(references, centred)
    with activations(x, target, labels) as test_samples:
        return scored(test_samples, references)


def _scored(
    coder: SparseCoder,
    samples: Activations,
    references: References | None,
    hierarchy: Hierarchy | None = None,
    *,
    anchors: Anchors | None,
    seed: int,
    nulls: Callable[[SparseCoder, Activations, int], Mapping[str, SparseCoder]] | None,
) -> Scores:
    _check_widths(coder, samples, references, anchors)
    truth = None
    if references is not None:
        coefficients = samples.features()  # true coefficients belong to the true features only
        match = coefficients is not None and coefficients.shape[1] == references.W_p.shape[1]
        truth = GroundTruth.of(references, anchors, hierarchy, references.classes is not None or match)
    evaluation = evaluate_on(deepcopy(coder).cpu().float().eval(), samples, truth, stream(seed, "chance"))
    baselines = {}
    if nulls is not None:
        k = min(max(1, round(evaluation.metrics["l0"] or 0)), coder.config.n_q)
        for name, null in nulls(coder, samples, k).items():
            of_null = evaluate_on(null, samples, truth, stream(seed, "chance"))
            baselines[name] = of_null.metrics
    return Scores(evaluation.metrics, evaluation.chance, evaluation.features, baselines)


def _check_widths(
    coder: SparseCoder, samples: Activations, references: References | None, anchors: Anchors | None
) -> None:
    """Raise ValueError if samples or directions do not fit the sites that a dictionary uses."""
    pair = coder.config.pair
    expected = (*coder.input_sites, *coder.target_sites) if pair == "transcoder" else coder.input_sites
    used = 1 if pair == "sae" else None  # an autoencoder uses only the input
    if (widths := samples.widths[:used]) != expected:
        how = "; a transcoder needs a target, a crosscoder a list of sites" if len(widths) < len(expected) else ""
        raise ValueError(f"x has sites of {widths} dimensions, but the {pair} {expected}{how}")
    directions = {
        "truth": None if references is None else tuple(map(len, references.sites)),
        "anchors": None if anchors is None else tuple(rows.shape[1] for rows in anchors.sites),
    }
    for name, found in directions.items():
        if found is not None and found[:used] != expected:
            raise ValueError(f"{name}: found {found[:used]} dimensions, but x has {expected}")


def null_dictionaries(
    coder: SparseCoder, samples: Activations, k: int, seed: int, centred: bool
) -> dict[str, SparseCoder]:
    """Return untrained TopK dictionaries of the size of ``coder`` with k active latents, as null baselines.

    These null baselines are initial states of trainings (``initialisation`` tied and samples), on normalised samples if
    ``centred``. The rows of ``directions`` are random directions; the rows of ``samples`` are random samples.
    """
    sites = coder.input_sites, coder.target_sites
    config = ModelConfig(
        pair=coder.config.pair,
        activation="topk",
        n_q=coder.config.n_q,
        k=k,
        bias=False,
        initialisation="tied",
        init_scale=1.0,
    )
    directions, rows = (SparseCoder.from_config(config, *sites, torch_stream(seed, "nulls")).eval() for _ in range(2))
    normalisation = fit_normalisation(samples, config.pair) if centred else no_scaling(*map(sum, sites))
    start_from_samples(rows, samples, normalisation, stream(seed, "nulls", "samples"))
    if centred:
        normalisation.fold(directions)
        normalisation.fold(rows)
    return {"directions": directions, "samples": rows}
