"""Metrics of plugins: registration, and the runs that they are computed for."""

from collections.abc import Callable
from typing import Literal, TypeVar

from sdlcore.errors import PluginError
from sdlcore.evaluation.metrics import BENCH, EVERY_RUN, JUDGED, METRICS, Metric
from sdlcore.plugins.registry import Extension, digests, extension, extensions

_COLUMNS = (
    *("source", "ground", "method", "paper_method", "protocol", "anchoring", "seed", "row", "parameter", "value"),
    *("paper_value", "latents", "samples", "seconds"),
)
"""Other columns of the pipeline's tables, and of the frames that they are made from."""
_OURS = (*METRICS, *_COLUMNS)

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
    """Register a function as a metric. The function takes `Judged` and returns a number; None if there is nothing to
    compute the metric from, since NaN is an error.

    Parameters
    ----------
    name
        Name in metrics files and tables: lower-case letters, digits and underscores.
    symbol, caption
        Heading of its column in tables, and a description.
    better
        The better direction; None if neither is better.
    runs
        The runs that have this metric: `EVERY_RUN`, `JUDGED` (with reference directions) or `BENCH`.
    digits
        Decimals in tables.
    in_tables
        Whether tables over seeds summarise it.
    effect
        Whether these tables show how anchoring changes it.

    Raises
    ------
    PluginError
        If the name is taken or not allowed, or ``runs`` has another value.
    """
    if runs not in (EVERY_RUN, JUDGED, BENCH):
        raise PluginError(f"metric {name}: runs must be one of EVERY_RUN, JUDGED, BENCH, found {runs!r}")
    register = extension("metric", name, _OURS, facts={"runs": runs})

    def add(measure: AnyMeasure) -> AnyMeasure:
        register(measure)
        METRICS[name] = Metric(name, symbol, caption, better, runs, digits, in_tables, effect, of_plugin=True)
        return measure

    return add


def metrics_of_plugins(judged: bool, bench: bool) -> dict[str, Extension]:
    """Return the plugins' metrics for runs with or without reference directions (``judged``), on a bench or not."""
    having = {EVERY_RUN, *([JUDGED] if judged else []), *([BENCH] if bench else [])}
    return {name: plugin for name, plugin in extensions("metric").items() if plugin.facts["runs"] in having}


def plugins_of_metrics(judged: bool, bench: bool) -> dict[str, str]:
    """Return the digests of the files of plugins' metrics for such a run, by metric."""
    return digests(metrics_of_plugins(judged, bench).values())
