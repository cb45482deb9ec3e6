"""Draw a bench with the distribution of SynthSAEBench: its features, and samples for training and evaluation."""

import logging
from pathlib import Path

import numpy as np

from sdlcore.command_line import cli
from sdlcore.data.writing import create_store
from sdlcore.random_streams import stream
from sdlcore.sources.synth.coefficients import coefficients, draw_distribution
from sdlcore.sources.synth.directions import directions
from sdlcore.sources.synth.settings import SynthSource
from sdlcore.storage.checksums import write_with_checksum
from sdlcore.storage.files import provenance

ROWS_AT_ONCE = 4096


def main(*, source: SynthSource, seed: int, feature_matrix: Path, train: Path, test: Path) -> None:
    """
    Args:
        source: settings of the bench
        feature_matrix: file of the true features to write
        train: store for training to write
        test: store for evaluation to write
    """
    directed = stream(seed, "synth", "directions")
    W = directions(source.n, source.n_p, source.orthogonal_steps, source.orthogonal_rate, directed)
    write_with_checksum(feature_matrix, {"W_p": W}, provenance(__file__, source=source.to_dict(), seed=seed))
    distribution = draw_distribution(source, stream(seed, "synth", "law"))
    for part, path, rows in (("train", train, source.train_samples), ("test", test, source.test_samples)):
        rng, active = stream(seed, "synth", part), 0
        with create_store(path, provenance(__file__, source=source.to_dict(), seed=seed, part=part)) as store:
            for start in range(0, rows, ROWS_AT_ONCE):
                x = coefficients(min(ROWS_AT_ONCE, rows - start), source, distribution, rng)
                store.append(np.asarray(x @ W.T, dtype=np.float32) + distribution.bias, features=x)
                active += x.nnz
        logging.info("%s: %d samples of %.1f active features", part, rows, active / rows)


if __name__ == "__main__":
    cli(main, log="%(message)s")
