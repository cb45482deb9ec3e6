"""Better codes for known decoder rows, and better rows: `search`, `refine` and `reencode` take any autoencoder."""

import copy
import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

import numpy as np
import torch
from annotated_types import Ge, Le
from torch import Tensor
from tqdm import tqdm

from sdlcore.api.dictionary import Dictionary
from sdlcore.api.fitting import fit
from sdlcore.api.inputs import is_pair
from sdlcore.api.loading import load
from sdlcore.api.run_folder import (
    CHECKPOINT,
    REPLACED,
    existing_run,
    remove_unfinished,
    run_folder,
    unfinished_run,
    warn_of_batches,
)
from sdlcore.api.sources import Source, Stored, digest_of_arrays, stored
from sdlcore.api.streams import ANEW, Stream, is_stream
from sdlcore.data.batches import Readable, TrainingRows, read_pair
from sdlcore.device import Device, device_of
from sdlcore.identity import ENTRY, identity, log_other_computer, provenance
from sdlcore.model.activation import Encoder as NonlinearEncoder
from sdlcore.model.activation import refuse_signed
from sdlcore.model.coder import SparseCoder
from sdlcore.random_streams import torch_stream
from sdlcore.run import MOST_SWEEPS, PURSUITS, RunConfig, Searched
from sdlcore.settings import Latents, Positive, Seed, Total, checked
from sdlcore.training.logistic import linear_encoder
from sdlcore.training.loop import Checkpointing
from sdlcore.training.posterior import (
    JUDGED,
    ROUNDS,
    TUNED_ON,
    fvu_and_l0,
    on_unit_rows,
    warn_of_worse_codes,
    with_mean_l0,
    with_posterior_codes,
)
from sdlcore.training.read_ahead import NoMoreBatchesError
from sdlcore.training.refinement import last_round
from sdlcore.training.refinement import refine as refine_rows
from sdlcore.user_warnings import warn_at_call

Method = Literal["posterior", "omp", "gradient_pursuit", "nnls"]
"""Ways to find codes of known rows."""
Encoder = Literal["jumprelu", "topk", "batchtopk"]
"""Activations of `reencode`."""
N_SAMPLES = 65_536
"""Samples that statistics of latents are estimated on."""
SWEEPS = 20
"""Sweeps of nnls."""
STEPS_PER_L0 = 4
"""Steps of a pursuit with a threshold, as a multiple of the mean number of active latents."""
L0_MISSED = 0.1
"""`reencode` warns if its encoder's L0 differs from the requested one by more than this share."""
BATCH = 1024
"""Samples of a step of `reencode`."""
SHARE, MOST_HELD_OUT = 5, 2**15
"""`reencode` holds out one of `SHARE` parts of the samples, and at most `MOST_HELD_OUT` samples."""
Rounds = Annotated[int, Ge(4), Le(1000)]
"""Rounds of mean shift. The last three add no latent."""
Sweeps = Annotated[int, Ge(1), Le(MOST_SWEEPS)]


def search(
    dictionary: Dictionary | str | Path,
    x: Any = None,
    method: Method = "posterior",
    *,
    k: int | None = None,
    l0: float | None = None,
    n_samples: int | None = None,
    sweeps: int | None = None,
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
        of least squares. nnls: non-negative least squares on the latents that the dictionary's own encoder activates.
        All but nnls scale rows to norm 1. Codes are never negative.
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
    sweeps
        Sweeps of coordinate descent over a sample's latents, for nnls; None for 20.
    progress
        Show a progress bar.

    Returns
    -------
    A new dictionary with these rows and codes, whose provenance names the search and its arguments.

    Raises
    ------
    ValueError
        If the dictionary is no autoencoder, has latents below zero, or an argument is missing or has no meaning for
        the method.
    """
    start = _opened(dictionary)
    coder = start.coder
    checked("method", Method, method)
    for name, value, methods in (("k", k, PURSUITS), ("l0", l0, PURSUITS), ("sweeps", sweeps, ("nnls",))):
        if value is not None and method not in methods:
            message = f"{name} has no meaning for method {method}; it is for {' and '.join(methods)}"
            if (method, name) == ("posterior", "l0"):
                message += f'. posterior chooses its own L0; for {value} use method="omp", or reencode(..., l0={value})'
            raise ValueError(message)
    if (x is not None) != (method == "posterior" or l0 is not None):
        if x is None:
            needs = "posterior needs x, samples" if l0 is None else "l0 needs x, samples that it is reached on"
            raise ValueError(needs)
        if method == "nnls":
            raise ValueError("nnls needs no samples; leave x out")
        instead = "" if k is None else " instead of k"
        raise ValueError(f"{method} without l0 needs no samples; leave x out, or give l0{instead}")
    if x is None and n_samples is not None:
        raise ValueError("n_samples has no meaning without x")
    number: int = checked("n_samples", Total, N_SAMPLES if n_samples is None else n_samples)
    record: dict[str, Any] = {"method": method}
    if method == "posterior":
        with _rows(x, coder, 0) as (_, rows):
            samples = rows.sample()
            record["n_samples"] = number = min(number, samples.rows)
            new_coder = _posterior(coder, samples, number, progress)
            judged, _ = read_pair(samples, "sae", 0, min(number, JUDGED))
        before, after = (fvu_and_l0(one, torch.from_numpy(judged).float()) for one in (coder, new_coder))
        warn_of_worse_codes(before["fvu"], after["fvu"], len(judged), 'use method="omp", or keep the encoder')
    elif method == "nnls":
        if coder.config.activation in ("matching_pursuit", *get_args(Searched)):
            message = f"method nnls needs latents that an encoder activates, but {coder.config.activation} is a search"
            raise ValueError(f"{message}; choose another method, or a dictionary with an encoder")
        record["sweeps"] = sweeps = checked("sweeps", Sweeps, SWEEPS if sweeps is None else sweeps)
        new_coder = copy.deepcopy(coder)
        new_coder.config = coder.config.changed(pursuit=sweeps)
    else:
        if l0 is not None:
            record["l0"] = _l0_up_to(start.n_q, l0)
            k = min(math.ceil(STEPS_PER_L0 * l0), start.n_q) if k is None else k
        k = coder.config.k if k is None else checked("k", Latents, k)
        if k is None:
            raise ValueError(f"{method} needs k or l0, since activation {coder.config.activation} has no k")
        record["k"] = k
        new_coder = on_unit_rows(coder, method, k)
        if l0 is not None:
            with _rows(x, coder, 0) as (_, rows):
                samples = rows.sample()
                record["n_samples"] = number = min(number, TUNED_ON, samples.rows)
                new_coder = with_mean_l0(new_coder, samples, number, l0)
    facts = {name: fact for name, fact in start.provenance.items() if name != ENTRY}  # another call's result
    return Dictionary(new_coder, {**facts, "searched": record}, anchors=start.anchors)


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
    posterior codes contain. All rows are then refitted once by least squares (`sdlcore.training.refinement`). The
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
    start = _opened(dictionary)
    record = {"rounds": checked("rounds", Rounds, rounds), "n_samples": checked("n_samples", Total, n_samples)}
    record["seed"] = checked("seed", Seed, seed)
    with _rows(x, start.coder, seed) as (source, rows):
        size, in_pass = _size(source, rows)
        number = -(-n_samples // size) if in_pass is None else min(-(-n_samples // size), in_pass)

        def draw(round_: int) -> Tensor:
            return torch.cat([_read(rows, step) for step in range(round_ * number, (round_ + 1) * number)])

        def make(facts: dict[str, Any], keep: Checkpointing | None) -> Dictionary:
            is_posterior = start.coder.config.activation == "posterior"
            coder = (
                copy.deepcopy(start.coder)
                if is_posterior
                else _posterior(start.coder, rows.sample(), n_samples, progress)
            )
            with tqdm(total=last_round(rounds) + 1, unit="round", disable=not progress) as bar:
                generator = torch_stream(seed, "mean shift")
                new_coder, replaced = refine_rows(coder, draw, rounds, generator, _to(bar), keep)
            return Dictionary(new_coder, {**facts, REPLACED: replaced})

        return _make_or_open(start, "refine", {"refined": record}, source, out, make)


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
    latent (`sdlcore.training.logistic`). For an autoencoder with another encoder, these are posterior codes. topk and
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
    start, where = _opened(dictionary), device_of(device)
    checked("activation", Encoder, activation)
    checked("steps", Total, steps)
    l0 = None if l0 is None else _l0_up_to(start.n_q, l0)
    record = {"activation": activation, "l0": l0, "steps": steps, "seed": checked("seed", Seed, seed)}
    if activation != "jumprelu":
        k = start.coder.config.k if l0 is None else l0
        if k is None or k != int(k):
            raise ValueError(f"{activation} needs l0, a whole number of latents that it keeps, found {k}")
        untrained = _with_unit_rows(start.coder, activation, int(k))
        settings: dict[str, Any] = {"steps": steps, "frozen": "decoder", "normalise": True}
        if not is_stream(x):
            with _rows(x, start.coder, seed) as (source, rows):
                settings["batch_size"], _ = _size(source, rows)
        return fit(
            x,
            start=Dictionary(untrained, start.provenance),
            seed=seed,
            device=device,
            progress=progress,
            out=out,
            **settings,
        )
    with _rows(x, start.coder, seed) as (source, rows):

        def make(facts: dict[str, Any], keep: Checkpointing | None) -> Dictionary:
            is_search = start.coder.config.activation in get_args(Searched) or start.coder.config.pursuit
            teacher = (
                copy.deepcopy(start.coder) if is_search else _posterior(start.coder, rows.sample(), N_SAMPLES, progress)
            )
            held_out, draw, further = _divided(source, rows)
            with tqdm(total=steps, unit="step", disable=not progress) as bar:
                new_coder = linear_encoder(teacher.to(where), draw, held_out, steps, further, l0, _to(bar), keep)
            _warn_of_encoder(start.coder, new_coder, held_out, l0)
            return Dictionary(new_coder, facts)

        return _make_or_open(start, "reencode", {"reencoded": record}, source, out, make)


def _opened(dictionary: Dictionary | str | Path) -> Dictionary:
    start = load(dictionary) if isinstance(dictionary, str | Path) else dictionary
    if not isinstance(start, Dictionary):
        raise ValueError(
            f"dictionary is a {type(start).__name__}, expected what sdl.fit or sdl.load returns, or a path"
        )
    if start.pair != "sae":
        raise ValueError(
            f"dictionary is a {start.pair}, but codes by search need an autoencoder, which reads its target"
        )
    refuse_signed(start.coder.sigma, "a search for codes")
    return start


def _l0_up_to(n_q: int, l0: float) -> float:
    """Return an L0; ValueError unless it is above 0 and at most ``n_q``."""
    l0 = checked("l0", Positive, l0)
    if l0 > n_q:
        raise ValueError(f"l0 must be at most n_q = {n_q}, found {l0:g}")
    return l0


@contextmanager
def _rows(x: Any, coder: SparseCoder, seed: int) -> Iterator[tuple[Source, TrainingRows]]:
    """Open samples for a dictionary, in batches; ValueError if their dimensions differ from the dictionary's."""
    if is_pair(x):
        raise ValueError(
            f"x is a {type(x).__name__}, as of several sites, but an autoencoder reads one: expected an array"
        )
    batches = Stream(x) if is_stream(x) else None
    with nullcontext(batches) if batches is not None else stored(x) as source:
        if source.widths[0] != (n_p := coder.W_enc.shape[1]):
            raise ValueError(f"x has {source.widths[0]} dimensions, but the dictionary reads {n_p}")
        size = _batch_size(source.rows) if isinstance(source, Stored) else source.batch_size
        # more steps than any stream has
        config = RunConfig.from_dict({"n_q": coder.config.n_q, "batch_size": size, "steps": 10**9})
        yield source, source.training_rows(config, seed)


def _batch_size(rows: int) -> int:
    """Return the size of batches: 1,024 samples, or fewer so that there are `SHARE` batches."""
    return min(BATCH, max(1, rows // SHARE))


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


def _posterior(coder: SparseCoder, samples: Readable, n_samples: int, progress: bool) -> SparseCoder:
    total = ROUNDS * min(n_samples, samples.rows)
    with tqdm(total=total, unit="sample", disable=not progress) as bar:
        return with_posterior_codes(coder, samples, n_samples, bar.update)


def _size(source: Source, rows: TrainingRows) -> tuple[int, int | None]:
    """Return the number of samples of a batch, and of batches in a pass over all samples if that is known."""
    size = len(rows.batches(0)[0])
    return size, None if source.rows is None else source.rows // size


def _read(rows: TrainingRows, step: int) -> Tensor:
    try:
        return torch.from_numpy(rows.batches(step)[0]).float()
    except NoMoreBatchesError:
        raise ValueError(f"x ended after {step} batches, but more are needed; {ANEW}") from None


def _divided(source: Source, rows: TrainingRows) -> tuple[Tensor, Callable[[int], Tensor], int | None]:
    """Return samples that are held out, a function that returns the samples of a step, and the steps in a pass."""
    size, in_pass = _size(source, rows)
    number = max(1, MOST_HELD_OUT // size) if in_pass is None else max(1, min(MOST_HELD_OUT // size, in_pass // SHARE))
    further = None if in_pass is None else in_pass - number
    if further == 0:
        raise ValueError(f"x has {source.rows} samples, but thresholds need samples that no step reads; give more")
    held_out = torch.cat([_read(rows, step) for step in range(number)])

    def draw(step: int) -> Tensor:
        # always the first pass, whose first batches are held out
        return _read(rows, number + (step if further is None else step % further))

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


def _to(bar: tqdm) -> Callable[[int], object]:
    """Return a function that moves a bar to a step."""
    return lambda step: bar.update(step - bar.n)


def _make_or_open(
    start: Dictionary,
    stage: str,
    record: dict[str, dict[str, Any]],
    source: Source,
    out: str | Path | None,
    make: Callable[[dict[str, Any], Checkpointing | None], Dictionary],
) -> Dictionary:
    """Return the result of ``make``. With ``out``, write it to this folder, or open the finished dictionary there."""
    weights = [np.atleast_1d(part.cpu().numpy()) for part in start.coder.state_dict().values()]
    inputs = {"store": source.digest, "start": digest_of_arrays(*weights)}
    (settings,) = record.values()
    facts = {**start.provenance, **provenance(identity=identity(stage, settings, inputs=inputs)), **record}
    if (origin := source.activations_made_by()) is not None:
        facts["activations"] = origin
    if out is None:
        return make(facts, None)
    folder = run_folder(out)
    run = existing_run(folder, facts)
    if run is not None:
        log_other_computer(folder, run.provenance, facts)
    warn_of_batches(folder, run, source.recorded)
    if run is not None and run.is_finished:
        remove_unfinished(folder)
        return load(folder)
    with unfinished_run(folder):
        dictionary = make(facts, Checkpointing(folder / CHECKPOINT, facts) if source.restarts else None)
        dictionary.save(folder)
    return dictionary
