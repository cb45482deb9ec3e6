"""Write the true features of a synthetic bench, and draw samples for training and evaluation.

The bench has the distribution of SynthSAEBench, or is a synthetic model that SAELens saved.
"""

import logging
from pathlib import Path
from typing import Any, Literal

from sdlcore import References
from sdlcore.benches.config import SaelensSource, SynthSource
from sdlcore.benches.saelens import read_synthetic_model
from sdlcore.benches.synth import SynthBench, draw_samples, write_synth_recipe
from sdlcore.command_line import cli
from sdlcore.data.reading import content_digest
from sdlcore.data.references import save_references
from sdlcore.data.writing import resume_store
from sdlcore.identity import provenance


def main(
    *,
    kind: Literal["synth", "saelens"],
    source: dict[str, Any],
    seed: int,
    feature_matrix: Path,
    train: Path,
    test: Path,
) -> None:
    """
    Args:
        kind: kind of the source
        source: settings of the source
        seed: seed of the samples; a model that SAELens saved has features of its own
        feature_matrix: file of the true features to write
        train: store for training to write, or a .json file for the recipe of samples that trainings draw themselves
        test: store for evaluation to write
    """
    settings: SynthSource | SaelensSource
    if kind == "saelens":
        settings = SaelensSource.from_dict(source)
        model = read_synthetic_model(settings)
        files = {Path(file).name: content_digest(file) for file in settings.files}
        facts = provenance(source=settings.to_dict(), files=files, seed=seed)
        save_references(feature_matrix, References(model.W_p), facts)
    else:
        settings = SynthSource.from_dict(source)
        bench, facts = (
            SynthBench.draw(seed=seed, **settings.to_dict()),
            provenance(source=settings.to_dict(), seed=seed),
        )
        save_references(feature_matrix, bench.references, facts)
    stores = [("train", train, settings.train_samples), ("test", test, settings.test_samples)]
    if isinstance(settings, SynthSource) and train.suffix == ".json":
        write_synth_recipe(train, settings, seed, {**facts, "part": "train"})
        del stores[0]
    for part, path, rows in stores:
        if kind == "saelens":
            blocks = model.draw_samples(seed, part, rows)
        else:
            blocks = draw_samples(bench.sampler(part), bench.W_p, bench.distribution.bias, rows)
        active = 0
        with resume_store(path, {**facts, "part": part}, "float32") as store:
            for block in blocks:
                store.append(block.input, features=block.features)
                active += block.features.nnz
        logging.info("%s: %d samples of %.1f active features", part, rows, active / rows)


if __name__ == "__main__":
    cli(main, log="%(message)s")
