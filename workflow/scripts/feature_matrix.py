"""Draw the ground-truth feature matrices of a bench."""

import logging
from pathlib import Path
from typing import Any

from sdlcore.command_line import cli
from sdlcore.random_streams import stream
from sdlcore.sources.bench.feature_matrix import FeatureMatrixConfig, feature_matrix
from sdlcore.sources.bench.seed_leak import leaked_start
from sdlcore.storage.files import provenance
from sdlcore.storage.sealing import write_sealed


def main(*, bench: dict[str, Any], seed: int, output: Path) -> None:
    """
    Args:
        bench: settings of the bench
    """
    settings = dict(bench)
    leak = settings.pop("seed_leak")
    n, dimensions = settings.pop("n"), {"W_p": settings.pop("n_p"), "W_r": settings.pop("n_r")}
    config = FeatureMatrixConfig(**settings)
    tensors, reached = {}, {}
    for name, dimension in dimensions.items():
        if dimension is None:
            continue
        start = leaked_start(dimension, n, seed) if leak else None
        found = feature_matrix(dimension, n, stream(seed, "feature matrix", name), config, start)
        tensors[name] = found.W
        reached[name] = {
            "max_signed": found.max_signed,
            "max_absolute": found.max_absolute,
            "iterations": found.iterations,
        }
        logging.info("%s: %d features in %d dimensions, %s", name, n, dimension, reached[name])
    facts = provenance(__file__, bench=bench, seed=seed, reached=reached)
    write_sealed(output, tensors, facts)


if __name__ == "__main__":
    cli(main, log="%(message)s")
