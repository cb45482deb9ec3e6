"""The table of longer trainings on the page of methods, from its runs.

`python -m tests.pages.long_trainings` writes it anew.
"""

import pandas as pd

from benchmarks.shown import show
from examples.rows_and_codes.page import cell
from sdlstudy.rendering.labels import label_method
from sdlstudy.results.tables import read_csv
from tests.conftest import REPOSITORY

FOLDER = REPOSITORY / "docs/results/methods"
BEGINS = "<!-- long: tests.pages.long_trainings -->"


def table() -> str:
    """Return a line for each method: its chosen learning rate, scores over seeds, and time."""
    runs, trials = read_csv(FOLDER / "runs_long.csv"), read_csv(FOLDER / "trials.csv")
    rates = trials[(trials["steps"] == 2000) & (trials["chosen"] == 1)].set_index("method")["lr"]
    by_f1 = runs.groupby("method")["detection_f1"].mean().sort_values(ascending=False)
    reached = read_csv(FOLDER / "time_to_error.csv").query("ground == 'synth_s' and fvu == 0.2").groupby("method")
    columns = ["method", "learning rate", "F1", "MCC", "FVU", "L0", "seconds", "steps, seconds to FVU .20"]
    lines = [f"| {' | '.join(columns)} |", "|---" * len(columns) + "|"]
    for method in by_f1.index:
        seeds = runs[runs["method"] == method]
        scores = [
            cell(seeds[name], digits) for name, digits in (("detection_f1", 3), ("mcc", 3), ("fvu", 3), ("l0", 2))
        ]
        rate = f"{rates[method]:g}".replace("0.", ".") if method in rates else ""
        seconds = "" if pd.isna(seeds["seconds"].min()) else f"{seeds['seconds'].min():.0f}"
        steps, time = (
            reached[["steps", "seconds"]].agg(["median", "min"]).loc[method, [("steps", "median"), ("seconds", "min")]]
        )
        until = "" if pd.isna(steps) else f"{steps:.0f}, {time:.0f}"
        lines.append(f"| {label_method(method)} | {rate} | {' | '.join(scores)} | {seconds} | {until} |")
    return "\n".join(lines)


if __name__ == "__main__":
    show(FOLDER / "README.md", BEGINS, table())
