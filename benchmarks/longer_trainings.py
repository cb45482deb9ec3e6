"""Collect the trainings of config/methods_long.yaml: the trials of learning rates, and the runs with their ranks.

    python -m benchmarks.longer_trainings results/methods_long_tuning results/methods_long

The first folder holds the runs of seed 100, whose names end with the rate that was tried. The chosen trial of a method
has the best score among trials whose L0 differs from the goal by a quarter at most. Tables are written to
``docs/results/methods``. A ground that the folders lack keeps its rows.
"""

import argparse
import json
from pathlib import Path
from typing import Any

import pandas as pd

from sdlstudy.rendering.comparison import MISSED, comparison_table, figure_comparison
from sdlstudy.results.tables import read_csv, write_csv

TABLES = Path("docs/results/methods")
GROUNDS: dict[str, tuple[str, float]] = {
    **dict.fromkeys(("plain_200k", "nested_200k", "noisy_200k"), ("mip_decoder", 16)),
    "synth_s": ("detection_f1", 6),
    "synth_m": ("detection_f1", 12),
    "smollm2_200k": ("fvu", 32),
}
"""Source -> the score that ranks methods there, and their L0."""
PANELS = {
    **{"plain_200k": "plain", "noisy_200k": "noisy", "nested_200k": "nested", "synth_s": "synth_s"},
    **{"synth_m": "SynthSAEBench, 4,096", "smollm2_200k": "smollm2_100k"},
}
"""Source -> title of its panel, or a source with this title. The picture shows the panels in this order."""
SCORES = ("mip_decoder", "detection_f1", "fvu", "l0", "dead_fraction")
TRIAL = ["ground", "method", "seed", "lr", "own_settings", "steps"]


def trial(run: Path) -> dict[str, Any]:
    """Return the row of a trial; without scores if the training diverged."""
    settings = json.loads((run / "config.json").read_text())["settings"]
    metrics = json.loads((run / "metrics.json").read_text())["metrics"] if (run / "metrics.json").is_file() else {}
    gain = f"l0_gain {settings['l0_gain']:g}" if settings.get("target_l0") else ""
    ground, method, seed = run.parts[-5], run.parts[-4].partition("_lr_")[0], int(run.name.removeprefix("seed"))
    named = dict(zip(TRIAL, [ground, method, seed, settings["lr"], gain, settings["steps"]], strict=True))
    return named | {name: metrics.get(name) for name in SCORES}


def choose(trials: pd.DataFrame) -> pd.Series:
    """Return 1 for each trial of a ground that is its method's choice, and 0 for the others."""
    score, l0 = GROUNDS[trials["ground"].iloc[0]]
    by_method = trials[(trials["l0"] / l0 - 1).abs() <= MISSED].groupby("method")[score]
    best = by_method.idxmin() if score == "fvu" else by_method.idxmax()
    return pd.Series(trials.index.isin(best).astype(int), trials.index)


def with_trials(table: pd.DataFrame, folder: Path) -> pd.DataFrame:
    """Return the table of trials with those of a folder, and with the choices of their grounds made anew."""
    runs = [run for ground in GROUNDS for run in sorted((folder / "runs" / ground).glob("*/*/none/seed*"))]
    new = pd.DataFrame([trial(run) for run in runs if (run / "config.json").is_file()]).round(6)
    table = pd.concat([table.fillna({"own_settings": ""}), new]).drop_duplicates(TRIAL, keep="last", ignore_index=True)
    for _, trials in table[table["ground"].isin(GROUNDS) & table["steps"].isin(new["steps"])].groupby("ground"):
        table.loc[trials.index, "chosen"] = choose(trials)
    return table.astype({"chosen": int})


def with_runs(table: pd.DataFrame, folder: Path) -> pd.DataFrame:
    """Return the table of runs with those of a folder."""
    paths = [folder / "tables" / f"comparison_{ground}.csv" for ground in GROUNDS]
    new = pd.concat([read_csv(path) for path in paths if path.is_file()])
    return pd.concat([table[~table["ground"].isin(new["ground"])], new])


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("trials", type=Path)
    parser.add_argument("runs", type=Path)
    arguments = parser.parse_args(argv)
    write_csv(TABLES / "trials.csv", with_trials(read_csv(TABLES / "trials.csv"), arguments.trials))
    runs = with_runs(read_csv(TABLES / "runs_long.csv"), arguments.runs)
    write_csv(TABLES / "runs_long.csv", runs)
    scores = {ground: score for ground, (score, _) in GROUNDS.items()}
    l0 = {ground: active for ground, (_, active) in GROUNDS.items()}
    ranks = comparison_table(runs, scores, ["random_samples"], l0)
    write_csv(TABLES / "comparison_long.csv", ranks)
    panels = [ranks[ranks["ground"] == ground].assign(ground=name) for ground, name in PANELS.items()]
    figure_comparison(pd.concat(panels)).savefig(TABLES / "comparison_long.png", dpi=150)


if __name__ == "__main__":
    main()
