"""Find codes for known decoder rows: `search` takes any autoencoder."""

import math
from pathlib import Path
from typing import Any, Literal

import torch

from sdlcore.codes.opening import N_SAMPLES, open_dictionary, open_samples
from sdlcore.codes.posterior import (
    JUDGED,
    fvu_and_l0,
    on_unit_rows,
    warn_of_missed_l0,
    warn_of_worse_codes,
    with_posterior_codes,
)
from sdlcore.data.arrays import Readable
from sdlcore.data.batches import read_pair
from sdlcore.dictionary.dictionary import Dictionary
from sdlcore.identity import ENTRY
from sdlcore.model.coder import SparseCoder
from sdlcore.settings import LatentCount, Positive, Total, checked

CodeMethod = Literal["posterior", "omp"]
"""Ways to find codes of known rows."""
STEPS_PER_L0 = 4
"""Steps of OMP with a threshold, as a multiple of the mean number of active latents."""
TUNED_ON, HALVINGS, L0_WITHIN, L0_MISSED = 8192, 40, 0.002, 0.02
"""Limits of the search for a threshold: samples that it reads, halvings of the threshold's interval, and relative
differences from the requested L0 at which it stops, and above which it warns."""
ROUNDING = 1e-4
"""Largest relative difference of thresholds that are not told apart. Products of equal samples differ by less, so a
threshold between them would depend on rounding."""


def search(
    dictionary: Dictionary | str | Path,
    x: Any = None,
    method: CodeMethod = "posterior",
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
        the threshold of a search on them. A search of k steps does not read them.
    method
        posterior finds the most probable latents, given how often and how strongly each is active
        (`sdlcore.model.activations.posterior`). It chooses its own L0, and warns if it explains less than the
        dictionary's encoder. omp is orthogonal matching pursuit. Rows are scaled to norm 1. Codes are never negative.
    k
        Number of steps of omp, and so the largest number of active latents of a sample; None for four times ``l0``, or
        the dictionary's k without ``l0``.
    l0
        Mean number of active latents of a sample, for omp. A search then ends when no latent's product with the
        residual exceeds a threshold, which suits samples that differ in their number of features. A warning names the
        L0 reached if no threshold reaches ``l0``, as with repeated samples. None for k steps; a sample stops earlier if
        no product exceeds 1e-5 of its norm.
    n_samples
        Number of samples to use, from the first of ``x`` on; None for 65,536. Batches give no more than that, and
        ``l0`` uses at most 8,192.
    progress
        Show a progress bar.

    Returns
    -------
    A new dictionary with these rows and codes. Its provenance names the search and its arguments. `compare` shows which
    latents keep their meaning.

    Raises
    ------
    ValueError
        If the dictionary is no autoencoder, has latents below zero, or an argument is missing or does not fit the
        method.
    """
    start = open_dictionary(dictionary)
    coder = start.coder
    checked("method", CodeMethod, method)
    if method == "posterior" and (k is not None or l0 is not None):
        raise ValueError(
            "posterior codes choose their own L0; k and l0 are for omp. For an encoder with a "
            "given l0, use sdl.reencode"
        )
    number: int = checked("n_samples", Total, N_SAMPLES if n_samples is None else n_samples)
    record: dict[str, Any] = {"method": method}
    if method != "posterior":
        if l0 is not None:
            record["l0"] = l0 = checked("l0", Positive, l0)
            k = min(math.ceil(STEPS_PER_L0 * l0), start.n_q) if k is None else k
        record["k"] = k = coder.config.k if k is None else checked("k", LatentCount, k)
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
                new_coder = _with_mean_l0(new_coder, samples, number, l0)
            else:
                new_coder = with_posterior_codes(coder, samples, number, progress)
                judged, _ = read_pair(samples, "sae", 0, min(number, JUDGED))
                remedy = 'use method="omp", or keep the encoder'
                warn_of_worse_codes(coder, new_coder, torch.from_numpy(judged).float(), remedy)
    facts = {name: fact for name, fact in start.provenance.items() if name != ENTRY}  # another call's result
    return Dictionary(new_coder, {**facts, "searched": record}, anchors=start.anchors)


@torch.no_grad()
def _with_mean_l0(model: SparseCoder, samples: Readable, n_samples: int, l0: float) -> SparseCoder:
    """Set the threshold of OMP by bisection, so that samples activate ``l0`` latents on average.

    Returns the model. Warns if no threshold reaches ``l0``, as in repeated samples, whose latents become active
    together. ValueError if the k steps do not reach ``l0``.
    """
    x, _ = read_pair(samples, model.config.pair, 0, n_samples)
    x_BR, threshold = torch.from_numpy(x).float(), model.sigma.get_buffer("threshold")

    def mean_l0(value: float) -> float:
        threshold.fill_(value)
        return fvu_and_l0(model, x_BR)["l0"]

    if (most := mean_l0(0.0)) < l0:
        raise ValueError(
            f"l0 is {l0:g}, but {model.config.k} steps activate {most:.3g} latents on average; lower l0, or raise k"
        )
    low, high, fewest = 0.0, float(x_BR.norm(dim=1).max() + model.b_dec.norm()), 0.0
    for _ in range(HALVINGS):
        reached = mean_l0(middle := (low + high) / 2)
        if abs(reached - l0) <= L0_WITHIN * l0:
            return model
        if reached > l0:
            low, most = middle, reached
        else:
            high, fewest = middle, reached
        if high - low < ROUNDING * high:
            break
    reached = mean_l0(low * (1 - ROUNDING) if most - l0 <= l0 - fewest else high * (1 + ROUNDING))
    warn_of_missed_l0(l0, reached, L0_MISSED)
    return model
