"""Check the inputs and settings of a run before training, and warn about useless settings and failed trainings."""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from sdlcore.api.streams import ANEW
from sdlcore.config import Config, ModelConfig, is_centred
from sdlcore.data.anchors import Anchors
from sdlcore.data.batches import Batches, TrainingRows
from sdlcore.data.pairs import pair_sites
from sdlcore.data.references import References
from sdlcore.model.coder import SparseCoder
from sdlcore.model.finite import not_finite
from sdlcore.settings import default_of
from sdlcore.solvers.settings import SolverConfig
from sdlcore.user_warnings import warn_at_call

SETTLED = 100
"""Number of steps after which the initial weights no longer matter."""
LARGEST_FVU, LARGEST_FVU_OF_A_START = 1.05, 2.0
"""Fraction of variance unexplained (FVU) above which a training counts as failed: after `SETTLED` steps or more, and
after fewer."""
LARGEST_MEAN = 0.5
"""Ratio of the mean's norm to the spread (root mean squared distance from the mean) above which fit warns."""
LARGEST_L0_WEIGHT = 5.0
"""fit warns if l0 is this or more: it weights JumpReLU's penalty, but may be meant as a number of active latents."""
LOOKED_AT = 1000
"""Number of samples to compare mean and spread."""


def check_inputs(
    batches: Batches,
    config: Config | SolverConfig,
    anchors: Anchors | None,
    start: SparseCoder | None,
    watch: References | None,
) -> None:
    """Check that inputs match the settings and each other.

    Raises
    ------
    ValueError
        If they do not; the message names the input or setting.
    """
    pair = config.pair
    sites = pair_sites(pair, *batches.widths)
    if watch is not None:
        _check_sites("watch", tuple(map(len, watch.sites)), batches, pair)
    if isinstance(config, SolverConfig):
        batches.all_samples(f"solver {config.solver} reads all samples several times")
        _check_start(start, pair, *sites)
        return
    n_q, batch_size = config.n_q, config.batch_size
    _check_start(start, pair, *sites, n_q)
    if start is not None:
        _check_initial_weights(start, config.model)
    if batches.rows is not None and batch_size > batches.rows:
        n_p = batches.widths[0]
        turned = f", or transpose x if x has {n_p} samples" if n_p > batches.rows else ""
        raise ValueError(
            f"{batches.path}: batch_size {batch_size} exceeds its {batches.rows} rows; "
            f"set batch_size to {batches.rows} or less{turned}"
        )
    if config.anchor_cosine is not None and not batches.restarts:
        raise ValueError("anchor_cosine trains several times, but x is an iterator, which is read once; " + ANEW)
    if (anchors is not None) != config.anchors:
        weight = config.anchor_cosine or config.lambda_anchor
        name = "anchor_cosine" if config.anchor_cosine else "lambda_anchor"
        if anchors is None:
            raise ValueError(f"{name} is {weight}, but no anchors are given; give anchors, or leave {name} out")
        raise ValueError(
            f"{name} is {weight}, but anchors are given; leave out {name} (for its default) or the anchors"
        )
    if anchors is not None:
        _check_sites("anchors", tuple(w.shape[1] for w in anchors.sites), batches, pair)
        if len(anchors.w_p) > n_q:
            raise ValueError(f"there are {len(anchors.w_p)} anchors, but n_q is {n_q}; raise n_q, or give fewer")


def _check_sites(name: str, widths: tuple[int, ...], batches: Batches, pair: str) -> None:
    """Check that directions have the dimensions of the sites that a pair uses; ``name`` is the argument's name."""
    have, are = ("has", "is") if name == "watch" else ("have", "are")
    if widths[0] != batches.widths[0]:
        raise ValueError(f"{name} {have} {widths[0]} dimensions, but x has {batches.widths[0]}")
    if pair == "sae":
        return
    if len(widths) < 2:
        raise ValueError(
            f"{name} {are} only for x, but pair {pair} also needs directions for the target; give both arrays"
        )
    if widths[1] != batches.widths[1]:
        raise ValueError(f"{name} for the target {have} {widths[1]} dimensions, but the target has {batches.widths[1]}")
    if widths != batches.widths:
        raise ValueError(f"{name} {have} sites of {widths} dimensions, but x has sites of {batches.widths}")


def _check_start(
    start: SparseCoder | None, pair: str, sites_p: tuple[int, ...], sites_r: tuple[int, ...], n_q: int | None = None
) -> None:
    """Check the dictionary that a training (given ``n_q``) or a solver (``n_q`` None) starts from."""
    if start is None:
        return
    if broken := not_finite(start.state_dict()):
        raise ValueError(f"start: {broken}, expected finite weights; start from a dictionary whose training converged")
    if n_q is not None and start.config.pair != pair:
        raise ValueError(f"start has the pair {start.config.pair}, but the inputs are for pair {pair}")
    (n, found_p), found_r = start.W_enc.shape, start.W_dec.shape[1]
    if found_r != sum(sites_r) or (n_q is not None and found_p != sum(sites_p)):
        raise ValueError(
            f"start maps {found_p} to {found_r} dimensions, but the inputs have {sum(sites_p)} and {sum(sites_r)}"
        )
    if n_q is not None and n > n_q:
        raise ValueError(f"start has {n} latents, but n_q is {n_q}; raise n_q")


def _check_initial_weights(start: SparseCoder, config: ModelConfig) -> None:
    """Check that no setting replaces the weights that a training takes from its start."""
    if config.init_l0 is not None and config.activation == start.config.activation:
        parameters = "thresholds" if config.activation == "jumprelu" else "encoder biases"
        raise ValueError(f"init_l0 would replace the {parameters} of start; leave init_l0 out")
    if start.config.skip and not config.skip and start.W_skip.any():
        raise ValueError("skip is False, but start has a linear path (W_skip); leave skip out")


def warn_of_dense(config: Config) -> None:
    """Warn if no penalty keeps the latents sparse."""
    if config.activation in ("relu", "jumprelu") and not config.penalised:
        terms = config.own_terms
        hint = f"; if {' or '.join(terms)} is one, register it with rises=True" if terms else ""
        warn_at_call(
            f"activation {config.activation} without a penalty leaves latents dense; "
            f'set l1 (or l0), or activation="topk" and k{hint}'
        )


def warn_of_l0_weight(config: Config) -> None:
    """Warn if the weight of JumpReLU's L0 penalty is so large that it may be meant as the L0."""
    loss = config
    if loss.l0 >= LARGEST_L0_WEIGHT and loss.l0_form == "step" and loss.target_l0 is None:
        warn_at_call(
            f"l0={loss.l0:g} is the weight of JumpReLU's L0 penalty; for {loss.l0:g} active latents set "
            f"target_l0={loss.l0:g}"
        )


def warn_of_a_mean(batches: Batches, rows: TrainingRows, config: Config, name: str = "") -> None:
    """Warn if samples have a large mean and no normalisation removes it; ``name`` is the run's.

    The ratio of mean to spread predicts how many latents die (Simon, Adams and Zou 2026, arXiv 2605.31518). ``bias``
    does not help (resources/kept/dead_by_mean.csv).
    """
    if is_centred(config.to_dict()):
        return
    samples = batches.samples
    first = rows.batches(0)[0][:LOOKED_AT] if samples is None else samples.read("input", 0, LOOKED_AT)
    first = first.astype(np.float64)
    mean, spread = np.linalg.norm(first.mean(0)), np.sqrt(first.var(0).sum())
    if mean > LARGEST_MEAN * spread > 0:
        warn_at_call(
            f"{_in_run(name)}the mean of the samples is {mean / spread:.2f} times as large as their spread, so many "
            "latents may die; set normalise, which subtracts it"
        )


def warn_of_no_folder(*settings_of_runs: Mapping[str, Any]) -> None:
    """Warn about settings of checkpoints in a call without ``out``, the folder that keeps them."""
    usual = default_of(Config, "checkpoint_every")
    if any(settings.get("checkpoint_every", usual) != usual for settings in settings_of_runs):
        warn_at_call("checkpoint_every has no effect without out, the folder of the checkpoints")


def warn_of_error(fvu: float, steps: int, centred: bool, name: str = "") -> None:
    """Warn about a training that failed although its loss is finite; ``name`` is the run's, if there are several.

    ``centred``: whether the run normalises or whitens activations.
    """
    where = _in_run(name)
    if math.isnan(fvu):
        message = f"{where}the variance of the samples is zero in float32, so there is nothing to explain (fvu is NaN)"
        advice = "" if centred else "; if samples differ by less than 1e-19, set normalise"
        warn_at_call(message + advice)
    elif fvu > (LARGEST_FVU if steps >= SETTLED else LARGEST_FVU_OF_A_START):
        message = f"{where}fvu is {fvu:.3g} at the end of training, worse than the mean alone, which has an fvu of 1"
        advice = "lower lr, or train for more steps" if centred else "lower lr, train for more steps, or set normalise"
        warn_at_call(f"{message}; {advice}")


def _in_run(name: str) -> str:
    """Return the beginning of a warning: the run's name, or nothing for a single run."""
    return f"run {name}: " if name else ""
