"""Train one dictionary: scale activations, draw the model, train it, and fold the scaling into its weights."""

import logging
from collections.abc import Callable, Sequence
from threading import Event

import torch
from torch import Tensor

from sdlcore.config import Config, is_centred
from sdlcore.data.anchors import Anchors
from sdlcore.data.batches import TrainingRows
from sdlcore.data.pairs import make_direction_pair, pair_sites
from sdlcore.model.coder import SparseCoder
from sdlcore.model.scaling import Scaling, no_scaling
from sdlcore.model.scaling import directions as scaled_directions
from sdlcore.processes import ALONE, Processes
from sdlcore.random_streams import torch_stream
from sdlcore.training import normalisation
from sdlcore.training.distributed import share
from sdlcore.training.history import Row, Sink, Watch
from sdlcore.training.initialise import initial_model, start_from_model
from sdlcore.training.loop import Callback, Checkpointing, train

log = logging.getLogger(__name__)

ANCHOR_WEIGHTS = (0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0)
"""Weights to try, in this order."""
REQUIRED_SHARE = 0.95
"""Share of the anchors that a decoder column must come near."""
TRIAL_SHARE, FEWEST_TRIAL_STEPS = 0.25, 100
"""Steps of a trial: this share of the run's steps, but at least FEWEST_TRIAL_STEPS (or all steps of a shorter run)."""


# even if a notebook has switched gradients off, as many that inspect models do
@torch.inference_mode(False)
@torch.enable_grad()
def train_dictionary(
    rows: TrainingRows,
    config: Config,
    seed: int,
    device: torch.device,
    anchors: Anchors | None = None,
    start: SparseCoder | None = None,
    sinks: Sequence[Sink] = (),
    watch: Watch | None = None,
    checkpoints: Checkpointing | None = None,
    processes: Processes = ALONE,
    stop: Event | None = None,
    callbacks: Sequence[Callback] = (),
) -> tuple[SparseCoder, list[Row]]:
    """Train a dictionary of raw activations; return it with the history of its training.

    Parameters
    ----------
    rows
        Activations to train on.
    config, seed
        Settings, and the seed of initial weights and resampling.
    device
        Device to train on; the dictionary stays there.
    anchors
        Directions that the first latents are anchored to.
    start
        A model whose latents initialise the first latents.
    sinks, watch, checkpoints, stop, callbacks
        As in `sdlcore.training.loop.train`.
    processes
        Processes that train the dictionary together. Each gets the whole dictionary.

    Raises
    ------
    ValueError, DivergedError, KeyboardInterrupt, SystemExit
        As in `sdlcore.training.loop.train`.
    """
    pair = config.pair
    sites = pair_sites(pair, *rows.widths)
    scaling: Scaling
    if config.whiten:
        scaling = normalisation.fit_whitening(rows.sample(), pair)
    elif config.normalise:
        scaling = normalisation.fit_normalisation(rows.sample(), pair)
    else:
        scaling = no_scaling(*(sum(widths) for widths in sites))

    if start is not None and is_centred(config.to_dict()) and config.decoder_norm == "free":
        scaling = normalisation.with_latents_of(scaling, start)

    def initial() -> SparseCoder:
        model = initial_model(config.model, rows.widths, seed, scaling, rows.sample)
        if start is not None:
            start_from_model(model, start, scaling)
        if processes.size > 1:
            share(model, processes)
        return model.to(device)

    directions = None
    if anchors is not None:
        w_p, w_r = make_direction_pair(pair, *anchors.sites)
        directions = (torch.from_numpy(w_p), torch.from_numpy(w_r))
    near = config.anchor_cosine
    if near is not None:
        assert directions is not None, "anchor_cosine needs anchors"
        _, w_r_KR = scaled_directions(scaling, *directions)

        def share_held(trial: Config) -> float:
            model = initial()
            generator = torch_stream(seed, "resampling")
            train(model, rows.batches, trial, generator, scaling, directions)
            return anchored_share(model, w_r_KR, near)

        weight = choose_weight(config, share_held)
        config, watch = with_weight(config, weight), _with_weight_column(watch, weight)
    model = initial()
    history = train(
        model,
        rows.batches,
        config,
        torch_stream(seed, "resampling"),
        scaling,
        directions,
        checkpointing=checkpoints,
        sinks=sinks,
        watch=watch,
        stop=stop,
        callbacks=callbacks,
    )
    model.processes = ALONE
    scaling.to(model.W_enc.device).fold(model)
    return model, history


def _with_weight_column(watch: Watch | None, weight: float) -> Watch:
    """Return a watch that also reports the weight of the anchors."""
    return lambda rows: {**(watch(rows) if watch else {}), "lambda_anchor": weight}


def choose_weight(config: Config, share_held: Callable[[Config], float]) -> float:
    """Return the smallest weight whose trial holds `REQUIRED_SHARE` of the anchors, or the last of `ANCHOR_WEIGHTS`.

    Parameters
    ----------
    config
        The run's settings; a decoder column is near its anchor if their cosine exceeds ``anchor_cosine``.
    share_held
        Trains with the given settings and returns `anchored_share`. A trial differs from the run only in its weight
        and its number of steps.
    """
    steps = min(config.steps, max(FEWEST_TRIAL_STEPS, int(TRIAL_SHARE * config.steps)))
    for weight in ANCHOR_WEIGHTS:
        trial = with_weight(config, weight)
        share = share_held(trial.changed(steps=steps))
        log.info("lambda_anchor %g holds %.3f of the anchors after %d steps", weight, share, steps)
        if share >= REQUIRED_SHARE:
            return weight
    log.warning(
        "anchor_cosine: trials of %d steps with lambda_anchor up to %g did not bring %g of the anchored decoder "
        "columns near enough, so lambda_anchor is %g; train for more steps, or set lambda_anchor yourself",
        steps,
        ANCHOR_WEIGHTS[-1],
        REQUIRED_SHARE,
        ANCHOR_WEIGHTS[-1],
    )
    return ANCHOR_WEIGHTS[-1]


def with_weight(config: Config, weight: float) -> Config:
    """Return the settings with this weight of anchors, and without ``anchor_cosine``."""
    return config.changed(lambda_anchor=weight, anchor_cosine=None)


@torch.no_grad()
def anchored_share(model: SparseCoder, w_r_KR: Tensor, cosine: float) -> float:
    """Return the share of k anchors whose latent's decoder column has a cosine above ``cosine`` with its anchor.

    Parameters
    ----------
    model
        A trained model.
    w_r_KR
        k unit directions in the model's (normalised) units.
    cosine
        Threshold of the signed cosine; the sign matters because latents are never negative.
    """
    near = torch.nn.functional.cosine_similarity(model.W_dec[: len(w_r_KR)], w_r_KR.to(model.W_dec.device)) > cosine
    return float(near.sum()) / len(w_r_KR)
