"""Draw the ground-truth feature matrices of a bench."""

import logging
from pathlib import Path

from sdlcore import References
from sdlcore.benches.config import BenchFeatures
from sdlcore.benches.lrb import draw_matrices
from sdlcore.command_line import cli
from sdlcore.data.references import save_references
from sdlcore.identity import provenance


def main(*, bench: BenchFeatures, seed: int, output: Path) -> None:
    """
    Args:
        bench: settings of the bench
    """
    drawn, reached = draw_matrices(bench, seed), {}
    for name, matrix in drawn.items():
        reached[name] = {
            "max_signed": matrix.max_signed,
            "max_absolute": matrix.max_absolute,
            "iterations": matrix.iterations,
        }
        dimension = len(matrix.W)
        logging.info("%s: %d features in %d dimensions, %s", name, bench.n, dimension, reached[name])
    facts = provenance(bench=bench.to_dict(), seed=seed, reached=reached)
    save_references(output, References(*(matrix.W for matrix in drawn.values())), facts)


if __name__ == "__main__":
    cli(main, log="%(message)s")
