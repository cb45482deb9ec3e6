"""Anchors and references: class means, directions that a solver discovers, or the user's own rows."""

from typing import Annotated, Any

import numpy as np
from annotated_types import Gt, Le

from sdlcore.data.anchors import Anchors, check_anchors
from sdlcore.data.directions import check_unit
from sdlcore.data.inputs import activations, floats, is_pair
from sdlcore.data.pairs import input_target_more
from sdlcore.data.recovery_rule import recovered
from sdlcore.data.references import References, check_references, means_of_classes
from sdlcore.data.settings import ClassMeans
from sdlcore.settings import Latents, Seed, checked, default_of
from sdlcore.solvers.settings import MIN_COSINE, SolverConfig
from sdlcore.solvers.stable import stable_directions
from sdlcore.user_warnings import warn_at_call

Cosine = Annotated[float, Gt(0), Le(1)]


def class_means(
    x: Any,
    labels: Any,
    target: Any = None,
    *,
    centred: bool = default_of(ClassMeans, "centred"),
    min_class_size: int = default_of(ClassMeans, "min_class_size"),
) -> References:
    """Compute class means as unit vectors (eq. 22 and 23): references for `evaluate`, and to choose anchors from.

    Parameters
    ----------
    x, target
        Activations, as in `fit`.
    labels
        N class numbers, below zero for no class, or N names, empty or missing for no class; None for a store, which
        contains its own.
    centred
        Subtract the mean of all activations first, as training with ``normalise`` does.
    min_class_size
        Classes with fewer samples are left out.

    Raises
    ------
    ValueError
        If fewer than two classes are left.
    """
    settings = ClassMeans.from_dict({"centred": centred, "min_class_size": min_class_size})
    with activations(x, target, labels) as samples:
        means, listed = means_of_classes(samples, settings.centred, settings.min_class_size)
    nearest = float(np.nanmedian(listed["cosine"]))
    if recovered(nearest):
        warn_at_call(
            f"class means are nearly parallel (median cosine with the nearest other class: {nearest:.3f}), so a latent "
            "that matches one matches others; leave centred and normalise at True"
        )
    return means


def discover(
    x: Any,
    n_anchors: int | None = None,
    target: Any = None,
    *,
    min_cosine: float = MIN_COSINE,
    seed: int = 0,
    **settings: Any,
) -> Anchors:
    """Find anchors without labels: directions that a solver finds in both halves of the data.

    Parameters
    ----------
    x, target
        Activations, as in `fit`.
    n_anchors
        Number of anchors, in order of decreasing energy; None for all stable directions.
    min_cosine
        Two directions with a larger cosine count as the same one.
    seed
        Seed of the order of samples and the starting points.
    **settings
        Settings of the solver (`sdlcore.solvers.settings`), such as ``solver``, which is acs by default.

    Raises
    ------
    ValueError
        If there are fewer stable directions than ``n_anchors``.
    """
    both, seed = target is not None or is_pair(x), checked("seed", Seed, seed)
    n_anchors, min_cosine = checked("n_anchors", Latents | None, n_anchors), checked("min_cosine", Cosine, min_cosine)
    config = SolverConfig.from_dict({"pair": "crosscoder" if both else "sae", **settings})
    with activations(x, target) as samples:
        return stable_directions(samples, config, min_cosine, seed).strongest(n_anchors)


def as_anchors(values: Any) -> Anchors:
    """Convert an argument to anchors: anchors, an array of unit rows, or a list with such an array for each site.

    Raises
    ------
    ValueError
        If rows are not unit vectors.
    """
    if isinstance(values, References):
        number = values.W_p.shape[1]
        raise ValueError(
            f"anchors are {number} references, expected anchors; choose some or all of them by .choose({number}, seed)"
        )
    if not isinstance(values, Anchors):
        return Anchors.of_sites(_unit_rows(values, "anchors"))
    check_anchors("anchors", values)
    return values


def as_references(values: Any, name: str) -> References:
    """Convert an argument to references: references, an array of unit rows, or a list with one for each site.

    ``name`` is the argument's name in messages.

    Raises
    ------
    ValueError
        If rows are not unit vectors.
    """
    if isinstance(values, References):
        check_references(name, values)
        return values
    W_p, W_r, more = input_target_more(w.T for w in _unit_rows(values, name))
    return References(W_p, W_r, more=more)


def _unit_rows(values: Any, name: str) -> list[np.ndarray]:
    rows = [floats(part, name) for part in (values if is_pair(values) else (values,))]
    for part in rows:
        if part.ndim == 2 and len(part) != part.shape[1] and np.allclose(np.linalg.norm(part, axis=0), 1, atol=1e-3):
            raise ValueError(f"{name}: columns of {part.shape} are unit vectors, expected rows; transpose the array")
    check_unit(name, {"rows" if len(rows) == 1 else f"site {site}": part for site, part in enumerate(rows)})
    return [part.astype(np.float32) for part in rows]
