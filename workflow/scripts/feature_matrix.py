"""Draw the ground-truth feature matrices of a bench."""

import logging
from pathlib import Path

from sdlcore.command_line import cli
from sdlcore.sources.bench.feature_matrix import draw_matrices
from sdlcore.sources.bench.settings import BenchFeatures
from sdlcore.storage.checksums import write_with_checksum
from sdlcore.storage.files import provenance


def main(*, bench: BenchFeatures, seed: int, output: Path) -> None:
    """
    Args:
        bench: settings of the bench
    """
    tensors, reached = {}, {}
    for name, matrix in draw_matrices(bench, seed).items():
        tensors[name] = matrix.W
        reached[name] = {
            "max_signed": matrix.max_signed,
            "max_absolute": matrix.max_absolute,
            "iterations": matrix.iterations,
        }
        dimension = len(matrix.W)
        logging.info("%s: %d features in %d dimensions, %s", name, bench.n, dimension, reached[name])
    facts = provenance(__file__, bench=bench.to_dict(), seed=seed, reached=reached)
    write_with_checksum(output, tensors, facts)


if __name__ == "__main__":
    cli(main, log="%(message)s")
