"""Draw a bench with the distribution of SynthSAEBench: its features, and samples for training and evaluation."""

import logging
from pathlib import Path

import numpy as np

from sdlcore.command_line import cli
from sdlcore.data.writing import create_store
from sdlcore.sources.synth.sampler import synthesise
from sdlcore.sources.synth.settings import SynthSource
from sdlcore.sources.synth.streaming import write_recipe
from sdlcore.sources.synth.world import World
from sdlcore.storage.checksums import write_with_checksum
from sdlcore.storage.files import provenance

ROWS_AT_ONCE = 4096


def main(*, source: SynthSource, seed: int, feature_matrix: Path, train: Path, test: Path) -> None:
    """
    Args:
        source: settings of the bench
        feature_matrix: file of the true features to write
        train: store for training to write, or a .json file for the recipe of samples that trainings draw themselves
        test: store for evaluation to write
    """
    world = World.draw(source, seed)
    write_with_checksum(feature_matrix, {"W_p": world.W_p}, provenance(__file__, source=source.to_dict(), seed=seed))
    W_rows = np.ascontiguousarray(world.W_p.T)
    stores = [("train", train, source.train_samples), ("test", test, source.test_samples)]
    if train.suffix == ".json":
        write_recipe(train, source, seed, provenance(__file__, source=source.to_dict(), seed=seed, part="train"))
        del stores[0]
    for part, path, rows in stores:
        sampler, active = world.sampler(part), 0
        with create_store(path, provenance(__file__, source=source.to_dict(), seed=seed, part=part)) as store:
            for start in range(0, rows, ROWS_AT_ONCE):
                x = sampler.coefficients(start, min(ROWS_AT_ONCE, rows - start))
                store.append(synthesise(x, W_rows, world.distribution.bias), features=x)
                active += x.nnz
        logging.info("%s: %d samples of %.1f active features", part, rows, active / rows)


if __name__ == "__main__":
    cli(main, log="%(message)s")
