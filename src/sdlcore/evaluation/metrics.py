"""The list of all metrics: symbols, better directions, decimals, captions, and the runs that each metric is
computed for.

`evaluate` computes the metrics; tables, effects, verdicts, claims and `docs/metrics.md` read this list. To add a
metric, add an entry here, and the code that computes it to `samples.py` or `evaluate.py`.
"""

import re
from dataclasses import dataclass, replace
from functools import partial
from itertools import product
from typing import Literal

from sdlcore.data.recovery_rule import TAU, TAU_STRICT

EVERY_RUN = "every run"
JUDGED = "runs with reference directions"
WITH_ANCHORS = "runs with reference directions, where the source has anchors"
CROSSCODERS = "crosscoders with reference directions"
BENCH = "runs on a bench"
HIERARCHY = "runs on a bench with a hierarchy"
CLASSES = "runs with means of classes as reference directions"
"""The kinds of runs that a metric may be restricted to."""

SIDES = {"encoder": "rows of the encoder", "decoder": "columns of the decoder"}
"""The two sides of a dictionary, and the names of their directions."""
NORM_QUANTILES = {"low": 0.05, "median": 0.5, "high": 0.95}
TOP_SAMPLES = 100
"""Number of samples per latent, with the largest activations, that are used to judge the latent."""
FEWEST_SAMPLES = 20
"""Fewest labelled samples to judge a latent by; fewer could share a class by accident."""
RECOVERY = re.compile(
    r"(?P<alone>anchors_only_)?(?P<measure>gt_recovery|mip)_(?P<side>encoder|decoder)(?P<match>_raw|_pattern)?"
    r"(_site(?P<site>\d+))?(?P<features>_anchored|_unanchored|_rarest|)(?P<strict>_tau95)?"
)
"""Form of the names of recovery and MIP, such as gt_recovery_encoder_site1_unanchored_tau95."""


@dataclass(frozen=True)
class Metric:
    """A metric of a run."""

    name: str
    symbol: str
    """Column heading in tables."""
    caption: str
    better: Literal["higher", "lower"] | None = None
    """The better direction; None if neither is better."""
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
    of_plugin: bool = False
    """Whether a plugin registered it. Tables then show it without being configured to."""

    @property
    def by_anchors(self) -> bool:
        """Whether it depends on which features the anchors reveal."""
        return "anchor" in self.name and not self.of_plugin


_FEATURES = {
    "": "all features",
    "_anchored": "features that anchors give away",
    "_unanchored": "features that are no anchors",
    "_rarest": "the quarter of features that are least often active",
}
_PARTS = {
    "": "all latents",
    "_anchored": "latents that match given classes best",
    "_unanchored": "latents that match the other classes best",
}
_NEAREST = "the features that each is nearest to by its decoder column"


def _recovery(name: str, **flags: bool) -> Metric:
    """Declare a metric by its name, which `RECOVERY` matches; ``flags`` are further fields of `Metric`."""
    parts = RECOVERY.fullmatch(name)
    assert parts is not None, name
    similarity = "inner product" if parts["match"] == "_raw" else "cosine"
    features, tau = _FEATURES[parts["features"]], TAU_STRICT if parts["strict"] else TAU
    if parts["measure"] == "mip":
        symbol, caption = "MIP", f"the mean of the best absolute {similarity}s, over {features}"
    else:
        caption = f"the share of {features} whose best absolute {similarity} exceeds τ = {tau:g}"
        symbol = "GT recovery"
    rows = f"{'patterns of ' if parts['match'] == '_pattern' else ''}{SIDES[parts['side']]}"
    rows += f", site {parts['site']} alone" if parts["site"] else ""
    runs = BENCH if parts["features"] == "_rarest" else CROSSCODERS if parts["site"] else JUDGED
    if parts["alone"]:
        return Metric(name, symbol, f"{caption}: anchors instead of {rows}", None, WITH_ANCHORS)
    return Metric(name, symbol, f"{caption}: {rows}", "higher", runs, **flags)


def _both_sides(name: str, **flags: bool) -> list[Metric]:
    """Declare a metric for encoder rows and one for decoder columns: the side replaces ``*`` in the name."""
    return [_recovery(name.replace("*", side), **flags) for side in SIDES]


def _sharing(part: str, of: str) -> list[Metric]:
    """Declare class counts and purity of latents' top samples, over the latents ``of`` a part."""
    classes = f"mean number of classes that share the samples that a latent responds to most: {of}"
    purity = f"mean share of the most frequent class among the samples that a latent responds to most: {of}"
    return [
        Metric(f"top_classes{part}", "Top classes", classes, "lower", CLASSES, 1),
        Metric(f"top_purity{part}", "Top purity", purity, "higher", CLASSES),
    ]


_IN_TABLES: list[Metric] = [
    *_both_sides("gt_recovery_*", effect=True, chance=True, needed=True),
    *_both_sides("gt_recovery_*_unanchored", effect=True),
    *_both_sides("mip_*", effect=True, chance=True, needed=True),
    Metric("l0", "L0", "mean number of active latents", None, EVERY_RUN, 1, needed=True),
    Metric("fvu", "FVU", "fraction of variance unexplained", "lower", EVERY_RUN, effect=True, needed=True),
    Metric("dead_fraction", "Dead", "fraction of latents that never fire", "lower", EVERY_RUN, needed=True),
    *_both_sides("gt_recovery_*_tau95", chance=True),
    *_both_sides("gt_recovery_*_unanchored_tau95"),
    *_both_sides("gt_recovery_*_anchored"),
    *_both_sides("gt_recovery_*_anchored_tau95"),
    *_both_sides("mip_*_unanchored", effect=True),
    *_both_sides("mip_*_anchored"),
    _recovery("gt_recovery_encoder_pattern", chance=True),
    _recovery("mip_encoder_pattern", chance=True),
    _recovery("gt_recovery_encoder_pattern_unanchored"),
    _recovery("mip_encoder_pattern_unanchored"),
    _recovery("gt_recovery_encoder_pattern_tau95"),
    *(
        Metric(
            f"hungarian_{side}",
            "Hungarian",
            f"mean |cosine| of the best one-to-one assignment, over all features; 0 for unmatched features: {rows}",
            "higher",
        )
        for side, rows in SIDES.items()
    ),
    Metric(
        "macro_f1",
        "Macro F1",
        "F1 of the latent that matches a feature best by its decoder column, as its detector, macro-averaged: the mean "
        "over features",
        "higher",
    ),
    *(_recovery(f"gt_recovery_{side}_raw{part}{tau}") for side, part, tau in product(SIDES, _PARTS, ("", "_tau95"))),
    *(_recovery(f"mip_{side}_raw{part}") for side, part in product(SIDES, _PARTS)),
    *(
        Metric(f"norm_{side}_{quantile}", "Norm", f"{share:.0%} quantile of the norms of {rows}")
        for side, rows in SIDES.items()
        for quantile, share in NORM_QUANTILES.items()
    ),
    *(metric for part in _PARTS.items() for metric in _sharing(*part)),
    *_both_sides("anchors_only_gt_recovery_*"),
    *_both_sides("anchors_only_mip_*"),
    *_both_sides("anchors_only_gt_recovery_*_unanchored"),
    *_both_sides("anchors_only_mip_*_unanchored"),
    *_both_sides("anchors_only_gt_recovery_*_tau95"),
    *_both_sides("anchors_only_gt_recovery_*_unanchored_tau95"),
    Metric("oracle_l0", "L0", "L0 of the true features as a dictionary", None, BENCH, 1),
    Metric("oracle_fvu", "FVU", "FVU of the true features as a dictionary", None, BENCH),
]
_of_benches = partial(Metric, better="higher", runs=BENCH)
_BESIDE_TABLES: list[Metric] = [
    _recovery("gt_recovery_encoder_pattern_unanchored_tau95"),
    _recovery("gt_recovery_encoder_pattern_anchored"),
    _recovery("gt_recovery_encoder_pattern_anchored_tau95"),
    _recovery("mip_encoder_pattern_anchored"),
    *_both_sides("gt_recovery_*_site0"),
    *_both_sides("mip_*_site0"),
    *_both_sides("gt_recovery_*_site1"),
    *_both_sides("mip_*_site1"),
    _recovery("gt_recovery_decoder_rarest"),
    _of_benches(
        "mcc",
        "MCC",
        "mean |cosine| of the best one-to-one assignment of columns of the decoder, over its pairs: "
        "`hungarian_decoder`, but higher where there are fewer latents than features",
    ),
    _of_benches("detection_f1", "F1", f"mean F1 of latents as detectors of {_NEAREST}"),
    _of_benches("detection_precision", "Precision", f"mean precision of latents as detectors of {_NEAREST}"),
    _of_benches("detection_recall", "Recall", f"mean recall of latents as detectors of {_NEAREST}"),
    _of_benches("uniqueness", "Unique", f"number of different features among {_NEAREST}, over the number of latents"),
    _of_benches(
        "splitting",
        "splitting",
        "mean number of latents of a feature that a decoder column matches",
        better="lower",
        digits=2,
    ),
    _of_benches(
        "shrinkage",
        "shrinkage",
        "share of the coefficient that is lost, of features that a decoder column matches: the median",
        better="lower",
    ),
    _of_benches(
        "absorption",
        "absorption",
        "share of absorbed pairs of parent and child",
        better="lower",
        runs=HIERARCHY,
        digits=2,
    ),
]
METRICS = {
    metric.name: metric for metric in (*_IN_TABLES, *(replace(metric, in_tables=False) for metric in _BESIDE_TABLES))
}
"""Every metric by name, in the order of tables; metrics of plugins come last. Metrics of single sites are listed
for sites 0 and 1; `declared` also finds them for further sites."""


def declared(name: str) -> Metric | None:
    """Return the metric with this name, or None. A crosscoder may have any number of sites."""
    parts = RECOVERY.fullmatch(name)
    if parts is None or parts["site"] is None:
        return METRICS.get(name)
    return replace(_recovery(name), in_tables=False)


EXPLAINED = {
    "gt_recovery_encoder": "The share of true features that some encoder row points along, with a cosine above .9. "
    "This share stays low even where every feature is found ([why](inside-a-model.md#the-law-of-encoder-rows)).",
    "gt_recovery_decoder": "The share of true features that some decoder column "
    "points along, with a cosine above .9. At 1 all features are found.",
    "mip_encoder": "Maximum inner product: the best cosine of a feature with encoder rows, on average over "
    "features. This mean needs no threshold.",
    "mip_decoder": "Maximum inner product: the best cosine of a feature with decoder columns, on average over "
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
