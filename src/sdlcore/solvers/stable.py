"""Discover anchors without labels: directions that a solver finds in both halves of the data.

A dictionary contains atoms that the data determine and atoms left over from the initialisation. Two searches, on two
halves of the samples and from two initialisations, share only the atoms that the data determine. No search sees
labels, classes or true features.
"""

import logging
from functools import partial
from typing import Annotated, Any, NamedTuple

import numpy as np
import torch
from annotated_types import Gt, Le

from sdlcore.data.anchors import Anchors
from sdlcore.data.arrays import Activations
from sdlcore.data.batches import BatchReader, StorePart
from sdlcore.data.conversion import activations, is_pair
from sdlcore.data.pairs import pair_sites
from sdlcore.model.scaling import no_scaling
from sdlcore.random_streams import stream, torch_stream
from sdlcore.settings import LatentCount, Seed, checked
from sdlcore.solvers.settings import MIN_COSINE, SolverConfig
from sdlcore.solvers.solve import ENCODER_STEPS, find
from sdlcore.training import normalisation

log = logging.getLogger(__name__)

Cosine = Annotated[float, Gt(0), Le(1)]


class Half(NamedTuple):
    """Result of a search over one half of the samples."""

    sites: list[np.ndarray]
    """K x width at each site: unit rows, or zero if an atom has no part there."""
    energies: np.ndarray
    """K: mean squared code of each atom."""


class Stable(NamedTuple):
    """Directions found in both halves, in descending order of energy."""

    anchors: Anchors
    """All of these directions; they belong to no known feature."""
    cosines: np.ndarray
    """Cosine of each direction's two findings; the minimum over representations."""
    energies: np.ndarray
    """Mean squared code of each direction, averaged over halves."""
    atoms: tuple[int, int]
    """Numbers of atoms found in the two halves."""

    def strongest(self, n_anchors: int | None) -> Anchors:
        """Return the ``n_anchors`` directions with the most energy, or all if ``n_anchors`` is None.

        Raises
        ------
        ValueError
            If fewer directions were found.
        """
        n_stable = len(self.cosines)
        if n_stable < (n_anchors or 1):
            atoms = " and ".join(map(str, self.atoms))
            raise ValueError(
                f"only {n_stable} directions are stable, but n_anchors is {n_anchors or 'all'}; the halves of the data "
                f"have {atoms} atoms: lower n_anchors or min_cosine; where samples are noisy, set threshold to 1"
            )
        return Anchors(*(w[:n_anchors] for w in self.anchors.sites))


def stable_directions(store: Activations, config: SolverConfig, min_cosine: float, seed: int) -> Stable:
    """Search both halves of a store, and return the directions found in both.

    Parameters
    ----------
    store
        Activations to train on.
    config
        Solver settings. The pair decides whether directions belong to the input (sae) or to input and
        target (crosscoder).
    min_cosine
        Two findings count as one direction if each is the other's nearest and their cosine is at least this, in each
        representation.
    seed
        Seed of sample orders and initial atoms.

    Raises
    ------
    ValueError
        If the pair is transcoder, whose dictionary covers only the target.
    """
    if config.pair == "transcoder":
        raise ValueError("discovering anchors needs pair sae or crosscoder, found transcoder")
    middle = store.rows // 2
    first, second = (
        _search(store, config, slice(*bounds), seed, number)
        for number, bounds in enumerate([(0, middle), (middle, store.rows)])
    )
    return common_directions(first, second, min_cosine)


def common_directions(first: Half, second: Half, min_cosine: float) -> Stable:
    """Return the directions that two halves share; each is the mean of its two findings."""
    cosines = np.min([a @ b.T for a, b in zip(first.sites, second.sites, strict=True)], axis=0)
    mate, back = cosines.argmax(1), cosines.argmax(0)
    i = np.flatnonzero(back[mate] == np.arange(len(mate)))
    i = i[cosines[i, mate[i]] >= min_cosine]
    j = mate[i]
    energies = (first.energies[i] + second.energies[j]) / 2
    order = np.argsort(-energies, kind="stable")
    i, j = i[order], j[order]
    means = [_unit(a[i] + b[j]) for a, b in zip(first.sites, second.sites, strict=True)]
    atoms = (len(first.energies), len(second.energies))
    return Stable(Anchors(*means), cosines[i, j], energies[order], atoms)


def _search(store: Activations, config: SolverConfig, rows: slice, seed: int, number: int) -> Half:
    part = StorePart(store, rows.start, rows.stop)
    sites = pair_sites(config.pair, *store.widths)[1]
    order = partial(stream, seed, "anchors", "order", number)
    reader = BatchReader(part, config.pair, min(config.batch_size, part.rows), order)
    scaling = no_scaling(sum(sites), sum(sites))
    if config.normalise:
        scaling = normalisation.fit_normalisation(part, config.pair)

    def batch(step: int) -> torch.Tensor:
        x = torch.from_numpy(reader(step)[0])
        return scaling(x, x)[1]

    result = find(batch, config, torch_stream(seed, "anchors", "initialisation", number))
    energies, step = torch.zeros(len(result.atoms), dtype=torch.float32), int(result.rows[-1]["step"])
    for later in range(step, step + ENCODER_STEPS):
        codes = result.codes(batch(later), config)
        energies.index_add_(0, codes.support.columns, codes.values.square() / codes.support.n_samples)
    log.info("rows %d to %d: %d atoms", rows.start, rows.stop - 1, len(energies))
    parts = result.atoms.split(list(sites), dim=1)  # scaling is one number per site, so directions do not change
    return Half([_unit(part.numpy()) for part in parts], (energies / ENCODER_STEPS).numpy())


def _unit(rows: np.ndarray) -> np.ndarray:
    norms = np.linalg.norm(rows, axis=1, keepdims=True)
    return (rows / np.where(norms > 1e-6, norms, np.inf)).astype(np.float32)


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
    n_anchors, min_cosine = (
        checked("n_anchors", LatentCount | None, n_anchors),
        checked("min_cosine", Cosine, min_cosine),
    )
    config = SolverConfig.from_dict({"pair": "crosscoder" if both else "sae", **settings})
    with activations(x, target) as samples:
        return stable_directions(samples, config, min_cosine, seed).strongest(n_anchors)
