"""Metrics of plugins: registration, and the runs for which they are computed."""

from collections.abc import Callable
from typing import Literal, TypeVar

from sdlcore.errors import PluginError
from sdlcore.evaluation.metrics import BENCH, EVERY_RUN, JUDGED, METRICS, Metric
from sdlcore.plugins.plugin_settings import settings_class
from sdlcore.plugins.registry import Extension, check_named, digests, extensions, register

_OURS = tuple(METRICS)

AnyMeasure = TypeVar("AnyMeasure", bound=Callable[..., float | None])


def metric(
    name: str,
    symbol: str,
    caption: str,
    *,
    better: Literal["higher", "lower"] | None = None,
    runs: str = EVERY_RUN,
    digits: int = 3,
    in_tables: bool = True,
    effect: bool = False,
) -> Callable[[AnyMeasure], AnyMeasure]:
    """Register a function as a metric. The function takes `sdlcore.evaluation.evaluate.Judged` and returns a number or
    None.

    Parameters
    ----------
    name
        Name in metrics files and tables: lower-case letters, digits and underscores.
    symbol, caption, better, digits, in_tables, effect
        As in `Metric`.
    runs
        The runs that have this metric: `EVERY_RUN`, `JUDGED` or `BENCH`.

    Raises
    ------
    PluginError
        If the name is taken or not allowed, or ``runs`` has another value.
    """

    check_named(name, "metric")

    def add(measure: AnyMeasure) -> AnyMeasure:
        entry = Metric(name, symbol, caption, better, runs, digits, in_tables, effect, of_plugin=True)
        if runs not in (EVERY_RUN, JUDGED, BENCH):
            raise PluginError(f"metric {name}: runs must be one of EVERY_RUN, JUDGED, BENCH, found {runs!r}")
        register(Extension("metric", name, measure, settings_class(measure, f"metric {name}"), {"runs": runs}), _OURS)
        METRICS[name] = entry
        return measure

    return add


def metrics_of_plugins(judged: bool, bench: bool) -> dict[str, Extension]:
    """Return the plugins' metrics for runs with or without reference directions (``judged``), on a bench or not."""
    having = {EVERY_RUN, *([JUDGED] if judged else []), *([BENCH] if bench else [])}
    return {name: extension for name, extension in extensions("metric").items() if extension.facts["runs"] in having}


def plugins_of_metrics(judged: bool, bench: bool) -> dict[str, str]:
    """Return the digests of the files of plugins' metrics for such a run, by metric."""
    return digests(metrics_of_plugins(judged, bench).values())
