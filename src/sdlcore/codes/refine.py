"""Improve the decoder rows of an autoencoder: `refine` takes any."""

import copy
from pathlib import Path
from typing import Annotated, Any

import torch
from annotated_types import Ge, Le
from torch import Tensor
from tqdm import tqdm

from sdlcore.codes.opening import (
    N_SAMPLES,
    bar_steps,
    make_or_open,
    open_dictionary,
    open_rows,
    posterior_coder,
    read_batch,
    size_and_pass,
)
from sdlcore.codes.refinement import last_round, refine_rows
from sdlcore.dictionary.dictionary import Dictionary
from sdlcore.dictionary.run_folder import REPLACED
from sdlcore.random_streams import torch_stream
from sdlcore.settings import Seed, Total, checked
from sdlcore.training.loop import Checkpointing

Rounds = Annotated[int, Ge(4), Le(1000)]
"""Rounds of mean shift. The last three add no latent."""


def refine(
    dictionary: Dictionary | str | Path,
    x: Any,
    rounds: int = 10,
    *,
    n_samples: int = N_SAMPLES,
    seed: int = 0,
    progress: bool = True,
    out: str | Path | None = None,
) -> Dictionary:
    """Improve the decoder rows of an autoencoder, and return it with posterior codes.

    Each round of mean shift replaces latents that are seldom active by directions of features that the residuals of
    posterior codes contain. All rows are then refitted once by least squares (`sdlcore.codes.refinement`). The
    number of latents stays.

    Parameters
    ----------
    dictionary
        An autoencoder, or its path in any format of `load`. It is not changed. If it has no posterior codes, they
        are fitted first.
    x
        Activations or batches, as in `fit`. Arrays and stores are read in random order, and again after their end.
    rounds
        Number of rounds, at least 4, since the last three add no latent.
    n_samples
        Number of samples of a round. The refit reads five times as many.
    seed
        Seed of the order of samples and of mean shift's starts.
    progress
        Show a progress bar of rounds.
    out
        A folder for the dictionary. The same call resumes after the last finished round, or opens the finished
        dictionary.

    Returns
    -------
    A new dictionary with as many latents and posterior codes. A latent of ``dictionary`` keeps its index unless mean
    shift replaced it; ``provenance["replaced"]`` lists the indices of replaced latents.

    Raises
    ------
    ValueError
        If the dictionary is no autoencoder or has latents below zero, if ``x`` has other dimensions, or if batches end
        early.
    """
    start = open_dictionary(dictionary)
    record = {"rounds": checked("rounds", Rounds, rounds), "n_samples": checked("n_samples", Total, n_samples)}
    record["seed"] = checked("seed", Seed, seed)
    with open_rows(x, start.coder, seed) as (batches, rows):
        size, in_pass = size_and_pass(batches, rows)
        number = -(-n_samples // size) if in_pass is None else min(-(-n_samples // size), in_pass)

        def draw(round_: int) -> Tensor:
            return torch.cat([read_batch(rows, step) for step in range(round_ * number, (round_ + 1) * number)])

        def make(facts: dict[str, Any], keep: Checkpointing | None) -> Dictionary:
            is_posterior = start.coder.config.activation == "posterior"
            coder = (
                copy.deepcopy(start.coder)
                if is_posterior
                else posterior_coder(start.coder, rows.sample(), n_samples, progress)
            )
            with tqdm(total=last_round(rounds) + 1, unit="round", disable=not progress) as bar:
                generator = torch_stream(seed, "mean shift")
                new_coder, replaced = refine_rows(coder, draw, rounds, generator, bar_steps(bar), keep)
            return Dictionary(new_coder, {**facts, REPLACED: replaced})

        return make_or_open(start, "refine", {"refined": record}, batches, rows, out, make)
