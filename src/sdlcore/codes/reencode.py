"""Fit an ordinary encoder to known decoder rows: `reencode` takes any autoencoder."""

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal, get_args

import torch
from torch import Tensor
from tqdm import tqdm

from sdlcore.codes.logistic import linear_encoder
from sdlcore.codes.opening import (
    N_SAMPLES,
    SHARE,
    bar_steps,
    checked_l0,
    make_or_open,
    meanings_kept,
    open_dictionary,
    open_rows,
    posterior_coder,
    read_batch,
    size_and_pass,
)
from sdlcore.codes.posterior import (
    JUDGED,
    fvu_and_l0,
    on_unit_rows,
    warn_of_worse_codes,
)
from sdlcore.config import Searched
from sdlcore.data.batches import Batches, TrainingRows
from sdlcore.device import Device, device_of
from sdlcore.dictionary.dictionary import Dictionary
from sdlcore.fitting.fit import fit
from sdlcore.inputs import gives_batches
from sdlcore.model.activation import Encoder as NonlinearEncoder
from sdlcore.model.coder import SparseCoder
from sdlcore.settings import Seed, Total, checked
from sdlcore.training.loop import Checkpointing
from sdlcore.user_warnings import warn_at_call

Encoder = Literal["jumprelu", "topk", "batchtopk"]
"""Activations of `reencode`."""
L0_MISSED = 0.1
"""`reencode` warns if its encoder's L0 differs from the requested one by more than this share."""
MOST_HELD_OUT = 2**15
"""`reencode` holds out one of `SHARE` parts of the samples, and at most so many samples."""


def reencode(
    dictionary: Dictionary | str | Path,
    x: Any,
    activation: Encoder = "jumprelu",
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
    latent (`sdlcore.codes.logistic`). For an autoencoder with another encoder, these are posterior codes. topk and
    batchtopk train the encoder by `fit` with a frozen decoder, from the autoencoder's own weights if its encoder is
    linear, and otherwise from the decoder rows. Rows have norm 1.

    Parameters
    ----------
    dictionary
        An autoencoder, or its path in any format of `load`, best the result of `search` or `refine`. It is not changed.
    x
        Activations or batches, as in `fit`. Thresholds of jumprelu are chosen on samples that no step reads: a fifth of
        an array or a store, or the first batches, and at most 32,768 samples.
    activation
        jumprelu, topk or batchtopk. `export` writes batchtopk as JumpReLU.
    l0
        Mean number of active latents of a sample. None for the L0 of the codes (jumprelu), or the dictionary's k.
    steps
        Number of steps. Each reads one batch; from an array or a store, 1,024 samples, or a fifth of fewer than 5,120.
    seed
        Seed of the order of samples.
    device
        auto, cpu or cuda. Posterior codes are searched on the CPU in any case.
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
    start, where = open_dictionary(dictionary), device_of(device)
    checked("activation", Encoder, activation)
    checked("steps", Total, steps)
    l0 = None if l0 is None else checked_l0(start.n_q, l0)
    record = {"activation": activation, "l0": l0, "steps": steps, "seed": checked("seed", Seed, seed)}
    if activation != "jumprelu":
        k = start.coder.config.k if l0 is None else l0
        if k is None or k != int(k):
            raise ValueError(f"{activation} needs l0, a whole number of latents that it keeps, found {k}")
        untrained = _with_unit_rows(start.coder, activation, int(k))
        settings: dict[str, Any] = {"steps": steps, "frozen": "decoder", "normalise": True}
        if not gives_batches(x):
            with open_rows(x, start.coder, seed) as (batches, rows):
                settings["batch_size"], _ = size_and_pass(batches, rows)
        found = fit(
            x,
            start=Dictionary(untrained, start.provenance),
            seed=seed,
            device=device,
            progress=progress,
            out=out,
            **settings,
        )
        with open_rows(x, start.coder, seed) as (_, rows):
            found.provenance["compared"] = meanings_kept(start, found, rows.sample())
        if out is not None:
            found.save(out)
        return found
    with open_rows(x, start.coder, seed) as (batches, rows):

        def make(facts: dict[str, Any], keep: Checkpointing | None) -> Dictionary:
            is_search = start.coder.config.activation in get_args(Searched) or start.coder.config.pursuit
            coder, samples = start.coder, rows.sample
            teacher = copy.deepcopy(coder) if is_search else posterior_coder(coder, samples(), N_SAMPLES, progress)
            held_out, draw, further = _held_out_and_rest(batches, rows)
            with tqdm(total=steps, unit="step", disable=not progress) as bar:
                new_coder = linear_encoder(teacher.to(where), draw, held_out, steps, further, l0, bar_steps(bar), keep)
            _warn_of_encoder(start.coder, new_coder, held_out, l0)
            return Dictionary(new_coder, facts)

        return make_or_open(start, "reencode", {"reencoded": record}, batches, rows, out, make)


@torch.no_grad()
def _with_unit_rows(coder: SparseCoder, activation: Encoder, k: int) -> SparseCoder:
    """Scale an autoencoder's rows to norm 1. Keep its encoder if it is linear; otherwise encode with these rows."""
    unit = on_unit_rows(coder, activation, k)
    if isinstance(coder.sigma, NonlinearEncoder) or coder.config.pursuit:
        weights = {"b_enc": -(unit.W_enc @ unit.b_dec)}
    else:
        norms_Q = coder.W_dec.double().norm(dim=1)  # as in on_unit_rows
        weights = {"W_enc": (coder.W_enc * norms_Q[:, None]).float(), "b_enc": (coder.b_enc * norms_Q).float()}
    unit.load_state_dict(unit.state_dict() | weights)
    return unit


def _held_out_and_rest(batches: Batches, rows: TrainingRows) -> tuple[Tensor, Callable[[int], Tensor], int | None]:
    """Return samples that are held out, a function that returns the samples of a step, and the steps in a pass."""
    size, in_pass = size_and_pass(batches, rows)
    number = max(1, MOST_HELD_OUT // size) if in_pass is None else max(1, min(MOST_HELD_OUT // size, in_pass // SHARE))
    further = None if in_pass is None else in_pass - number
    if further == 0:
        raise ValueError(f"x has {batches.rows} samples, but thresholds need samples that no step reads; give more")
    held_out = torch.cat([read_batch(rows, step) for step in range(number)])

    def draw(step: int) -> Tensor:
        # always the first pass, whose first batches are held out
        return read_batch(rows, number + (step if further is None else step % further))

    return held_out, draw, further


@torch.no_grad()
def _warn_of_encoder(start: SparseCoder, fitted: SparseCoder, held_out: Tensor, l0: float | None) -> None:
    """Warn if a fitted encoder misses its L0, or leaves far more unexplained than the dictionary."""
    judged = held_out[:JUDGED]
    before, after = (fvu_and_l0(coder, judged) for coder in (start, fitted))
    if l0 is not None and abs(after["l0"] / l0 - 1) > L0_MISSED:
        warn_at_call(
            f"l0 is {l0:g}, but the encoder activates {after['l0']:.3g} latents on average: thresholds cannot divide "
            "repeated samples, nor make a latent active that the codes never use"
        )
    remedy = 'choose activation="batchtopk" or more steps, or keep the dictionary'
    warn_of_worse_codes(before["fvu"], after["fvu"], len(judged), remedy, "codes of the new encoder")
