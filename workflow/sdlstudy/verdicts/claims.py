"""The paper's verbal claims, listed in ``resources/paper/claims.yaml``, and the quantities that test each of them."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import Literal, NamedTuple, TypeVar

import yaml

from sdlcore.evaluation.metric_names import Baseline
from sdlcore.evaluation.metrics import METRICS
from sdlstudy.settings.fields import Settings
from sdlstudy.verdicts.evidence import Place
from sdlstudy.verdicts.observed import FIGURE6, Lookup, Observed, number_of
from sdlstudy.verdicts.paper import setting
from sdlstudy.verdicts.scale import SWEPT

HAIR = 5e-10
"""Margin that excludes an end from a band: half a unit of the ninth decimal, since differences are rounded to nine."""

Either = TypeVar("Either", str, float)


class Band(NamedTuple):
    """A closed interval, and its name."""

    low: float
    high: float
    label: str


class Contrast(NamedTuple):
    """A quantity that a claim is about, and its name: a level of a metric, or a difference."""

    label: str
    observed: Observed
    number: str = ""
    """Key of `paper.MEASURES` for a level; empty for a difference, which has no tolerance and no ends of its scale."""

    @property
    def blind(self) -> bool:
        """True if both sides of the difference are at the same end of the scale, so that neither can exceed the other.

        A difference of changes is blind if the two sides of one change are.
        """
        return not self.number and self.observed.end is not None


class Comparison(Settings):
    """The test of a claim: which rows of a table it compares, and the band for the result.

    The head of ``claims.yaml`` explains the keys.
    """

    level: str = ""
    change: str = ""
    beyond_anchors: str = ""
    table: str
    methods: list[str | list[str]]
    values: Sequence[float | list[float]] = (float("nan"),)
    anchorings: Sequence[Literal["none", "anchored"]] = ("none",)
    above: float | None = None
    below: float | None = None
    between: list[float] | None = None

    @property
    def band(self) -> Band:
        """The interval that contains each quantity if the claim holds."""
        if self.above is not None:
            return Band(self.above + HAIR, float("inf"), f"above {self.above:g}")
        if self.below is not None:
            return Band(-float("inf"), self.below - HAIR, f"below {self.below:g}")
        assert self.between is not None, "a test has a band"
        low, high = self.between
        return Band(low, high, f"from {low:g} to {high:g}")

    def contrasts(self, read: Lookup) -> list[Contrast]:
        """Look up, with ``read``, the quantities that the claim compares with the band."""
        contrasts = []
        for first, second in self._places():
            observed, label, number = self._observed(read, first), name(first), ""
            if second is not None:
                observed, label = observed - self._observed(read, second), f"{label} minus {name(second)}"
            elif self.level:
                number = number_of(self.level)
            contrasts.append(Contrast(label, observed, number))
        return contrasts

    def _observed(self, read: Lookup, place: Place) -> Observed:
        if self.level:
            return read(place, self.level)
        anchored = place._replace(anchoring="anchored")
        if self.change:
            return read(anchored, self.change) - read(place, self.change)
        matched = METRICS[self.beyond_anchors].matched
        assert matched is not None, "anchors alone have a recovery or an MIP"
        return read(anchored, self.beyond_anchors) - read(
            anchored, replace(matched, baseline=Baseline.ANCHORS_ONLY).name
        )

    def _places(self) -> Iterator[tuple[Place, Place | None]]:
        """Yield the rows of the table, each with the row that it is compared with, or None for a level."""
        parameter = SWEPT.get(self.table, "")
        for method, value, anchoring in product(self.methods, self.values, self.anchorings):
            first, second = (
                Place(self.table, _of(method, side), anchoring, parameter, _of(value, side)) for side in (0, -1)
            )
            yield first, second if isinstance(method, list) or isinstance(value, list) else None


class Claim(Settings):
    """A claim of the paper, and how it is tested."""

    name: str
    section: str
    quote: str
    measured: str
    test: Comparison


def read_claims(path: str | Path) -> list[Claim]:
    """Read claims from a YAML file."""
    return [Claim.model_validate(claim) for claim in yaml.safe_load(Path(path).read_text(encoding="utf-8"))["claims"]]


def name(place: Place) -> str:
    """Return the name of a row. A row without anchors is the default, so its name does not mention anchors."""
    at = f" at {setting(place.parameter, place.value)}" if place.parameter and place.table != FIGURE6 else ""
    return f"{place.method}{at}{'' if place.anchoring == 'none' else ' with anchors'}"


def _of(entry: Either | list[Either], side: int) -> Either:
    return entry[side] if isinstance(entry, list) else entry
