"""Write the packaged scores of kept methods, and the tables of docs/leaderboard.md: `python -m tests.leaderboard`."""

import csv
import re

import numpy as np

from sdlcore.judging import BENCHES
from tests.conftest import REPOSITORY

GROUNDS = {"lrb": "plain_200k", "synthsaebench": "synth_s"}
"""The names of the benches in the kept table of all runs."""
RUNS = REPOSITORY / "resources/kept/methods_runs_long.csv"
PACKAGED = REPOSITORY / "src/sdlcore/kept_scores.csv"
PAGE = REPOSITORY / "docs/leaderboard.md"


def runs_of(bench: str) -> list[dict[str, str]]:
    with RUNS.open(encoding="utf-8") as file:
        return [run for run in csv.DictReader(file) if run["ground"] == GROUNDS[bench]]


def packaged() -> str:
    """Return the packaged table: bench, method, seed, score and L0 of each run."""
    lines = ["bench,method,seed,score,l0"]
    for bench in GROUNDS:
        score = BENCHES[bench].score
        for run in runs_of(bench):
            numbers = f"{float(run[score]):.5f},{float(run['l0']):.4f}"
            lines.append(f"{bench},{run['method']},{run['seed']},{numbers}")
    return "\n".join(lines) + "\n"


def table(bench: str) -> str:
    """Return a row for each method, the highest mean score first."""
    score, rows = BENCHES[bench].score, []
    for method in dict.fromkeys(run["method"] for run in runs_of(bench)):
        runs = [run for run in runs_of(bench) if run["method"] == method]
        scores, l0, fvu = (np.array([float(run[name]) for run in runs]) for name in (score, "l0", "fvu"))
        unexplained = f"{fvu.mean():.3f}" if fvu.mean() <= 1 else "> 1"
        cells = [method, f"{scores.mean():.3f}", f"{scores.std(ddof=1):.3f}", f"{l0.mean():.1f}", unexplained]
        rows.append((-scores.mean(), f"| {' | '.join(cells)} |"))
    head = f"| method | {score} | deviation of seeds | L0 | FVU |\n|---|---|---|---|---|"
    return "\n".join([head, *(row for _, row in sorted(rows))])


def page() -> str:
    """Return the page with its tables renewed."""
    text = PAGE.read_text(encoding="utf-8")
    for bench in GROUNDS:
        pattern = rf"(<!-- leaderboard: {bench} -->\n\n)(?:\|.*\n)*"
        text = re.sub(pattern, lambda found, bench=bench: f"{found[1]}{table(bench)}\n", text)
    return text


if __name__ == "__main__":
    PACKAGED.write_text(packaged(), encoding="utf-8")
    PAGE.write_text(page(), encoding="utf-8")
