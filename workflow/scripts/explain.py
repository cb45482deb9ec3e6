"""Train some protocols of a stage of the search, and write their metrics during training."""

import logging
import math
from itertools import product
from pathlib import Path

import pandas as pd
import torch

from sdlcore.command_line import cli
from sdlcore.study.explain.looks import looks
from sdlcore.study.explain.protocols import SCALES, read_protocols, varied
from sdlcore.study.results.tables import write_csv


def main(
    *,
    protocols: Path,
    numbers: list[int],
    scale: str,
    table: str,
    values: list[float],
    rows: list[str],
    seeds: list[int],
    output: Path,
    threads: int = 1,
) -> None:
    """
    Args:
        protocols: CSV file with the stage's protocols
        numbers: numbers of the protocols to train, from 0
        scale: quarter or full
        table: the paper's table to train
        values: values of the parameter that the table varies; none for Table 1
        rows: methods to train; topk+ is topk with anchors
        seeds: seeds; each trains all methods
        threads: threads of a training
    """
    torch.set_num_threads(threads)
    listed, found = read_protocols(protocols), []
    for number, value, seed, row in product(numbers, values or [math.nan], seeds, rows):
        protocol, bench = varied(listed[number], SCALES[scale], table, value)
        logging.info("%d, %s, seed %d: %s", number, row, seed, protocol)
        method, anchored = row.removesuffix("+"), row.endswith("+")
        place = {"number": number, "method": method, "anchored": anchored, "value": value, "seed": seed}
        found += [{**place, **look} for look in looks(protocol, method, bench, seed, anchored)]
    frame = pd.DataFrame(found)
    measured = frame.select_dtypes("float").columns
    write_csv(output, frame.assign(**{name: frame[name].map(lambda x: float(f"{x:.4g}")) for name in measured}))


if __name__ == "__main__":
    cli(main, log="%(message)s")
