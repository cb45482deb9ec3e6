"""The base class of pictures that vary one setting of a bench at a time: one variant of the bench for each value."""

from collections.abc import Iterable
from typing import NamedTuple

from sdlstudy.products.product import AnyStudy, Picture
from sdlstudy.settings.cells import Cell, variant_name
from sdlstudy.settings.fields import Identifier
from sdlstudy.settings.names import BENCH
from sdlstudy.settings.study import Study


class BenchPoint(NamedTuple):
    """A value of a bench's setting, and the name of the bench with this value."""

    parameter: str
    value: float
    source: str


def source_with(study: Study, source: str, parameter: str, value: float) -> str:
    """Return the name of the variant of a source with a value, or of the source itself if it already has the value."""
    return source if value == getattr(study.source(source), parameter) else variant_name(source, parameter, value)


class SweptBench(Picture):
    """A picture of runs without anchors on variants of one bench. A subclass lists them (`runs_at_points`)."""

    source: Identifier
    """The bench that is varied."""
    protocol: Identifier = "best"
    """The protocol of the trained methods."""

    def point(self, study: Study, parameter: str, value: float) -> BenchPoint:
        """Return the bench with one value, named after it (lrb_n_1400) unless the bench has the value already."""
        return BenchPoint(parameter, value, source_with(study, self.source, parameter, value))

    def points(self, study: Study) -> list[BenchPoint]:
        """Return the points whose benches are added to the study."""
        return [point for point, _ in self.runs_at_points(study)]

    def runs_at_points(self, study: Study) -> list[tuple[BenchPoint, Cell]]:
        """Return the runs, point by point. A run that belongs to several points is listed at each."""
        raise NotImplementedError

    def distinct_runs(self, study: Study) -> list[Cell]:
        """Return each run once."""
        return list(dict.fromkeys(cell for _, cell in self.runs_at_points(study)))

    def with_variants(self, study: AnyStudy) -> AnyStudy:
        for parameter, value, source in self.points(study):
            if source not in study.sources.bench:
                varied = study.source(self.source).model_copy(update={parameter: value})
                study = study.with_source(source, varied)
        return study

    def used(self, study: Study) -> Study:
        part = super().used(study)
        for source in {self.source, *(point.source for point in self.points(study))}:
            part = part.with_source(source, study.source(source))
        return part

    def accepted_sources(self, study: Study) -> tuple[Iterable[str], str]:
        return study.sources.bench, BENCH
