"""Write the features of a synthetic model that SAELens saved, and draw samples for training and evaluation."""

import logging
from pathlib import Path

import numpy as np

from sdlcore.command_line import cli
from sdlcore.data.writing import create_store
from sdlcore.random_streams import stream
from sdlcore.sources.saelens.model import read_model
from sdlcore.sources.saelens.settings import SaelensSource
from sdlcore.sources.synth.sampler import Sampler, synthesise
from sdlcore.storage.checksums import write_with_checksum
from sdlcore.storage.files import provenance, sha256_of

ROWS_AT_ONCE = 4096


def main(*, source: SaelensSource, seed: int, feature_matrix: Path, train: Path, test: Path) -> None:
    """
    Args:
        source: settings of the source
        seed: seed of the samples; the features are the model's own
        feature_matrix: file of the true features to write
        train: store for training to write
        test: store for evaluation to write
    """
    model = read_model(source)
    files = {Path(file).name: sha256_of(file) for file in source.files}
    made_by = provenance(__file__, source=source.to_dict(), files=files, seed=seed)
    write_with_checksum(feature_matrix, {"W_p": model.W_p}, made_by)
    W_rows = np.ascontiguousarray(model.W_p.T)
    for part, path, rows in (("train", train, source.train_samples), ("test", test, source.test_samples)):
        sampler, active = Sampler(model.distribution, model.families, stream(seed, "saelens", part)), 0
        with create_store(path, {**made_by, "part": part}) as store:
            for start in range(0, rows, ROWS_AT_ONCE):
                x = sampler.coefficients(start, min(ROWS_AT_ONCE, rows - start))
                store.append(synthesise(x, W_rows, model.distribution.bias), features=x)
                active += x.nnz
        logging.info("%s: %d samples of %.1f active features", part, rows, active / rows)


if __name__ == "__main__":
    cli(main, log="%(message)s")
