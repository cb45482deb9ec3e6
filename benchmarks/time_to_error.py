"""How long do trainings take until they leave a given share of the variance unexplained?

    python -m benchmarks.time_to_error results/methods_long --source synth_s --fvu 0.2 \
        --csv docs/results/methods/time_to_error.csv

It reads the history of each run of a pipeline's source: the error of training batches, averaged over 20 steps. Steps
with more than 1.25 times the last L0 do not count, since penalties start with more active latents. Rows of other
sources and errors stay in the table. A method that never gets there has empty cells.
"""

import argparse
from pathlib import Path

import pandas as pd

from sdlstudy.results.tables import read_csv, write_csv

MOST_ACTIVE = 1.25
COLUMNS = ["ground", "fvu", "method", "seed", "steps", "seconds"]


def first_at(history: pd.DataFrame, fvu: float) -> tuple[float, float]:
    """Return step and seconds of the first row with at most this error and about the last L0; NaN if there is none."""
    rows = history[(history["fvu"] <= fvu) & (history["l0"] <= MOST_ACTIVE * history["l0"].iloc[-1])]
    return (rows["step"].iloc[0], rows["seconds"].iloc[0]) if len(rows) else (float("nan"), float("nan"))


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("results", type=Path)
    parser.add_argument("--source", required=True)
    parser.add_argument("--fvu", type=float, required=True)
    parser.add_argument("--csv", type=Path, required=True)
    arguments = parser.parse_args(argv)
    rows = []
    for path in sorted((arguments.results / "runs" / arguments.source).glob("*/*/*/seed*/history.csv")):
        method, seed = path.parts[-5], int(path.parts[-2].removeprefix("seed"))
        rows.append([arguments.source, arguments.fvu, method, seed, *first_at(pd.read_csv(path), arguments.fvu)])
    table = pd.DataFrame(rows, columns=COLUMNS)
    if arguments.csv.exists():
        table = pd.concat([read_csv(arguments.csv), table])
    write_csv(arguments.csv, table.drop_duplicates(COLUMNS[:4], keep="last"))


if __name__ == "__main__":
    main()
