"""The table of benches that are harder than the paper's: what is found, and how it is spoilt."""

import pandas as pd

from sdlcore.rendering.markup import label_method, number

READABLE = {
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
}
"""Metric -> head of its column, decimals."""


def harder_table(runs: pd.DataFrame) -> pd.DataFrame:
    """Return one row a run.

    Parameters
    ----------
    runs
        As `runs.read_runs` returns them.

    Returns
    -------
    DataFrame
        source, method, seed and the metrics of `READABLE`; NaN for what a run lacks, as runs of an earlier version do.
    """
    return runs.reindex(columns=["source", "method", "seed", *READABLE])


def harder_markdown(table: pd.DataFrame) -> str:
    """Return means over seeds, one row a source and method."""
    rows = []
    for (source, method), runs in table.groupby(["source", "method"], sort=False):
        means = [number(float(runs[name].mean()), digits) for name, (_, digits) in READABLE.items()]
        rows.append([str(source), label_method(str(method)), str(len(runs)), *means])
    frame = pd.DataFrame(rows, columns=["bench", "method", "seeds", *(head for head, _ in READABLE.values())])
    alignment = ["left"] * 2 + ["right"] * (len(frame.columns) - 2)
    text = frame.to_markdown(index=False, colalign=alignment, disable_numparse=True)
    caption = (
        "Benches that are harder than the paper's: means over seeds. Recovery is the share of true features within a "
        "cosine of 0.9 of some decoder column or encoder row. Of features that a decoder column matches, splitting is "
        "the number of latents of each (1: not split), shrinkage how much of the coefficient is lost (0: nothing); "
        "absorption is the share of absorbed pairs of parent and child, where a bench has such and dictionaries as "
        "many latents as features."
    )
    return f"{caption}\n\n{text}\n"
