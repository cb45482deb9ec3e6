"""Train some protocols of a stage of the search, and write what its looks see."""

import logging
from pathlib import Path

import pandas as pd
import torch

from sdlcore.command_line import cli
from sdlcore.study.explain.looks import looks
from sdlcore.study.explain.protocols import SCALES, read_protocols
from sdlcore.study.results.tables import write_csv


def main(
    *,
    protocols: Path,
    numbers: list[int],
    scale: str,
    rows: list[str],
    seeds: list[int],
    output: Path,
    threads: int = 1,
) -> None:
    """
    Args:
        protocols: the stage's list
        numbers: which of them, from 0
        scale: quarter or full
        rows: methods to train, of Table 1; topk+ is topk with anchors
        seeds: each trains all of them
        threads: of the training
    """
    torch.set_num_threads(threads)
    listed, found = read_protocols(protocols), []
    for number in numbers:
        logging.info("%d: %s", number, listed[number])
        for seed in seeds:
            for row in rows:
                method, anchored = row.removesuffix("+"), row.endswith("+")
                kept = looks(listed[number], method, SCALES[scale], seed, anchored)
                found += [
                    {"number": number, "method": method, "anchored": anchored, "seed": seed, **look} for look in kept
                ]
    frame = pd.DataFrame(found)
    measured = frame.select_dtypes("float").columns
    write_csv(output, frame.assign(**{name: frame[name].map(lambda x: float(f"{x:.4g}")) for name in measured}))


if __name__ == "__main__":
    cli(main, log="%(message)s")
