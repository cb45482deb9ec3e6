"""Draw the training samples of a bench with known features during each training, without storing them.

A small JSON file, the recipe, names the bench by its settings and seed. Sample i depends only on these and i, so a
training that was interrupted resumes with the same bits.
"""

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch

from sdlcore.data.batches import Request, TrainingRows
from sdlcore.data.memory import Arrays
from sdlcore.errors import SourceError
from sdlcore.settings import Json
from sdlcore.sources.synth.sampler import synthesise
from sdlcore.sources.synth.settings import SynthSource
from sdlcore.sources.synth.world import World
from sdlcore.storage.files import write_json

FORMAT = "an sdlcore stream of SynthSAEBench's distribution"
FIRST_ROWS = 2**16
"""The first samples, which normalisation and the statistics of posterior codes are fitted to."""


def write_synth_recipe(path: str | Path, source: SynthSource, seed: int, provenance: Mapping[str, Json]) -> None:
    """Write the recipe of a bench's training samples to a file, or replace the file."""
    recipe = {"format": FORMAT, "source": source.to_dict(), "seed": seed, "n_p": source.n_p, "n_r": None}
    write_json(path, recipe | {"provenance": dict(provenance)})


@contextmanager
def open_synth_stream(path: str | Path, request: Request, folder: Path, device: torch.device) -> Iterator[TrainingRows]:
    """Open the stream of a recipe for a training. With batches of B, step s trains on samples s B to s B + B - 1.

    The stream does not end. Samples are independent, so they need no shuffling, and the target is the input.
    ``folder`` and ``device`` are for streams of language models, and have no effect here.

    Raises
    ------
    SourceError
        If the file cannot be read, or is not a recipe.
    """
    try:
        recipe = json.loads(Path(path).read_text(encoding="utf-8"))
        if recipe["format"] != FORMAT:
            raise ValueError(f"its format is {recipe['format']!r}")
        world = World.draw(SynthSource.from_dict(recipe["source"]), recipe["seed"])
    except (OSError, ValueError, LookupError, TypeError) as error:
        raise SourceError(f"{path}: expected {FORMAT} ({error}); make it anew") from error
    sampler, W_rows = world.sampler("train"), np.ascontiguousarray(world.W_p.T)

    def samples(first: int, number: int) -> np.ndarray:
        return synthesise(sampler.coefficients(first, number), W_rows, world.distribution.bias)

    def batch(step: int) -> tuple[np.ndarray, np.ndarray]:
        x = samples(step * request.batch_size, request.batch_size)
        return x, x

    yield TrainingRows((world.source.n_p,), batch, lambda: Arrays(samples(0, FIRST_ROWS)))
