"""Draw a bench's samples into activation stores, one for training and one for evaluation."""

import logging
from dataclasses import asdict
from pathlib import Path

import numpy as np
from scipy.sparse import csr_array

from sdlcore.command_line import cli
from sdlcore.data.references import load_references
from sdlcore.data.writing import create_store
from sdlcore.random_streams import stream
from sdlcore.sources.bench.groups import Groups
from sdlcore.sources.bench.samples import coefficients, noise_deviation, noisy, synthesise
from sdlcore.sources.bench.settings import BenchSamples
from sdlcore.storage.files import provenance

ROWS_AT_ONCE = 8192


def main(*, bench: BenchSamples, seed: int, feature_matrix: Path, train: Path, test: Path) -> None:
    """
    Args:
        bench: settings of the bench
        train: store for training to write
        test: store for evaluation to write
    """
    W_p, W_r, _ = load_references(feature_matrix)
    groups = Groups(bench.group_size, bench.correlation) if bench.correlation else None
    n, sparsity, c_min, beta = W_p.shape[1], bench.sparsity, bench.c_min, bench.beta

    def represent(x: csr_array, W: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        made = synthesise(x, W)
        deviation = noise_deviation(bench.noise, n, len(W), sparsity, c_min, beta)
        return noisy(made, deviation, rng) if deviation else made

    for part, path, rows in (("train", train, bench.train_samples), ("test", test, bench.test_samples)):
        # streams of their own, so that what is drawn from one does not depend on whether another is asked
        rng, groups_rng = stream(seed, "samples", part), stream(seed, "samples", part, "groups")
        noise_p, noise_r = (stream(seed, "samples", part, "noise", side) for side in ("input", "target"))
        with create_store(path, provenance(__file__, bench=asdict(bench), seed=seed, part=part)) as store:
            for start in range(0, rows, ROWS_AT_ONCE):
                size = min(ROWS_AT_ONCE, rows - start)
                skewed = (bench.hierarchy, bench.frequency_exponent, groups, groups_rng)
                x = coefficients(size, n, sparsity, rng, c_min, beta, *skewed)
                target = None if W_r is None else represent(x, W_r, noise_r)
                store.append(represent(x, W_p, noise_p), target=target, features=x)
        logging.info("%s: %d samples", part, rows)


if __name__ == "__main__":
    cli(main, log="%(message)s")
