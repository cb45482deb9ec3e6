"""Evaluate a dictionary against known directions, or by its reconstructions alone."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from sdlcore.api.bench import Bench
from sdlcore.api.card import SHOWN
from sdlcore.api.dictionary import Dictionary
from sdlcore.api.inputs import activations
from sdlcore.data.anchors import Anchors
from sdlcore.data.memory import Arrays
from sdlcore.data.references import References
from sdlcore.evaluation.evaluate import Evaluation, GroundTruth
from sdlcore.evaluation.evaluate import evaluate as evaluate_on
from sdlcore.evaluation.given import given_away
from sdlcore.evaluation.metrics import METRICS
from sdlcore.model.sparse_coder import SparseCoder
from sdlcore.random_streams import stream

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class Scores(Mapping[str, float | None]):
    """Metrics of a dictionary, by name: a mapping that prints as a small table.

    ``docs/metrics.md`` and `to_frame` say what each is.
    """

    metrics: dict[str, float | None]
    """None where there is nothing to take a mean over."""
    chance: dict[str, float] = field(default_factory=dict)
    """What as many random directions have of recovery and MIP."""
    features: dict[str, list[float]] = field(default_factory=dict)
    """Feature by feature, the best match: ``encoder`` and ``decoder`` are cosines, ``encoder_raw`` and ``decoder_raw``
    inner products. ``anchored`` are the indices of the features that anchors give away."""

    def __getitem__(self, name: str) -> float | None:
        return self.metrics[name]

    def __iter__(self) -> Any:
        return iter(self.metrics)

    def __len__(self) -> int:
        return len(self.metrics)

    def to_dict(self) -> dict[str, float | None]:
        """Return the metrics by name."""
        return dict(self.metrics)

    def to_frame(self) -> "pd.DataFrame":
        """Return a table, a row a metric: ``value``, ``chance``, ``better`` (higher or lower) and ``what`` it is."""
        import pandas as pd

        known = [METRICS[name] for name in self.metrics]
        rows = {
            "value": [self.metrics[metric.name] for metric in known],
            "chance": [self.chance.get(metric.name) for metric in known],
            "better": [metric.better for metric in known],
            "what": [metric.caption for metric in known],
        }
        return pd.DataFrame(rows, index=pd.Index([metric.name for metric in known], name="metric"))

    def __repr__(self) -> str:
        """Draw the metrics that matter most, with chance beside them."""
        shown = [name for name in SHOWN if name in self.metrics]
        width = max(map(len, shown), default=0)
        lines = [f"{'metric':<{width}}   value  chance"]
        for name in shown:
            value, chance = self.metrics[name], self.chance.get(name)
            lines.append(
                f"{name:<{width}}  {'-' if value is None else f'{value:.4g}':>6}"
                f"  {'' if chance is None else f'{chance:.4g}':>6}".rstrip()
            )
        more = len(self.metrics) - len(shown)
        return "\n".join([*lines, f"({more} more in to_frame())"] if more else lines)


def evaluate(
    dictionary: Dictionary | SparseCoder,
    truth: Bench | References | None = None,
    x: Any = None,
    target: Any = None,
    *,
    labels: Any = None,
    anchors: Anchors | None = None,
    seed: int = 0,
    n_samples: int | None = None,
) -> Scores:
    """Score a dictionary.

    ``evaluate(sae, bench)`` judges it by the bench's true features on samples that no training saw;
    ``evaluate(sae, references, x, labels=labels)`` by means of classes; ``evaluate(sae, x=x)`` by reconstruction
    and sparsity alone.

    Parameters
    ----------
    dictionary
        Of raw activations.
    truth
        A bench, or reference directions.
    x, target, labels
        Samples to evaluate on, as of `fit`, which training should not have seen. Left out for a bench, which draws
        its own.
    anchors
        Those of the training: metrics over features that no anchor gives away then know which these are.
    seed
        Of the random directions that give the level of chance.
    n_samples
        Samples to draw from a bench; its ``test_samples`` where left out.

    Raises
    ------
    ValueError
        If samples are missing, or have other dimensions than the dictionary.
    """
    coder = dictionary.coder if isinstance(dictionary, Dictionary) else dictionary
    if isinstance(truth, Bench):
        if x is not None:
            raise ValueError("a bench draws its own samples; leave x out, or pass bench.references")
        drawn = truth.samples(n_samples or truth.settings.test_samples, "test")
        samples = Arrays(drawn.input, drawn.target, features=drawn.features)
        judges = _ground_truth(truth.references, anchors)._replace(hierarchy=truth.settings.hierarchy)
        return _scored(coder, samples, judges, seed)
    if x is None:
        raise ValueError("x is missing: the samples to evaluate on")
    with activations(x, target, labels) as given:
        if truth is None:
            return _scored(coder, given, None, seed)
        if truth.classes is not None and not given.has("labels"):
            raise ValueError("labels are missing, by which means of classes are judged")
        detected = truth.classes is not None or given.features() is not None
        return _scored(coder, given, _ground_truth(truth, anchors)._replace(detected=detected), seed)


def _ground_truth(references: References, anchors: Anchors | None) -> GroundTruth:
    given = np.zeros(0, dtype=np.int64) if anchors is None else given_away(anchors, references)
    return GroundTruth(references.W_p, references.W_r, given, references.classes, anchors=anchors)


def _scored(coder: SparseCoder, samples: Any, truth: GroundTruth | None, seed: int) -> Scores:
    widths = (samples.n_p,) if coder.config.pair == "sae" else (samples.n_p, samples.n_r)
    wanted = coder.input_sites if coder.config.pair != "transcoder" else (*coder.input_sites, *coder.target_sites)
    if widths != wanted:
        raise ValueError(f"samples have dimensions {widths}, but the dictionary was made for {wanted}")
    found: Evaluation = evaluate_on(_on_cpu(coder), samples, truth, stream(seed, "chance"))
    return Scores(found.metrics, found.chance, found.features)


def _on_cpu(coder: SparseCoder) -> SparseCoder:
    if coder.W_enc.device.type == "cpu":
        return coder
    copy = SparseCoder(coder.config, coder.input_sites, coder.target_sites)
    copy.load_state_dict({name: tensor.cpu() for name, tensor in coder.state_dict().items()})
    return copy.eval()
