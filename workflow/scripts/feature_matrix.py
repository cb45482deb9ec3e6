"""Draw the ground-truth feature matrices of a bench."""

import logging
from dataclasses import asdict
from pathlib import Path

from sdlcore.command_line import cli
from sdlcore.random_streams import stream
from sdlcore.sources.bench.feature_matrix import feature_matrix
from sdlcore.sources.bench.seed_leak import leaked_start
from sdlcore.sources.bench.settings import BenchFeatures
from sdlcore.storage.files import provenance
from sdlcore.storage.sealing import write_sealed


def main(*, bench: BenchFeatures, seed: int, output: Path) -> None:
    """
    Args:
        bench: settings of the bench
    """
    tensors, reached = {}, {}
    for name, dimension in (("W_p", bench.n_p), ("W_r", bench.n_r)):
        if dimension is None:
            continue
        start = leaked_start(dimension, bench.n, seed) if bench.seed_leak else None
        found = feature_matrix(dimension, bench.n, stream(seed, "feature matrix", name), bench, start)
        tensors[name] = found.W
        reached[name] = {
            "max_signed": found.max_signed,
            "max_absolute": found.max_absolute,
            "iterations": found.iterations,
        }
        logging.info("%s: %d features in %d dimensions, %s", name, bench.n, dimension, reached[name])
    facts = provenance(__file__, bench=asdict(bench), seed=seed, reached=reached)
    write_sealed(output, tensors, facts)


if __name__ == "__main__":
    cli(main, log="%(message)s")
