"""Variants of a bench for figures that vary one of its settings: one bench for each value."""

from collections.abc import Iterable, Iterator
from typing import Protocol

from sdlstudy.products.product import AnyStudy
from sdlstudy.settings.cells import variant_name
from sdlstudy.settings.study import Study


class BenchPoint(Protocol):
    """A value of a setting, and the name of the bench with this value."""

    @property
    def parameter(self) -> str: ...

    @property
    def value(self) -> float: ...

    @property
    def source(self) -> str: ...


def bench_with(study: Study, bench: str, parameter: str, value: float) -> str:
    """Return the name of the variant of a bench with a value, or of the bench itself if it already has the value."""
    bench_value = getattr(study.sources.bench[bench], parameter)
    return bench if value == bench_value else variant_name(bench, parameter, value)


def with_benches(study: AnyStudy, bench: str, points: Iterable[BenchPoint]) -> AnyStudy:
    """Add the benches of the points to a study."""
    for point in points:
        if point.source not in study.sources.bench:
            variant = study.source(bench).model_copy(update={point.parameter: point.value})
            study = study.with_source(point.source, variant)
    return study


def missed(study: Study, points: Iterable[BenchPoint]) -> Iterator[tuple[BenchPoint, str]]:
    """Yield the points whose bench has another value than the point, each with an error message."""
    for point in points:
        value = getattr(study.source(point.source), point.parameter)
        if value != point.value:
            yield point, f"{point.value}, but sources.{point.source} has {value}"
