"""Draw a bench with the distribution of SynthSAEBench: its features, and samples for training and evaluation."""

import logging
from pathlib import Path

from sdlcore.benches.config import SynthSource
from sdlcore.benches.synth import SynthBench, draw_samples, write_synth_recipe
from sdlcore.command_line import cli
from sdlcore.data.references import save_references
from sdlcore.data.writing import create_store
from sdlcore.identity import provenance


def main(*, source: SynthSource, seed: int, feature_matrix: Path, train: Path, test: Path) -> None:
    """
    Args:
        source: settings of the bench
        feature_matrix: file of the true features to write
        train: store for training to write, or a .json file for the recipe of samples that trainings draw themselves
        test: store for evaluation to write
    """
    bench = SynthBench.draw(seed=seed, **source.to_dict())
    save_references(feature_matrix, bench.references, provenance(source=source.to_dict(), seed=seed))
    stores = [("train", train, source.train_samples), ("test", test, source.test_samples)]
    if train.suffix == ".json":
        write_synth_recipe(train, source, seed, provenance(source=source.to_dict(), seed=seed, part="train"))
        del stores[0]
    for part, path, rows in stores:
        active = 0
        with create_store(path, provenance(source=source.to_dict(), seed=seed, part=part)) as store:
            for block in draw_samples(bench.sampler(part), bench.W_p, bench.distribution.bias, rows):
                store.append(block.input, features=block.features)
                active += block.features.nnz
        logging.info("%s: %d samples of %.1f active features", part, rows, active / rows)


if __name__ == "__main__":
    cli(main, log="%(message)s")
