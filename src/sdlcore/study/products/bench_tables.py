"""Tables of runs on benches, one row a bench and method: harder benches, and encoders that can be read."""

from typing import NamedTuple

import pandas as pd

from sdlcore.study.products.markup import label_method, number


class BenchTable(NamedTuple):
    """What a table shows."""

    columns: dict[str, tuple[str, int]]
    """Metric -> head of its column, decimals."""
    caption: str


TABLES = {
    "harder": BenchTable(
        {
            "gt_recovery_decoder": ("recovery: decoder", 3),
            "gt_recovery_decoder_rarest": ("of the rarest quarter", 3),
            "gt_recovery_encoder": ("encoder", 3),
            "mip_decoder": ("MIP: decoder", 3),
            "fvu": ("FVU", 3),
            "oracle_fvu": ("FVU of the true features", 3),
            "l0": ("L0", 1),
            "splitting": ("splitting", 2),
            "shrinkage": ("shrinkage", 3),
            "absorption": ("absorption", 2),
        },
        "Benches that are harder than the paper's: means over seeds. Recovery is the share of true features within a "
        "cosine of 0.9 of some decoder column or encoder row. Of features that a decoder column matches, splitting is "
        "the number of latents of each (1: not split), shrinkage how much of the coefficient is lost (0: nothing); "
        "absorption is the share of absorbed pairs of parent and child, where a bench has such and dictionaries as "
        "many latents as features.",
    ),
    "encoders": BenchTable(
        {
            "gt_recovery_encoder": ("recovery: encoder rows", 3),
            "gt_recovery_encoder_pattern": ("patterns of rows", 3),
            "gt_recovery_decoder": ("decoder", 3),
            "mip_encoder": ("MIP: encoder rows", 3),
            "mip_encoder_pattern": ("patterns of rows", 3),
            "mip_decoder": ("decoder", 3),
            "fvu": ("FVU", 4),
            "l0": ("L0", 1),
        },
        "What encoders show of the features, and what that costs: means over seeds. Recovery is the share of true "
        "features within a cosine of 0.9 of some encoder row, of the pattern of some encoder row (the covariance of "
        "inputs times the row) or of some decoder column; MIP is the mean best cosine.",
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
    columns, caption = TABLES[name]
    rows = []
    for (source, method), runs in table.groupby(["source", "method"], sort=False):
        means = [number(float(runs[metric].mean()), digits) for metric, (_, digits) in columns.items()]
        rows.append([str(source), label_method(str(method)), str(len(runs)), *means])
    frame = pd.DataFrame(rows, columns=["bench", "method", "seeds", *(head for head, _ in columns.values())])
    alignment = ["left"] * 2 + ["right"] * (len(frame.columns) - 2)
    return f"{caption}\n\n{frame.to_markdown(index=False, colalign=alignment, disable_numparse=True)}\n"
