"""Names of metrics, such as ``gt_recovery_decoder_unanchored_tau95``. A name lists the parts of a comparison."""

from dataclasses import dataclass
from enum import StrEnum
from typing import Any, NamedTuple

from sdlcore.data.recovery_rule import TAU

SIDES = {"encoder": "rows of the encoder", "decoder": "columns of the decoder"}
"""The two sides of a dictionary, and the names of their directions."""


class Similarity(StrEnum):
    """Similarity measures between directions and features."""

    COSINE = "cosines"
    INNER = "inner products"
    PATTERN = "cosines of patterns"
    """Patterns: the directions that encoder rows respond to (`sdlcore.evaluation.recovery`)."""


class FeatureSet(StrEnum):
    """The features that a metric is taken over."""

    ALL = "all features"
    ANCHORED = "features that anchors give away"
    UNANCHORED = "features that are no anchors"
    RAREST = "the quarter of features that are least often active"


class Baseline(StrEnum):
    """A baseline that a dictionary is compared with."""

    CHANCE = "chance"
    """Random directions."""
    ANCHORS_ONLY = "anchors_only"
    """The anchors without any training."""
    ORACLE = "oracle"
    """The true features as a dictionary."""


_SIMILARITY: dict[str, str] = {Similarity.COSINE: "", Similarity.INNER: "_raw", Similarity.PATTERN: "_pattern"}
_FEATURES: dict[str, str] = {
    FeatureSet.ALL: "",
    FeatureSet.ANCHORED: "_anchored",
    FeatureSet.UNANCHORED: "_unanchored",
    FeatureSet.RAREST: "_rarest",
}


class Measure(NamedTuple):
    """A number that summarises the best match of each feature."""

    name: str
    symbol: str
    caption: str
    """A template with the fields ``{features}``, ``{similarity}`` and ``{tau}``."""


GT_RECOVERY = Measure(
    "gt_recovery", "GT recovery", "the share of {features} whose best absolute {similarity} exceeds τ = {tau:g}"
)
"""The share of features that a dictionary recovers (the paper's M_GT)."""
MIP = Measure("mip", "MIP", "the mean of the best absolute {similarity}s")
"""The mean best match (the paper's maximum inner product)."""


@dataclass(frozen=True)
class Matched:
    """A recovery or MIP metric: which directions are compared with which features, and how. Its name encodes these."""

    side: str
    similarity: str = Similarity.COSINE
    features: str = FeatureSet.ALL
    baseline: str | None = None
    """`Baseline.ANCHORS_ONLY` if the anchors replace the dictionary."""
    site: int | None = None
    """Site of a crosscoder, if its sites are matched one by one."""
    measure: Measure = GT_RECOVERY
    tau: float = TAU
    """Threshold of recovery; MIP does not use it."""

    @property
    def name(self) -> str:
        """Return the metric's name."""
        site = "" if self.site is None else f"_site{self.site}"
        tau = "" if self.measure == MIP or self.tau == TAU else f"_tau{round(100 * self.tau)}"
        name = f"{self.measure.name}_{self.directions}{site}{_FEATURES[self.features]}{tau}"
        return name if self.baseline is None else baseline_name(self.baseline, name)

    @property
    def directions(self) -> str:
        """Return the name of the directions and how they are matched, such as ``encoder`` or ``decoder_raw``."""
        return f"{self.side}{_SIMILARITY[self.similarity]}"

    @property
    def caption(self) -> str:
        """Return the metric in words."""
        what = "inner product" if self.similarity == Similarity.INNER else "cosine"
        caption = self.measure.caption.format(features=self.features, similarity=what, tau=self.tau)
        rows = f"{'patterns of ' if self.similarity == Similarity.PATTERN else ''}{SIDES[self.side]}"
        if self.baseline:
            rows = f"anchors instead of {rows}"
        over = f", over {self.features}" if self.measure == MIP else ""
        return f"{caption}{over}: {rows}" + ("" if self.site is None else f", site {self.site} alone")


def recovery_name(side: str, similarity: str = Similarity.COSINE, features: str = FeatureSet.ALL, **more: Any) -> str:
    """Return the name of a recovery metric; ``more`` are further fields of `Matched`."""
    return Matched(side, similarity, features, measure=GT_RECOVERY, **more).name


def mip_name(side: str, similarity: str = Similarity.COSINE, features: str = FeatureSet.ALL, **more: Any) -> str:
    """Return the name of an MIP metric; ``more`` are further fields of `Matched`."""
    return Matched(side, similarity, features, measure=MIP, **more).name


def part_name(name: str, features: str) -> str:
    """Return the name of a metric over a part of the features."""
    return f"{name}{_FEATURES[features]}"


def baseline_name(baseline: str, name: str) -> str:
    """Return the name of a metric of a baseline."""
    return f"{baseline}_{name}"
