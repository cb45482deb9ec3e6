"""Tables of runs on benches, one row a bench and method: harder benches, and encoders that can be read."""

from typing import NamedTuple

import pandas as pd

from sdlcore.data.recovery_rule import TAU
from sdlcore.evaluation.metrics import METRICS, ORACLE, PATTERN, RAREST, baseline_name, mip_name, recovery_name
from sdlcore.study.products.markup import label_method, number


class BenchTable(NamedTuple):
    """What a table shows."""

    columns: dict[str, str]
    """Metric -> head of its column."""
    caption: str
    finer: tuple[str, ...] = ()
    """Metrics with a decimal more than elsewhere."""

    def digits(self, metric: str) -> int:
        """Return the decimals of a metric."""
        return METRICS[metric].digits + (metric in self.finer)


TABLES = {
    "harder": BenchTable(
        {
            recovery_name("decoder"): "recovery: decoder",
            recovery_name("decoder", features=RAREST): "of the rarest quarter",
            recovery_name("encoder"): "encoder",
            mip_name("decoder"): "MIP: decoder",
            "fvu": METRICS["fvu"].symbol,
            baseline_name(ORACLE, "fvu"): f"{METRICS['fvu'].symbol} of the true features",
            **{name: METRICS[name].symbol for name in ("l0", "splitting", "shrinkage", "absorption")},
        },
        "Benches that are harder than the paper's: means over seeds. Recovery is the share of true features within a "
        f"cosine of {TAU:g} of some decoder column or encoder row. Of features that a decoder column matches, "
        "splitting is the number of latents of each (1: not split), shrinkage how much of the coefficient is lost (0: "
        f"nothing); absorption is the {METRICS['absorption'].caption}, where a bench has such and dictionaries as "
        "many latents as features.",
    ),
    "encoders": BenchTable(
        {
            recovery_name("encoder"): "recovery: encoder rows",
            recovery_name("encoder", PATTERN): "patterns of rows",
            recovery_name("decoder"): "decoder",
            mip_name("encoder"): "MIP: encoder rows",
            mip_name("encoder", PATTERN): "patterns of rows",
            mip_name("decoder"): "decoder",
            **{name: METRICS[name].symbol for name in ("fvu", "l0")},
        },
        "What encoders show of the features, and what that costs: means over seeds. Recovery is the share of true "
        f"features within a cosine of {TAU:g} of some encoder row, of the pattern of some encoder row (the covariance "
        "of inputs times the row) or of some decoder column; MIP is the mean best cosine.",
        finer=("fvu",),
    ),
}
"""By the key of a configuration that asks for it."""


def bench_table(name: str, runs: pd.DataFrame) -> pd.DataFrame:
    """Return one row a run.

    Parameters
    ----------
    name
        One of `TABLES`.
    runs
        As `runs.read_runs` returns them.

    Returns
    -------
    DataFrame
        source, method, seed and the metrics of the table; NaN for what a run lacks, as runs of an earlier version do.
    """
    return runs.reindex(columns=["source", "method", "seed", *TABLES[name].columns])


def bench_markdown(name: str, table: pd.DataFrame) -> str:
    """Return means over seeds of what `bench_table` returned, one row a source and method."""
    asked = TABLES[name]
    rows = []
    for (source, method), runs in table.groupby(["source", "method"], sort=False):
        means = [number(float(runs[metric].mean()), asked.digits(metric)) for metric in asked.columns]
        rows.append([str(source), label_method(str(method)), str(len(runs)), *means])
    frame = pd.DataFrame(rows, columns=["bench", "method", "seeds", *asked.columns.values()])
    alignment = ["left"] * 2 + ["right"] * (len(frame.columns) - 2)
    return f"{asked.caption}\n\n{frame.to_markdown(index=False, colalign=alignment, disable_numparse=True)}\n"
