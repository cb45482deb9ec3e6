"""Choose the weight of anchors by trial trainings, which use only the training data and the anchors."""

import logging
from collections.abc import Callable

import torch
from torch import Tensor

from sdlcore.model.coder import SparseCoder
from sdlcore.run import RunConfig

log = logging.getLogger(__name__)

WEIGHTS = (0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0)
"""Weights to try, in this order."""
HELD = 0.95
"""Share of the anchors that a decoder column must come near."""
TRIAL, FEWEST = 0.25, 100
"""Steps of a trial: this share of the run's steps, but at least FEWEST (or all steps of a shorter run)."""


def choose_weight(config: RunConfig, share_held: Callable[[RunConfig], float]) -> float:
    """Return the smallest of `WEIGHTS` whose trial holds `HELD` of the anchors, or the largest if none does.

    Parameters
    ----------
    config
        The run's settings; a decoder column is near its anchor if their cosine exceeds ``anchor_cosine``.
    share_held
        Trains with the given settings and returns `anchored_share`. A trial differs from the run only in its weight
        and its number of steps.
    """
    steps = min(config.training.steps, max(FEWEST, int(TRIAL * config.training.steps)))
    for weight in WEIGHTS:
        trial = with_weight(config, weight)
        share = share_held(trial.changed(training=trial.training.changed(steps=steps)))
        log.info("lambda_anchor %g holds %.3f of the anchors after %d steps", weight, share, steps)
        if share >= HELD:
            return weight
    log.warning(
        "anchor_cosine: trials of %d steps with lambda_anchor up to %g did not bring %g of the anchored decoder "
        "columns near enough, so lambda_anchor is %g; train for more steps, or set lambda_anchor yourself",
        steps,
        WEIGHTS[-1],
        HELD,
        WEIGHTS[-1],
    )
    return WEIGHTS[-1]


def with_weight(config: RunConfig, weight: float) -> RunConfig:
    """Return the settings with this weight of anchors, and without ``anchor_cosine``."""
    return config.changed(loss=config.loss.changed(lambda_anchor=weight, anchor_cosine=None))


@torch.no_grad()
def anchored_share(model: SparseCoder, w_r_KR: Tensor, cosine: float) -> float:
    """Return the share of k anchors whose latent's decoder column has a cosine above ``cosine`` with its anchor.

    Parameters
    ----------
    model
        If processes divide its latents, each of them must call this function.
    w_r_KR
        k unit directions in the model's (normalised) units.
    cosine
        Threshold of the signed cosine; the sign matters because latents are never negative.
    """
    latents = model.processes.latents
    w_own_KR = w_r_KR[latents.part(model.config.n_q)].to(model.W_dec.device)
    near = torch.nn.functional.cosine_similarity(model.W_dec[: len(w_own_KR)], w_own_KR) > cosine
    return float(latents.sum(near.sum())) / len(w_r_KR)
