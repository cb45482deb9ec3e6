"""The tables of longer trainings on the page of methods, from their runs.

`python -m tests.pages.long_trainings` writes them anew.
"""

import pandas as pd

from benchmarks.results import show
from sdlstudy.rendering.labels import label_method
from sdlstudy.results.tables import read_csv
from tests.conftest import REPOSITORY
from tests.pages.findings import cell

KEPT = REPOSITORY / "resources/kept"
PAGE = REPOSITORY / "docs/results/methods/README.md"
OF_PAIRS = "shared"
"""A score of pairs of seeds, which overlap: the values of the seeds are not independent, so it has no interval."""
DETECTION = {"F1": ("detection_f1", 3), "MCC": ("mcc", 3), "FVU": ("fvu", 3), "L0": ("l0", 2)}


def tables() -> dict[str, str]:
    """Return the tables of the page, by the name that their place begins with."""
    return {
        "long": _table("synth_s", _runs("synth_s"), DETECTION, "F1", 0.2),
        "long_m": _table("synth_m", _runs("synth_m"), DETECTION, "F1", 0.2),
        "long_benches": _benches(),
        "long_smollm2": _smollm2(),
        "long_omp": _omp(),
    }


def _benches() -> str:
    """Return the table of the benches with 128 features, with the scores of all three in a line."""
    runs = _runs("plain_200k")
    for name in ("noisy", "nested"):
        other = _runs(f"{name}_200k")[["method", "seed", "mip_decoder", "detection_f1"]]
        runs = runs.merge(other, on=["method", "seed"], how="left", suffixes=("", f"_{name}"))
    scores = {
        **{"MIP, plain": ("mip_decoder", 4), "MIP, noise": ("mip_decoder_noisy", 4)},
        **{"MIP, nested": ("mip_decoder_nested", 3), "F1, plain": ("detection_f1", 2)},
        **{"F1, noise": ("detection_f1_noisy", 2), "F1, nested": ("detection_f1_nested", 2)},
        **{"FVU, plain": ("fvu", 3), "dead, plain": ("dead_fraction", 2)},
    }
    return _table("plain_200k", runs, scores, "MIP, plain", 0.03)


def _smollm2() -> str:
    """Return the table of SmolLM2, with the scores of the language model."""
    judged = read_csv(KEPT / "methods_model_long.csv").drop(columns="ground")
    scores = {
        **{"FVU": ("fvu", 3), "L0": ("l0", 1), "dead": ("dead_fraction", 2), "shared by seeds": ("shared", 2)},
        **{"KL recovered": ("kl_recovered", 3), "probe, k = 1": ("probe_1", 2), "k = 16": ("probe_16", 2)},
    }
    return _table(
        "smollm2_200k", _runs("smollm2_200k").merge(judged, on=["method", "seed"], how="left"), scores, "FVU", 0.18
    )


def _omp() -> str:
    """Return a line for each method on SmolLM2: its rows with the trained encoder, and coded by OMP."""
    scores = {"L0": ("l0", 1), "FVU": ("fvu", 3), "KL recovered": ("kl_recovered", 3)}
    judged = read_csv(KEPT / "methods_model_long.csv")[["method", "seed", "kl_recovered"]]
    by_encoder = _runs("smollm2_200k").merge(judged, on=["method", "seed"])
    by_omp = read_csv(KEPT / "methods_omp_long.csv")
    columns = ["rows", *(f"{score}, {codes}" for codes in ("encoder", "OMP") for score in scores)]
    lines = [f"| {' | '.join(columns)} |", "|---" * len(columns) + "|"]
    for method in by_omp.groupby("method")["fvu"].mean().sort_values().index:
        of_method = (codes[codes["method"] == method] for codes in (by_encoder, by_omp))
        cells = [cell(runs[name], digits) for runs in of_method for name, digits in scores.values()]
        lines.append(f"| {label_method(method)} | {' | '.join(cells)} |")
    return "\n".join(lines)


def _runs(ground: str) -> pd.DataFrame:
    return read_csv(KEPT / "methods_runs_long.csv").query("ground == @ground")


def _table(ground: str, runs: pd.DataFrame, scores: dict[str, tuple[str, int]], first: str, fvu: float) -> str:
    """Return a line for each method, the best first: its chosen learning rate, scores over seeds, and times."""
    trials = read_csv(KEPT / "methods_trials.csv").query("steps == 2000 and chosen == 1 and ground == @ground")
    rates = trials.set_index("method")["lr"]
    reached = read_csv(KEPT / "methods_time_to_error.csv").query("ground == @ground and fvu == @fvu").groupby("method")
    steps, times = reached["steps"].agg(lambda its: its.median(skipna=False)), reached["seconds"].min()
    until = f"steps, seconds to FVU {fvu:.2f}".replace("0.", ".")
    columns = ["method", "learning rate", *scores, "seconds", until]
    lines = [f"| {' | '.join(columns)} |", "|---" * len(columns) + "|"]
    name, _ = scores[first]
    for method in runs.groupby("method")[name].mean().sort_values(ascending=first == "FVU").index:
        seeds = runs[runs["method"] == method]
        cells = [f"{rates[method]:g}".replace("0.", ".") if method in rates else ""]
        cells += [
            cell(pd.Series([seeds[name].mean()]) if name == OF_PAIRS else seeds[name], digits)
            for name, digits in scores.values()
        ]
        cells.append("" if pd.isna(seeds["seconds"].min()) else f"{seeds['seconds'].min():.0f}")
        cells.append("" if pd.isna(steps[method]) else f"{steps[method]:.0f}, {times[method]:.0f}")
        lines.append(f"| {label_method(method)} | {' | '.join(cells)} |")
    return "\n".join(lines)


def begins(name: str) -> str:
    """Return the line above a table."""
    return f"<!-- {name}: tests.pages.long_trainings -->"


if __name__ == "__main__":
    for name, table in tables().items():
        show(PAGE, begins(name), table)
