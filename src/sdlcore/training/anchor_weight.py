"""Choose the weight of anchors by trial trainings, which see the training data and the anchors and nothing else."""

import logging
from collections.abc import Callable
from dataclasses import replace

import torch
from torch import Tensor

from sdlcore.model.coder import SparseCoder
from sdlcore.run import RunConfig

log = logging.getLogger(__name__)

WEIGHTS = (0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0)
"""The weights that are tried, in this order."""
HELD = 0.95
"""Share of the anchors whose decoder column has to come near."""
TRIAL, FEWEST = 0.25, 100
"""Steps of a trial as a share of the run's, and how many they are at least, unless the run itself has fewer."""


def choose_weight(config: RunConfig, share_held: Callable[[RunConfig], float]) -> float:
    """Return the smallest of `WEIGHTS` with which a trial holds `HELD` of the anchors, or the largest if none does.

    Parameters
    ----------
    config
        The run's settings, whose ``anchor_cosine`` says how near is near.
    share_held
        Trains with other settings and returns the `anchored_share`. A trial differs from the run in its weight and its
        number of steps.
    """
    steps = min(config.training.steps, max(FEWEST, int(TRIAL * config.training.steps)))
    for weight in WEIGHTS:
        trial = with_weight(config, weight)
        share = share_held(replace(trial, training=replace(trial.training, steps=steps)))
        log.info("lambda_anchor %g holds %.3f of the anchors after %d steps", weight, share, steps)
        if share >= HELD:
            return weight
    log.warning(
        "anchor_cosine: in trials of %d steps no lambda_anchor up to %g brought %g of the anchored decoder columns "
        "near enough, so %g is taken; train for more steps, or set lambda_anchor yourself",
        steps,
        WEIGHTS[-1],
        HELD,
        WEIGHTS[-1],
    )
    return WEIGHTS[-1]


def with_weight(config: RunConfig, weight: float) -> RunConfig:
    """Return the settings of a run whose weight of anchors is given."""
    return replace(config, loss=replace(config.loss, lambda_anchor=weight, anchor_cosine=None))


@torch.no_grad()
def anchored_share(model: SparseCoder, w_r_KR: Tensor, cosine: float) -> float:
    """Return the share of k anchors whose latent's decoder column comes nearer than ``cosine`` to it.

    Parameters
    ----------
    model
        Where processes divide its latents, each calls this.
    w_r_KR
        k unit directions, as the model sees them.
    cosine
        A threshold of the signed cosine: a latent is never negative.
    """
    latents = model.processes.latents
    own = w_r_KR[latents.part(model.config.n_q)].to(model.W_dec.device)
    near = torch.nn.functional.cosine_similarity(model.W_dec[: len(own)], own) > cosine
    return float(latents.sum(near.sum())) / len(w_r_KR)
