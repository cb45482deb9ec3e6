"""Write the features of a synthetic model that SAELens saved, and draw samples for training and evaluation."""

import logging
from pathlib import Path

from sdlcore import References
from sdlcore.benches.config import SaelensSource
from sdlcore.benches.saelens import read_synthetic_model
from sdlcore.command_line import cli
from sdlcore.data.reading import content_digest
from sdlcore.data.references import save_references
from sdlcore.data.writing import create_store
from sdlcore.identity import provenance


def main(*, source: SaelensSource, seed: int, feature_matrix: Path, train: Path, test: Path) -> None:
    """
    Args:
        source: settings of the source
        seed: seed of the samples; the features are the model's own
        feature_matrix: file of the true features to write
        train: store for training to write
        test: store for evaluation to write
    """
    model = read_synthetic_model(source)
    files = {Path(file).name: content_digest(file) for file in source.files}
    made_by = provenance(source=source.to_dict(), files=files, seed=seed)
    save_references(feature_matrix, References(model.W_p), made_by)
    for part, path, rows in (("train", train, source.train_samples), ("test", test, source.test_samples)):
        active = 0
        with create_store(path, {**made_by, "part": part}) as store:
            for block in model.draw_samples(seed, part, rows):
                store.append(block.input, features=block.features)
                active += block.features.nnz
        logging.info("%s: %d samples of %.1f active features", part, rows, active / rows)


if __name__ == "__main__":
    cli(main, log="%(message)s")
