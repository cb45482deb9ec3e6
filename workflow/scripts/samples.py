"""Draw a bench's samples into activation stores, one for training and one for evaluation."""

import logging
from pathlib import Path

from sdlcore.benches.config import BenchSamples
from sdlcore.benches.lrb import draw_samples
from sdlcore.command_line import cli
from sdlcore.data.references import load_references
from sdlcore.data.writing import resume_store
from sdlcore.identity import provenance


def main(*, bench: BenchSamples, seed: int, feature_matrix: Path, train: Path, test: Path) -> None:
    """
    Args:
        bench: settings of the bench
        train: store for training to write
        test: store for evaluation to write
    """
    features = load_references(feature_matrix)
    for part, path, rows in (("train", train, bench.train_samples), ("test", test, bench.test_samples)):
        with resume_store(path, provenance(bench=bench.to_dict(), seed=seed, part=part), "float32") as store:
            for block in draw_samples(bench, features.W_p, features.W_r, seed, part, rows):
                store.append(block.input, block.target, features=block.features)
        logging.info("%s: %d samples", part, rows)


if __name__ == "__main__":
    cli(main, log="%(message)s")
