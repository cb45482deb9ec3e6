"""Draw F1 over samples on SynthSAEBench's distribution, with the published scores.

python -m benchmarks.synth_picture docs/results/posterior
"""

import argparse
from pathlib import Path
from typing import Any

import pandas as pd
from matplotlib.figure import Figure

from sdlstudy.rendering.figures import GREY, PALETTE, save_png, style

PUBLISHED = {"Matryoshka": 0.8793, "BatchTopK": 0.7316}
"""F1 at L0 25 of SynthSAEBench-16k, version 2, after 200 million samples (its documentation)."""
NAMES = {
    "detached, most frequent first": "Matryoshka, detached and ordered",
    "LISTA, detached, most frequent first": "the same with a LISTA step",
    "nested": "Matryoshka by prefixes",
    "BatchTopK, k from 19 to 6": "BatchTopK",
}
CODES = {"trained": ("--", "white", "trained encoder"), "posterior": ("-", None, "posterior codes")}
"""Codes -> line, colour of the marks (None for the line's), and name."""


def figure(scores: pd.DataFrame, full_size: pd.DataFrame) -> Figure:
    """Draw a panel for each number of features, with a line for each method and kind of codes.

    ``full_size`` has a row for each world that was scored at 16,384 features.
    """
    sizes = sorted(scores["features"].unique())
    with style():
        drawn = Figure(figsize=(max(6.4, 4.4 * len(sizes)), 4.2), layout="constrained")
        panels: Any = drawn.subplots(1, len(sizes), sharey=True, squeeze=False)[0]
        for panel, size in zip(panels, sizes, strict=True):
            for number, (method, label) in enumerate(NAMES.items()):
                for codes, (line, inside, what) in CODES.items():
                    chosen = scores["features"].eq(size) & scores["method"].eq(method) & scores["codes"].eq(codes)
                    rows = scores[chosen].sort_values("samples")
                    drawing = {
                        "marker": "o",
                        "markersize": 4,
                        "mfc": inside or PALETTE[number],
                        "color": PALETTE[number],
                        "label": f"{label}, {what}",
                    }
                    if len(rows):
                        panel.plot(rows["samples"], rows["f1"], line, **drawing)
            if size == 16384:
                panel.plot(full_size["samples"], full_size["f1"], "D", color="black", markersize=5, zorder=3)
                at = float(full_size["samples"].mean()), float(full_size["f1"].min())
                panel.annotate("mean shift, unseen worlds", at, (8, 0), textcoords="offset points", va="center")
                for name, f1 in PUBLISHED.items():
                    panel.plot([2e8], [f1], "s", color=GREY)
                    panel.annotate(f"published\n{name}", (2e8, f1), (-6, 0), textcoords="offset points", ha="right")
            panel.set(xscale="log", xlabel="training samples", title=f"{size:,} features, {size // 4:,} latents")
        panels[0].set_ylabel("F1")
        handles, labels = panels[0].get_legend_handles_labels()
        drawn.legend(handles, labels, loc="outside lower center", ncols=2, fontsize=7, handlelength=4)
    return drawn


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="folder of posterior.csv and full_size.csv, and of the picture")
    folder = parser.parse_args(argv).folder
    scores, full_size = (pd.read_csv(folder / name) for name in ("posterior.csv", "full_size.csv"))
    unseen = full_size.query("seed < 100 and version == 2 and judge == 'SAELens'")
    save_png(figure(scores.query("seed == 100"), unseen), folder / "posterior.png")


if __name__ == "__main__":
    main()
