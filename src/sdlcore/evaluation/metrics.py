"""The list of all metrics: symbols, better directions, decimals, captions, and the runs that each metric is
computed for.

`evaluate` computes the metrics; tables, effects, verdicts, claims and `docs/metrics.md` read this list. To add a
metric, add an entry here, and the code that computes it to `samples.py` or `evaluate.py`.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass, replace
from enum import StrEnum
from functools import partial
from itertools import product
from typing import Any

from sdlcore.data.recovery_rule import TAU, TAU_STRICT
from sdlcore.evaluation.metric_names import (
    GT_RECOVERY,
    MIP,
    SIDES,
    Baseline,
    FeatureSet,
    Matched,
    Measure,
    Similarity,
    baseline_name,
    mip_name,
    part_name,
    recovery_name,
)


class Better(StrEnum):
    """The better direction of a metric."""

    HIGHER = "higher"
    LOWER = "lower"


EVERY_RUN = "every run"
JUDGED = "runs with reference directions"
WITH_ANCHORS = "runs with reference directions, where the source has anchors"
CROSSCODERS = "crosscoders with reference directions"
BENCH = "runs on a bench"
HIERARCHY = "runs on a bench with a hierarchy"
CLASSES = "runs with means of classes as reference directions"
"""The kinds of runs that a metric may be restricted to."""

WHOSE = (FeatureSet.ALL, FeatureSet.ANCHORED, FeatureSet.UNANCHORED)
"""The feature sets over which every anchor-dependent metric is computed."""
TOP_SAMPLES = 100
"""Number of samples per latent, with the largest activations, that are used to judge the latent."""
FEWEST_SAMPLES = 20
"""Fewest labelled samples to judge a latent by; fewer could share a class by accident."""
NEAREST = "the features that each is nearest to by its decoder column"


@dataclass(frozen=True)
class Metric:
    """A metric of a run."""

    name: str
    symbol: str
    """Column heading in tables."""
    caption: str
    better: str | None = None
    """`Better.HIGHER` or `Better.LOWER`; None if neither is better."""
    runs: str = JUDGED
    """The kind of run that has this metric, one of `EVERY_RUN` to `CLASSES`."""
    digits: int = 3
    """Decimals in tables."""
    in_tables: bool = True
    """Whether tables over seeds summarise it."""
    effect: bool = False
    """Whether these tables show how anchoring changes it."""
    chance: bool = False
    """Whether these tables show the level of random directions beside it."""
    needed: bool = False
    """Whether a table rejects runs without it."""
    matched: Matched | None = None
    """Comparison behind a recovery or MIP metric; None for other metrics."""
    of_plugin: bool = False
    """Whether a plugin registered it. Tables then show it without being configured to."""

    @property
    def by_anchors(self) -> bool:
        """Whether it depends on which features the anchors reveal."""
        return "anchor" in self.name and not self.of_plugin


def norm_name(side: str, quantile: str) -> str:
    """Return the name of a quantile (a key of `NORM_QUANTILES`) of the norms of one side's directions."""
    return f"norm_{side}_{quantile}"


NORM_QUANTILES = {"low": 0.05, "median": 0.5, "high": 0.95}


def _matches(
    measure: Measure,
    sides: Iterable[str] = SIDES,
    effect: bool = False,
    chance: bool = False,
    needed: bool = False,
    in_tables: bool = True,
    runs: str = JUDGED,
    **matched: Any,
) -> list[Metric]:
    """Declare a recovery or MIP metric for each side; ``matched`` are further fields of `Matched`."""
    declared = [Matched(side, measure=measure, **matched) for side in sides]
    return [
        Metric(
            comparison.name,
            measure.symbol,
            comparison.caption,
            Better.HIGHER if comparison.baseline is None else None,
            runs,
            in_tables=in_tables,
            effect=effect,
            chance=chance,
            needed=needed,
            matched=comparison,
        )
        for comparison in declared
    ]


def _sharing(part: str) -> list[Metric]:
    """Declare class counts and purity of latents' top samples, over all latents or those matched to given classes."""
    of: dict[str, str] = {
        FeatureSet.ALL: "all latents",
        FeatureSet.ANCHORED: "latents that match given classes best",
        FeatureSet.UNANCHORED: "latents that match the other classes best",
    }
    classes = f"mean number of classes that share the samples that a latent responds to most: {of[part]}"
    purity = f"mean share of the most frequent class among the samples that a latent responds to most: {of[part]}"
    return [
        Metric(part_name("top_classes", part), "Top classes", classes, Better.LOWER, CLASSES, 1),
        Metric(part_name("top_purity", part), "Top purity", purity, Better.HIGHER, CLASSES),
    ]


_of_benches = partial(Metric, better=Better.HIGHER, runs=BENCH, in_tables=False)
_patterns = partial(_matches, sides=("encoder",), similarity=Similarity.PATTERN)

_DECLARED: list[Metric] = [
    *_matches(GT_RECOVERY, effect=True, chance=True, needed=True),
    *_matches(GT_RECOVERY, features=FeatureSet.UNANCHORED, effect=True),
    *_matches(MIP, effect=True, chance=True, needed=True),
    Metric("l0", "L0", "mean number of active latents", None, EVERY_RUN, 1, needed=True),
    Metric("fvu", "FVU", "fraction of variance unexplained", Better.LOWER, EVERY_RUN, effect=True, needed=True),
    Metric("dead_fraction", "Dead", "fraction of latents that never fire", Better.LOWER, EVERY_RUN, needed=True),
    *_matches(GT_RECOVERY, tau=TAU_STRICT, chance=True),
    *_matches(GT_RECOVERY, features=FeatureSet.UNANCHORED, tau=TAU_STRICT),
    *_matches(GT_RECOVERY, features=FeatureSet.ANCHORED),
    *_matches(GT_RECOVERY, features=FeatureSet.ANCHORED, tau=TAU_STRICT),
    *_matches(MIP, features=FeatureSet.UNANCHORED, effect=True),
    *_matches(MIP, features=FeatureSet.ANCHORED),
    *_patterns(GT_RECOVERY, chance=True),
    *_patterns(MIP, chance=True),
    *_patterns(GT_RECOVERY, features=FeatureSet.UNANCHORED),
    *_patterns(MIP, features=FeatureSet.UNANCHORED),
    *_patterns(GT_RECOVERY, tau=TAU_STRICT),
    *(
        Metric(
            f"hungarian_{side}",
            "Hungarian",
            f"mean |cosine| of the best one-to-one assignment, over all features; 0 for unmatched features: {rows}",
            Better.HIGHER,
        )
        for side, rows in SIDES.items()
    ),
    Metric(
        "macro_f1",
        "Macro F1",
        "F1 of the latent that matches a feature best by its decoder column, as its detector, macro-averaged: the mean "
        "over features",
        Better.HIGHER,
    ),
    *(
        metric
        for side, part, tau in product(SIDES, WHOSE, (TAU, TAU_STRICT))
        for metric in _matches(GT_RECOVERY, sides=(side,), similarity=Similarity.INNER, features=part, tau=tau)
    ),
    *(
        metric
        for side, part in product(SIDES, WHOSE)
        for metric in _matches(MIP, sides=(side,), similarity=Similarity.INNER, features=part)
    ),
    *(
        Metric(norm_name(side, quantile), "Norm", f"{share:.0%} quantile of the norms of {rows}")
        for side, rows in SIDES.items()
        for quantile, share in NORM_QUANTILES.items()
    ),
    *(metric for part in WHOSE for metric in _sharing(part)),
    *(
        metric
        for part, measure in product((FeatureSet.ALL, FeatureSet.UNANCHORED), (GT_RECOVERY, MIP))
        for metric in _matches(measure, features=part, baseline=Baseline.ANCHORS_ONLY, runs=WITH_ANCHORS)
    ),
    *(
        metric
        for part in (FeatureSet.ALL, FeatureSet.UNANCHORED)
        for metric in _matches(
            GT_RECOVERY, features=part, tau=TAU_STRICT, baseline=Baseline.ANCHORS_ONLY, runs=WITH_ANCHORS
        )
    ),
    Metric(baseline_name(Baseline.ORACLE, "l0"), "L0", "L0 of the true features as a dictionary", None, BENCH, 1),
    Metric(baseline_name(Baseline.ORACLE, "fvu"), "FVU", "FVU of the true features as a dictionary", None, BENCH),
    # not in the paper's tables
    *_patterns(GT_RECOVERY, features=FeatureSet.UNANCHORED, tau=TAU_STRICT, in_tables=False),
    *_patterns(GT_RECOVERY, features=FeatureSet.ANCHORED, in_tables=False),
    *_patterns(GT_RECOVERY, features=FeatureSet.ANCHORED, tau=TAU_STRICT, in_tables=False),
    *_patterns(MIP, features=FeatureSet.ANCHORED, in_tables=False),
    *(
        metric
        for site, measure in product((0, 1), (GT_RECOVERY, MIP))
        for metric in _matches(measure, site=site, runs=CROSSCODERS, in_tables=False)
    ),
    *_matches(GT_RECOVERY, sides=("decoder",), features=FeatureSet.RAREST, runs=BENCH, in_tables=False),
    _of_benches(
        "mcc",
        "MCC",
        "mean |cosine| of the best one-to-one assignment of columns of the decoder, over its pairs: "
        "`hungarian_decoder`, but higher where there are fewer latents than features",
    ),
    _of_benches("detection_f1", "F1", f"mean F1 of latents as detectors of {NEAREST}"),
    _of_benches("detection_precision", "Precision", f"mean precision of latents as detectors of {NEAREST}"),
    _of_benches("detection_recall", "Recall", f"mean recall of latents as detectors of {NEAREST}"),
    _of_benches("uniqueness", "Unique", f"number of different features among {NEAREST}, over the number of latents"),
    _of_benches(
        "splitting",
        "splitting",
        "mean number of latents of a feature that a decoder column matches",
        better=Better.LOWER,
        digits=2,
    ),
    _of_benches(
        "shrinkage",
        "shrinkage",
        "share of the coefficient that is lost, of features that a decoder column matches: the median",
        better=Better.LOWER,
    ),
    _of_benches(
        "absorption",
        "absorption",
        "share of absorbed pairs of parent and child",
        better=Better.LOWER,
        runs=HIERARCHY,
        digits=2,
    ),
]
METRICS = {metric.name: metric for metric in _DECLARED}
"""Every metric by name, in the order of tables; metrics of plugins come last. Metrics of single sites are listed
for sites 0 and 1; `declared` also finds them for further sites."""


def declared(name: str) -> Metric | None:
    """Return the metric with this name, or None. A crosscoder may have any number of sites."""
    if (metric := METRICS.get(name)) is not None:
        return metric
    first = METRICS.get(_SITE.sub("_site0", name))
    if first is None or first.matched is None:
        return None
    matched = replace(first.matched, site=int(_SITE.findall(name)[0]))
    return replace(first, name=matched.name, caption=matched.caption, matched=matched)


_SITE = re.compile(r"_site(\d+)")

EXPLAINED = {
    recovery_name("encoder"): "The share of true features that some encoder row points along, with a cosine above .9. "
    "This share stays low even where every feature is found ([why](inside-a-model.md#the-law-of-encoder-rows)).",
    recovery_name("decoder"): "The share of true features that some decoder column "
    "points along, with a cosine above .9. At 1 all features are found.",
    mip_name("encoder"): "Maximum inner product: the best cosine of a feature with encoder rows, on average over "
    "features. This mean needs no threshold.",
    mip_name("decoder"): "Maximum inner product: the best cosine of a feature with decoder columns, on average over "
    "features.",
    "mcc": "Mean correlation coefficient: the cosine of features and decoder columns in pairs, on average. Each column "
    "matches at most one feature.",
    "detection_f1": "How well latents detect the features that they are nearest to: F1, on average over latents. A "
    "dead latent counts as 0.",
    "macro_f1": "How well the latent that matches a feature detects it: F1, on average over features (macro-averaged).",
    "l0": "How many latents are active in a sample, on average. Compare dictionaries of about equal L0.",
    "fvu": "The fraction of variance unexplained. 0 is exact; predicting the mean gives 1.",
}
"""Plain descriptions of the metrics that `scores` prints and cards show, in this order."""
