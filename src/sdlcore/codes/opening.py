"""Open the dictionary, the samples and the folder of `search`, `refine` and `reencode`."""

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from sdlcore.data.arrays import digest_of_arrays
from sdlcore.data.batches import Batches, Request, TrainingRows
from sdlcore.data.conversion import is_pair
from sdlcore.dictionary.dictionary import Dictionary
from sdlcore.dictionary.load import load, open_or_make
from sdlcore.dictionary.run_folder import run_folder
from sdlcore.identity import identity, provenance
from sdlcore.inputs import open_batches
from sdlcore.model.activation import refuse_signed
from sdlcore.model.coder import SparseCoder
from sdlcore.training.loop import Checkpointing

N_SAMPLES = 65_536
"""Samples that statistics of latents are estimated on."""
MOST_STEPS = 10**9
"""More steps than any stream has."""
BATCH = 1024
"""Samples of a step of `reencode`."""
SHARE = 5
"""Arrays and stores give batches of at most one of `SHARE` parts; `reencode` holds out as many samples."""


def open_dictionary(dictionary: Dictionary | str | Path) -> Dictionary:
    start = load(dictionary) if isinstance(dictionary, str | Path) else dictionary
    if start.pair != "sae":
        raise ValueError(
            f"dictionary is a {start.pair}, but codes by search need an autoencoder, which reads its target"
        )
    refuse_signed(start.coder.sigma, "a search for codes")
    return start


@dataclass(frozen=True)
class SampleBatches:
    """The samples of a call, in batches."""

    batches: Batches
    rows: TrainingRows

    @cached_property
    def size(self) -> int:
        """Number of samples of a batch."""
        return len(self.rows.batches(0)[0])

    @property
    def in_pass(self) -> int | None:
        """Number of batches in a pass over all samples; None if it is not known."""
        return None if self.batches.rows is None else self.batches.rows // self.size

    def read(self, steps: Iterable[int]) -> Tensor:
        """Return the samples of some steps."""
        return torch.cat([torch.from_numpy(self.rows.batches(step)[0]).float() for step in steps])


@contextmanager
def open_samples(x: Any, coder: SparseCoder, seed: int) -> Iterator[SampleBatches]:
    """Open samples for a dictionary, in batches of 1,024, or fewer so that there are `SHARE` batches.

    ValueError if their dimensions differ from the dictionary's.
    """
    with open_batches(x) as batches:
        if is_pair(x) or batches.widths[:1] != coder.input_sites:
            raise ValueError(f"x has sites of {batches.widths} dimensions, but the sae {coder.input_sites}")
        size = batches.batch_size or (BATCH if batches.rows is None else min(BATCH, max(1, batches.rows // SHARE)))
        yield SampleBatches(batches, batches.begin(Request("sae", size, seed, steps=MOST_STEPS)))


def make_or_open(
    start: Dictionary,
    stage: str,
    fact: str,
    settings: dict[str, Any],
    samples: SampleBatches,
    out: str | Path | None,
    make: Callable[[dict[str, Any], Checkpointing | None], Dictionary],
) -> Dictionary:
    """Open the finished dictionary in the folder ``out``, or make it.

    ``make`` takes the provenance, with the settings under the key ``fact``, and a place for checkpoints.
    """
    weights = [np.atleast_1d(part.cpu().numpy()) for part in start.coder.state_dict().values()]
    inputs = {"store": samples.batches.digest(), "start": digest_of_arrays(*weights)}
    facts = {**start.provenance, **provenance(identity=identity(stage, settings, inputs=inputs)), fact: settings}
    if (origin := samples.batches.origin) is not None:
        facts["activations"] = origin
    folder = None if out is None else run_folder(out)
    return open_or_make(folder, facts, lambda keep, _: make(facts, keep), samples.batches.recorded)
