"""Variants of a source for tables and figures that vary one of its settings: one source for each value."""

from collections.abc import Iterable
from typing import NamedTuple

from sdlstudy.products.product import AnyStudy
from sdlstudy.settings.cells import variant_name
from sdlstudy.settings.study import Study


class BenchPoint(NamedTuple):
    """A value of a bench's setting, and the name of the bench with this value."""

    parameter: str
    value: float
    source: str


def source_with(study: Study, source: str, parameter: str, value: float) -> str:
    """Return the name of the variant of a source with a value, or of the source itself if it already has the value."""
    return source if value == getattr(study.source(source), parameter) else variant_name(source, parameter, value)


def with_benches(study: AnyStudy, bench: str, points: Iterable[BenchPoint]) -> AnyStudy:
    """Add the benches of the points to a study."""
    for parameter, value, source in points:
        if source not in study.sources.bench:
            study = study.with_source(source, study.source(bench).model_copy(update={parameter: value}))
    return study
