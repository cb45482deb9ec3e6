"""Measure the processor time of our methods' steps beside TopK's: `python -m benchmarks.step_ratios`.

One process trains TopK and one other method in turns, a step each, on one thread and one batch (768 dimensions, 16,000
latents, batches of 1024, 64 active latents). Processor time leaves out other programs, so the ratio can be measured on
a machine with other work, whereas milliseconds cannot. A row has the median ratio of a round, and its range. Rows go to
``benchmarks/results/PROCESSOR/step_ratios.csv``; rows of other methods stay. A processor with AVX-512 can do without it
(only the loops that numba compiles still use it):

    ATEN_CPU_CAPABILITY=avx2 ONEDNN_MAX_CPU_ISA=AVX2 python -m benchmarks.step_ratios
"""

import argparse
import logging
import time

import numpy as np
import pandas as pd
import torch

from benchmarks import machine
from benchmarks.cases import Setting
from benchmarks.libraries.sdlcore_steps import make
from benchmarks.pairs import HERE
from benchmarks.states import bench, dictionary, weights
from benchmarks.timing import turns
from sdlcore.sparse import screening
from sdlstudy.results.tables import read_csv, write_csv

METHODS = ("hierarchical", "ortsae", "lista", "ra_sae", "matching_pursuit")
INSTRUCTIONS = torch.backends.cpu.get_cpu_capability()
"""The widest vector instructions that torch uses, such as AVX512."""
COLUMNS = ["instructions", "method", "topk_ms", "ms", "ratio", "least", "most", "l0", "rounds"]


def measure(method: str, rounds: int) -> list[object]:
    """Return a method's row of the table."""
    features = bench(0, Setting(method).batch)
    x, rows = torch.from_numpy(features.x), dictionary(features.W, Setting(method).latents, 0)
    trainings = [
        make(Setting(name), weights(torch.from_numpy(rows.copy()), torch.tensor(0.0), name))
        for name in ("topk", method)
    ]
    for training in trainings:
        training.step(x)
    times = np.empty((rounds, 2))
    for round_, order in enumerate(turns((0, 1), rounds)):
        for i in order:
            started = time.process_time()
            trainings[i].step(x)
            times[round_, i] = 1000 * (time.process_time() - started)
    ratios = times[:, 1] / times[:, 0]
    summary = np.median(ratios), ratios.min(), ratios.max()
    return [INSTRUCTIONS, method, *np.median(times, axis=0), *summary, trainings[1].l0(x), rounds]


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", choices=METHODS, default=METHODS)
    parser.add_argument("--rounds", type=int, default=9)
    arguments = parser.parse_args(argv)
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    torch.set_num_threads(1)
    if INSTRUCTIONS != "AVX512":  # whose extensions multiply int8
        screening.pays = lambda: False
    path = HERE / "results" / machine.folder_of(machine.processor(machine.describe())) / "step_ratios.csv"
    for method in arguments.only:
        row = pd.DataFrame([measure(method, arguments.rounds)], columns=COLUMNS)
        logging.info(row.to_string(index=False))
        rows = pd.concat([read_csv(path), row]) if path.exists() else row
        write_csv(path, rows.drop_duplicates(["instructions", "method"], keep="last"))


if __name__ == "__main__":
    main()
