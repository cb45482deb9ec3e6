"""Check what a run is given against its settings, before anything is trained, and warn of what comes to nothing."""

import math
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import fields
from typing import Any

import numpy as np

from sdlcore.api.sources import Source
from sdlcore.api.streams import ANEW
from sdlcore.data.anchors import Anchors
from sdlcore.data.pairs import pair_sites
from sdlcore.data.references import References
from sdlcore.model.coder import SparseCoder
from sdlcore.model.finite import not_finite
from sdlcore.plugins.plugin_settings import own_settings
from sdlcore.run import RunConfig, is_centred
from sdlcore.settings import used
from sdlcore.solvers.settings import SolverConfig

SETTLED = 100
"""Steps after which a training has left its start behind."""
LARGEST_FVU, LARGEST_FVU_OF_A_START = 1.05, 2.0
"""Unexplained variances that a sound training does not end with, after so many steps and after fewer."""
LOOKED_AT = 1000
"""Samples whose mean and spread are compared."""


def check_inputs(
    source: Source,
    config: RunConfig | SolverConfig,
    anchors: Anchors | None,
    start: SparseCoder | None,
    watch: References | None,
) -> None:
    """Refuse inputs that do not fit the settings, or each other.

    Raises
    ------
    ValueError
        Naming the input or the setting that is wrong.
    """
    if watch is not None and len(watch.W_p) != source.n_p:
        raise ValueError(f"watch has {len(watch.W_p)} dimensions, but x has {source.n_p}")
    if isinstance(config, SolverConfig):
        source.stored(f"solver {config.solver} reads all samples several times")
        _check_start(start, *pair_sites(config.pair, source.n_p, source.n_r))
        return
    pair, n_q, batch_size = config.model.pair, config.model.n_q, config.training.batch_size
    _check_start(start, *pair_sites(pair, source.n_p, source.n_r), n_q)
    if start is not None and config.model.center and start.b_enc.any():
        raise ValueError("center would take the place of the encoder biases of start; leave center out")
    if source.rows is not None and batch_size > source.rows:
        turned = f", or transpose it if it has {source.n_p} samples" if source.n_p > source.rows else ""
        raise ValueError(
            f"{source.path}: batch_size {batch_size} exceeds its {source.rows} rows; "
            f"set batch_size to {source.rows} or less{turned}"
        )
    if config.loss.anchor_cosine is not None and not source.restarts:
        raise ValueError("anchor_cosine trains several times, but x is an iterator, which is read once; " + ANEW)
    if (anchors is not None) != config.loss.anchors:
        weight = config.loss.anchor_cosine or config.loss.lambda_anchor
        name = "anchor_cosine" if config.loss.anchor_cosine else "lambda_anchor"
        if anchors is None:
            raise ValueError(f"{name} is {weight}, but no anchors are given; give anchors, or leave {name} out")
        raise ValueError(f"{name} is {weight}, but anchors are given; leave {name} out for its default, or the anchors")
    if anchors is not None:
        _check_anchors(anchors, source, pair, n_q)


def _check_anchors(anchors: Anchors, source: Source, pair: str, n_q: int) -> None:
    w_p, w_r, _ = anchors
    if w_p.shape[1] != source.n_p:
        raise ValueError(f"anchors have {w_p.shape[1]} dimensions, but x has {source.n_p}")
    if len(w_p) > n_q:
        raise ValueError(f"there are {len(w_p)} anchors, but n_q is {n_q}; raise n_q, or give fewer")
    if pair == "sae":
        return
    if w_r is None:
        raise ValueError(f"anchors are of x alone, but pair {pair} needs them of the target, too; give both arrays")
    if len(w_r) != len(w_p):
        raise ValueError(f"there are {len(w_p)} anchors of x, but {len(w_r)} of the target; expected pairs")
    if w_r.shape[1] != source.n_r:
        raise ValueError(f"anchors of the target have {w_r.shape[1]} dimensions, but it has {source.n_r}")


def _check_start(
    start: SparseCoder | None, sites_p: tuple[int, ...], sites_r: tuple[int, ...], n_q: int | None = None
) -> None:
    """Check what a training starts from, which gives n_q latents at most, or, for a solver, atoms alone."""
    if start is None:
        return
    if broken := not_finite(start.state_dict()):
        raise ValueError(f"start: {broken}, expected finite weights; start from a dictionary whose training converged")
    (n, found_p), found_r = start.W_enc.shape, start.W_dec.shape[1]
    if found_r != sum(sites_r) or (n_q is not None and found_p != sum(sites_p)):
        raise ValueError(
            f"start maps {found_p} to {found_r} dimensions, but what is given has {sum(sites_p)} and {sum(sites_r)}"
        )
    if n_q is not None and n > n_q:
        raise ValueError(f"start has {n} latents, but n_q is {n_q}; raise n_q")


def warn_of_dense(config: RunConfig) -> None:
    """Warn of an activation that nothing keeps sparse."""
    if config.model.activation in ("relu", "jumprelu") and not config.loss.penalised:
        warnings.warn(
            f"activation {config.model.activation} without a penalty leaves latents dense; "
            'set l1 (or l0), or activation="topk" and k',
            stacklevel=4,
        )


def warn_of_a_mean(source: Source, config: RunConfig, name: str = "") -> None:
    """Warn of a mean that all samples share, where no part of the dictionary takes it away; ``name`` is a run's."""
    if is_centred(config.to_dict()) or config.model.bias:
        return
    first = source.first_samples(LOOKED_AT).astype(np.float64)
    mean, spread = np.linalg.norm(first.mean(0)), np.sqrt(first.var(0).sum())
    if mean > spread > 0:
        warnings.warn(
            f"{_in_run(name)}samples share a mean that is {mean / spread:.2f} times as long as their spread; "
            "set normalise, which takes it away",
            stacklevel=5,
        )


def warn_of_unused(config: RunConfig, given: Mapping[str, Any]) -> None:
    """Warn of what belongs to a part that the dictionary does not have, such as another activation, or comes too late.

    An error would break loops over activations that give each the settings of all.
    """
    said = []
    for part in (config.model, config.loss, config.training):
        for field in fields(part):
            setting, values = field.metadata.get("used_by", (None, ()))
            is_set = field.name in given and getattr(part, field.name) != field.default
            if setting is not None and is_set and field.name not in used(part):
                said.append(f"{field.name} has no effect without {setting} {' or '.join(values)}".strip())
    said += _unused_of_plugins(config, given)
    training = config.training
    last = math.floor(training.resample_until * training.steps)
    if training.resample_every and training.resample_every > last:
        said.append(f"resample_every is {training.resample_every}, but none is resampled after step {last}")
    if said:
        warnings.warn("; ".join(said), stacklevel=4)


def _unused_of_plugins(config: RunConfig, given: Mapping[str, Any]) -> Iterator[str]:
    """Yield a sentence for each plugin's setting without an effect. As for ours, one at its default is no mistake."""
    known = config.to_dict()
    theirs = own_settings("activation", "loss term") if given.keys() - known.keys() else {}
    for name in (name for name in given if name in theirs and name not in known):
        of = [extension for extension, _ in theirs[name]]
        value = tuple(given[name]) if isinstance(given[name], list) else given[name]
        if value in [field.default for one in of for field in fields(one.settings) if field.name == name]:
            continue
        if any(one.kind == "activation" for one in of):
            yield f"{name} has no effect on activation {config.model.activation}"
        else:
            yield f"{name} has no effect without {' or '.join(one.name for one in of)}"


def warn_of_error(fvu: float, steps: int, name: str = "") -> None:
    """Warn of a training that ended with a finite loss and is of no use all the same; one of several by its name."""
    where = _in_run(name)
    if math.isnan(fvu):
        said = f"{where}the variance of the samples is zero in float32, so there is nothing to explain (fvu is NaN)"
        warnings.warn(f"{said}; if samples differ by less than 1e-19, set normalise", stacklevel=5)
    elif fvu > (LARGEST_FVU if steps >= SETTLED else LARGEST_FVU_OF_A_START):
        said = f"{where}fvu is {fvu:.3g} at the end of training: the mean alone reconstructs better, with an fvu of 1"
        warnings.warn(f"{said}; lower lr, train for more steps, or set normalise", stacklevel=5)


def _in_run(name: str) -> str:
    """Return what a warning begins with, where there are several runs."""
    return f"run {name}: " if name else ""
