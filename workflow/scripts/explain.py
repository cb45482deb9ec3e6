"""Train one protocol of a stage of the search, and write what its looks see."""

import logging
from pathlib import Path

import pandas as pd
import torch

from sdlcore.command_line import cli
from sdlcore.study.explain.looks import looks
from sdlcore.study.explain.protocols import SCALES, read_protocols
from sdlcore.study.results.tables import write_csv


def main(
    *, protocols: Path, number: int, scale: str, rows: list[str], seeds: list[int], output: Path, threads: int = 1
) -> None:
    """
    Args:
        protocols: the stage's list
        number: which of them, from 0
        scale: quarter or full
        rows: methods to train, of Table 1; topk+ is topk with anchors
        seeds: each trains all of them
        threads: of the training
    """
    torch.set_num_threads(threads)
    protocol = read_protocols(protocols)[number]
    logging.info("%s", protocol)
    found = [
        {"number": number, "method": row.removesuffix("+"), "anchored": row.endswith("+"), "seed": seed, **look}
        for seed in seeds
        for row in rows
        for look in looks(protocol, row.removesuffix("+"), SCALES[scale], seed, row.endswith("+"))
    ]
    frame = pd.DataFrame(found)
    numbers = frame.select_dtypes("float").columns
    write_csv(output, frame.assign(**{name: frame[name].map(lambda x: float(f"{x:.4g}")) for name in numbers}))


if __name__ == "__main__":
    cli(main, log="%(message)s")
