"""Check the inputs of a training against its settings, and warn about trainings that fail."""

import math

import numpy as np

from sdlcore.config import Config, is_centred
from sdlcore.data.anchors import Anchors
from sdlcore.data.batches import Batches, TrainingRows
from sdlcore.data.pairs import pair_sites
from sdlcore.data.references import References
from sdlcore.fitting.start import check_start
from sdlcore.model.coder import SparseCoder
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
    batches: Batches, config: Config, anchors: Anchors | None, start: SparseCoder | None, watch: References | None
) -> None:
    """Raise `ValueError` if the inputs of a training do not match its settings and each other."""
    if watch is not None:
        check_sites("watch", tuple(map(len, watch.sites)), batches, config.pair)
    if start is not None:
        check_start(start, config, pair_sites(config.pair, *batches.widths))
    if batches.rows is not None and config.batch_size > batches.rows:
        n_p = batches.widths[0]
        turned = f", or transpose x if x has {n_p} samples" if n_p > batches.rows else ""
        raise ValueError(
            f"{batches.path}: batch_size {config.batch_size} exceeds its {batches.rows} rows; "
            f"set batch_size to {batches.rows} or less{turned}"
        )
    if (anchors is not None) != config.is_anchored:
        name = "anchor_cosine" if config.anchor_cosine else "lambda_anchor"
        state = "no anchors are given" if anchors is None else "anchors are given"
        raise ValueError(f"{name} is {getattr(config, name)}, but {state}; give both or neither")
    if anchors is not None:
        check_sites("anchors", tuple(w.shape[1] for w in anchors.sites), batches, config.pair)
        if len(anchors.w_p) > config.n_q:
            raise ValueError(f"there are {len(anchors.w_p)} anchors, but n_q is {config.n_q}; raise n_q, or give fewer")


def check_sites(name: str, widths: tuple[int, ...], batches: Batches, pair: str) -> None:
    """Check that directions have the dimensions of the sites that a pair uses; ``name`` is the argument's name."""
    used = slice(1 if pair == "sae" else None)
    if widths[used] != batches.widths[used]:
        found, expected = (" and ".join(map(str, sizes)) for sizes in (widths[used], batches.widths[used]))
        sites = "x has" if pair == "sae" else f"the sites of this {pair} have"
        raise ValueError(f"{name} {'has' if name == 'watch' else 'have'} {found} dimensions, but {sites} {expected}")


def warn_of_penalties(config: Config) -> None:
    """Warn if no penalty keeps the latents sparse, or if the weight of JumpReLU's L0 may be meant as the L0."""
    if config.activation in ("relu", "jumprelu") and not config.penalised:
        terms = config.own_terms
        hint = f"; if {' or '.join(terms)} is one, register it with is_penalty=True" if terms else ""
        warn_at_call(
            f"activation {config.activation} without a penalty leaves latents dense; "
            f'set l1 (or l0), or activation="topk" and k{hint}'
        )
    if config.l0 >= LARGEST_L0_WEIGHT and config.l0_form == "step" and config.target_l0 is None:
        warn_at_call(
            f"l0={config.l0:g} is the weight of JumpReLU's L0 penalty; for {config.l0:g} active latents set "
            f"target_l0={config.l0:g}"
        )


def warn_of_a_mean(batches: Batches, rows: TrainingRows, config: Config) -> None:
    """Warn if samples have a large mean and no normalisation removes it.

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
            f"the mean of the samples is {mean / spread:.2f} times as large as their spread, so many latents may die; "
            "set normalise, which subtracts it"
        )


def warn_of_error(fvu: float, steps: int, run: str) -> None:
    """Warn about a training that failed although its loss is finite; ``run`` is its name among several, or empty."""
    where = f"run {run}: " if run else ""
    if math.isnan(fvu):
        warn_at_call(
            f"{where}the variance of the samples is zero in float32, so there is nothing to explain (fvu is NaN)"
        )
    elif fvu > (LARGEST_FVU if steps >= SETTLED else LARGEST_FVU_OF_A_START):
        warn_at_call(
            f"{where}fvu is {fvu:.3g} at the end of training, worse than the mean alone, which has an fvu of 1; lower "
            "lr, train for more steps, or set normalise"
        )
