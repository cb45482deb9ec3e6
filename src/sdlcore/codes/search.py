"""Find codes for known decoder rows: `search` takes any autoencoder."""

import math
from pathlib import Path
from typing import Any, Literal

import torch

from sdlcore.codes.opening import N_SAMPLES, checked_l0, open_dictionary, open_samples
from sdlcore.codes.posterior import (
    JUDGED,
    TUNED_ON,
    on_unit_rows,
    warn_of_worse_codes,
    with_mean_l0,
    with_posterior_codes,
)
from sdlcore.data.batches import read_pair
from sdlcore.dictionary.dictionary import Dictionary
from sdlcore.identity import ENTRY
from sdlcore.settings import Latents, Total, checked

Method = Literal["posterior", "omp", "gradient_pursuit"]
"""Ways to find codes of known rows."""
STEPS_PER_L0 = 4
"""Steps of a pursuit with a threshold, as a multiple of the mean number of active latents."""


def search(
    dictionary: Dictionary | str | Path,
    x: Any = None,
    method: Method = "posterior",
    *,
    k: int | None = None,
    l0: float | None = None,
    n_samples: int | None = None,
    progress: bool = True,
) -> Dictionary:
    """Return a dictionary with the same decoder rows, whose codes come from a search for each sample.

    The field calls this inference-time optimisation. `Dictionary.encode`, `evaluate` and `Dictionary.save` work as with
    an encoder. SAELens opens the result through `sdlcore.saelens`. For other libraries, `reencode` fits an ordinary
    encoder.

    Parameters
    ----------
    dictionary
        An autoencoder, or its path in any format of `load`. It is not changed.
    x
        Activations or batches, as in `fit`. ``posterior`` estimates the statistics of latents on them, and ``l0`` sets
        the threshold of a search on them.
    method
        posterior: the most probable latents, given how often and how strongly each is active
        (`sdlcore.model.activations.posterior`); it chooses its own L0, and warns if it explains less than the
        dictionary's encoder. omp: orthogonal matching pursuit. gradient_pursuit: the same with a gradient step instead
        of least squares. Rows are scaled to norm 1. Codes are never negative.
    k
        Number of steps of omp and gradient_pursuit, and so the largest number of active latents of a sample; None for
        four times ``l0``, or the dictionary's k without ``l0``.
    l0
        Mean number of active latents of a sample, for omp and gradient_pursuit. A search then ends when no latent's
        product with the residual exceeds a threshold, which suits samples that differ in their number of features. A
        warning names the L0 reached if no threshold reaches ``l0``, as with repeated samples. None for k steps, which
        end early only where no latent's product with the residual exceeds a hundred-thousandth of the sample's norm.
    n_samples
        Number of samples to use, from the first of ``x`` on; None for 65,536. Batches give no more than that, and
        ``l0`` uses at most 8,192.
    progress
        Show a progress bar.

    Returns
    -------
    A new dictionary with these rows and codes. Its provenance names the search and its arguments. `compare` tells which
    latents keep their meaning.

    Raises
    ------
    ValueError
        If the dictionary is no autoencoder, has latents below zero, or an argument is missing or does not fit the
        method.
    """
    start = open_dictionary(dictionary)
    coder = start.coder
    checked("method", Method, method)
    if method == "posterior" and (k is not None or l0 is not None):
        raise ValueError(
            "posterior codes choose their own L0; k and l0 are for omp and gradient_pursuit. For an encoder with a "
            "given l0, use sdl.reencode"
        )
    number: int = checked("n_samples", Total, N_SAMPLES if n_samples is None else n_samples)
    record: dict[str, Any] = {"method": method}
    if method != "posterior":
        if l0 is not None:
            record["l0"] = checked_l0(start.n_q, l0)
            k = min(math.ceil(STEPS_PER_L0 * l0), start.n_q) if k is None else k
        record["k"] = k = coder.config.k if k is None else checked("k", Latents, k)
        if k is None:
            raise ValueError(f"{method} needs k or l0, since activation {coder.config.activation} has no k")
        new_coder = on_unit_rows(coder, method, k)
    if method == "posterior" or l0 is not None:
        if x is None:
            raise ValueError(f"{method if l0 is None else 'l0'} needs x, samples of activations")
        with open_samples(x, coder, 0) as batches:
            samples = batches.rows.sample()
            most = samples.rows if l0 is None else min(samples.rows, TUNED_ON)
            record["n_samples"] = number = min(number, most)
            if l0 is not None:
                new_coder = with_mean_l0(new_coder, samples, number, l0)
            else:
                new_coder = with_posterior_codes(coder, samples, number, progress)
                judged, _ = read_pair(samples, "sae", 0, min(number, JUDGED))
                remedy = 'use method="omp", or keep the encoder'
                warn_of_worse_codes(coder, new_coder, torch.from_numpy(judged).float(), remedy)
    facts = {name: fact for name, fact in start.provenance.items() if name != ENTRY}  # another call's result
    return Dictionary(new_coder, {**facts, "searched": record}, anchors=start.anchors)
