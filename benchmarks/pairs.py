"""Compare step times of two checkouts in alternating pairs: are training steps slower than before?

    git worktree add ../before COMMIT
    python -m benchmarks.pairs ../before                      # every method: some fifteen minutes of a quiet machine
    python -m benchmarks.pairs ../before --only topk gated    # some methods: rows of others stay

Each checkout trains in a process of its own (`benchmarks.pair_worker`), on the same data from the same start. A pair is
a few steps of one and as many of the other, in alternating order. Its number is the ratio of their fastest steps, since
other work on the machine only adds time. The table gives the geometric mean over pairs and its 95 % interval by
Student's t. Memory is the peak of each process.
Rows are written one by one to ``benchmarks/results/PROCESSOR/pairs.csv``.
"""

import argparse
import json
import logging
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from scipy.stats import t

from benchmarks import machine
from sdlstudy.results.tables import read_csv, write_csv

log = logging.getLogger("benchmarks")
HERE = Path(__file__).parent
METHODS = ("relu", "jumprelu", "topk", "batchtopk", "gated", "matryoshka", "abstopk")
L0 = (64, 1500)
PAIRS, STEPS, WARM_UP = 15, 3, 3
"""Pairs of each row, steps on each side of a pair, and steps before the first."""


class Side(NamedTuple):
    """One of the two sides of a comparison."""

    checkout: Path
    method: str


class Worker:
    """A process that takes training steps on request."""

    def __init__(self, side: Side, l0: int) -> None:
        path = os.pathsep.join(map(str, (side.checkout / "src", side.checkout / "workflow", side.checkout)))
        command = [sys.executable, str(HERE / "pair_worker.py"), side.method, str(l0)]
        environment = os.environ | {"PYTHONPATH": path}
        self.process = subprocess.Popen(
            command, cwd=side.checkout, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def steps(self, number: int) -> dict[str, Any]:
        """Make the process take steps; return seconds of each step, mean L0 of the last, and peak memory in bytes."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(f"{number}\n")
        self.process.stdin.flush()
        answer = self.process.stdout.readline()
        if not answer:
            raise RuntimeError("a process that trains has ended; its error is above")
        found: dict[str, Any] = json.loads(answer)
        return found


@contextmanager
def workers(*sides: Side, l0: int) -> Iterator[list[Worker]]:
    """Start a worker for each side, and end them."""
    started = [Worker(side, l0) for side in sides]
    try:
        yield started
    finally:
        for worker in started:
            worker.process.kill()
            worker.process.wait()


def measure(before: Side, after: Side, l0: int, pairs: int) -> dict[str, object]:
    """Return the row of a comparison."""
    times: list[list[float]] = [[], []]
    with workers(before, after, l0=l0) as both:
        last = [worker.steps(WARM_UP) for worker in both]
        for pair in range(pairs):
            for side in (0, 1) if pair % 2 else (1, 0):
                last[side] = both[side].steps(STEPS)
                times[side].append(min(last[side]["seconds"]))
    ratios = np.log(np.array(times[1]) / np.array(times[0]))
    half = t.ppf(0.975, pairs - 1) * ratios.std(ddof=1) / pairs**0.5
    low, mean, high = np.exp([ratios.mean() - half, ratios.mean(), ratios.mean() + half])
    return {
        "before": before.method,
        "after": after.method,
        "asked_l0": l0,
        "l0": last[1]["l0"],
        "before_ms": 1000 * float(np.median(times[0])),
        "after_ms": 1000 * float(np.median(times[1])),
        "ratio": mean,
        "low": low,
        "high": high,
        "before_mib": last[0]["peak"] / 2**20,
        "after_mib": last[1]["peak"] / 2**20,
        "pairs": pairs,
        "load": machine.load(),
    }


def keep(path: Path, row: dict[str, object]) -> None:
    """Write a row to the table. It replaces an earlier row of the same comparison."""
    rows = read_csv(path) if path.exists() else pd.DataFrame(columns=list(row))
    keys = ["before", "after", "asked_l0"]
    others = rows[~(rows[keys] == pd.Series(row)[keys].to_numpy()).all(axis=1)]
    write_csv(path, pd.concat([others, pd.DataFrame([row])]) if len(others) else pd.DataFrame([row]))


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("before", type=Path, help="a checkout of the commit to compare with")
    parser.add_argument("--only", nargs="+", choices=METHODS, default=METHODS)
    parser.add_argument("--l0", nargs="+", type=int, default=L0)
    parser.add_argument("--pairs", type=int, default=PAIRS)
    arguments = parser.parse_args(argv)
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    here, before = HERE.parent, arguments.before.resolve()
    folder = machine.folder_of(machine.processor(machine.describe()))
    path = HERE / "results" / folder / "pairs.csv"
    for method in arguments.only:
        for l0 in arguments.l0:
            row = measure(Side(before, method), Side(here, method), l0, arguments.pairs)
            log.info("%-18s L0 %5.0f: %7.1f -> %7.1f ms, ratio %.3f (%.3f to %.3f)", method, row["l0"],
                     row["before_ms"], row["after_ms"], row["ratio"], row["low"], row["high"])  # fmt: skip
            keep(path, row)


if __name__ == "__main__":
    main()
