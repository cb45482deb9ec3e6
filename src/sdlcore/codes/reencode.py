"""Fit an ordinary encoder to known decoder rows: `reencode` takes any autoencoder."""

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal, get_args

import torch
from torch import Tensor

from sdlcore.codes.logistic import linear_encoder
from sdlcore.codes.opening import (
    N_SAMPLES,
    SHARE,
    SampleBatches,
    make_or_open,
    open_dictionary,
    open_samples,
)
from sdlcore.codes.posterior import on_unit_rows, warn_of_missed_l0, warn_of_worse_codes, with_posterior_codes
from sdlcore.config import Searched
from sdlcore.device import Device, choose_device
from sdlcore.dictionary.dictionary import Dictionary
from sdlcore.fitting.fit import fit
from sdlcore.inputs import gives_batches
from sdlcore.model.activation import Encoder
from sdlcore.model.coder import SparseCoder
from sdlcore.settings import Positive, Seed, Total, checked
from sdlcore.training.loop import Checkpointing

EncoderName = Literal["jumprelu", "topk", "batchtopk"]
"""Activations of `reencode`."""
L0_MISSED = 0.1
"""`reencode` warns if its encoder's L0 differs from the requested one by more than this share."""
MOST_HELD_OUT = 2**15
"""`reencode` holds out one of `SHARE` parts of the samples, and at most so many samples."""


def reencode(
    dictionary: Dictionary | str | Path,
    x: Any,
    activation: EncoderName = "jumprelu",
    l0: float | None = None,
    *,
    steps: int = 1000,
    seed: int = 0,
    device: Device = "auto",
    progress: bool = True,
    out: str | Path | None = None,
) -> Dictionary:
    """Fit an ordinary encoder to the decoder rows of an autoencoder, at a chosen L0. Other libraries load the result.

    jumprelu imitates codes by search: logistic regression on their supports, then a threshold and a line for each
    latent (`sdlcore.codes.logistic`). If the autoencoder has no codes by search, jumprelu imitates posterior
    codes. topk and batchtopk train the encoder by `fit` with a frozen decoder. They start from the autoencoder's own
    encoder if it is linear, and otherwise from the decoder rows.

    Parameters
    ----------
    dictionary
        An autoencoder, preferably from `search` or `refine`, or its path in any format of `load`. It is not changed.
    x
        Activations or batches, as in `fit`. Thresholds of jumprelu are chosen on samples that no step reads: a fifth of
        an array or a store, or the first batches, and at most 32,768 samples.
    activation
        jumprelu, topk or batchtopk. `export` writes batchtopk as JumpReLU.
    l0
        Mean number of active latents of a sample. None for the L0 of the codes (jumprelu), or the dictionary's k.
    steps
        Number of steps. Each reads one batch. Batches of an array or a store have 1,024 samples, or a fifth of the
        samples if there are fewer than 5,120.
    seed
        Seed of the order of samples.
    device
        auto, cpu, cuda, or a numbered GPU such as cuda:1. Posterior codes are searched on the CPU in any case.
    progress
        Show a progress bar.
    out
        A folder for the dictionary. The same call resumes an interrupted fit, or opens the finished dictionary.

    Returns
    -------
    A new dictionary with the same decoder rows, scaled to norm 1, and the fitted encoder.

    Raises
    ------
    ValueError
        If the dictionary is no autoencoder or has latents below zero, if ``x`` has other dimensions or ends early, or
        if ``l0`` is missing, or not a whole number for topk and batchtopk.
    """
    start, where = open_dictionary(dictionary), choose_device(device)
    checked("activation", EncoderName, activation)
    checked("steps", Total, steps)
    l0 = checked("l0", Positive | None, l0)
    record = {"activation": activation, "l0": l0, "steps": steps, "seed": checked("seed", Seed, seed)}
    if activation != "jumprelu":
        k = start.coder.config.k if l0 is None else l0
        if k is None or k != int(k):
            raise ValueError(f"{activation} needs l0, a whole number of latents that it keeps, found {k}")
        untrained = Dictionary(_with_unit_rows(start.coder, activation, int(k)), start.provenance)
        settings: dict[str, Any] = {"steps": steps, "frozen": "decoder", "normalise": True}
        if not gives_batches(x):
            with open_samples(x, start.coder, seed) as samples:
                settings["batch_size"] = samples.size
        return fit(x, start=untrained, seed=seed, device=device, progress=progress, out=out, **settings)
    with open_samples(x, start.coder, seed) as samples:

        def make(facts: dict[str, Any], keep: Checkpointing | None) -> Dictionary:
            coder = start.coder
            if coder.config.activation in get_args(Searched):
                teacher = copy.deepcopy(coder)
            else:
                teacher = with_posterior_codes(coder, samples.rows.sample(), N_SAMPLES, progress)
            held_out, draw, further = _held_out_and_rest(samples)
            fitted = linear_encoder(teacher.to(where), draw, held_out, steps, further, l0, progress, keep)
            remedy = 'choose activation="batchtopk" or more steps, or keep the dictionary'
            reached = warn_of_worse_codes(coder, fitted, held_out, remedy, "codes of the new encoder")
            if l0 is not None:
                warn_of_missed_l0(l0, reached, L0_MISSED)
            return Dictionary(fitted, facts)

        return make_or_open(start, "reencode", "reencoded", record, samples, out, make)


@torch.no_grad()
def _with_unit_rows(coder: SparseCoder, activation: EncoderName, k: int) -> SparseCoder:
    """Scale an autoencoder's rows to norm 1. Keep its encoder if it is linear; otherwise encode with these rows."""
    unit = on_unit_rows(coder, activation, k)
    if isinstance(coder.sigma, Encoder):
        weights = {"b_enc": -(unit.W_enc @ unit.b_dec)}
    else:
        norms_Q = coder.W_dec.double().norm(dim=1)  # as in on_unit_rows
        weights = {"W_enc": (coder.W_enc * norms_Q[:, None]).float(), "b_enc": (coder.b_enc * norms_Q).float()}
    unit.load_state_dict(unit.state_dict() | weights)
    return unit


def _held_out_and_rest(samples: SampleBatches) -> tuple[Tensor, Callable[[int], Tensor], int | None]:
    """Return samples that are held out, a function that returns the samples of a step, and the steps in a pass."""
    number, in_pass = MOST_HELD_OUT // samples.size, samples.in_pass
    number = max(1, number if in_pass is None else min(number, in_pass // SHARE))
    further = None if in_pass is None else in_pass - number
    if further == 0:
        raise ValueError(
            f"x has {samples.batches.rows} samples, but thresholds need samples that no step reads; give more"
        )

    def draw(step: int) -> Tensor:
        # always the first pass, whose first batches are held out
        return samples.read([number + (step if further is None else step % further)])

    return samples.read(range(number)), draw, further
