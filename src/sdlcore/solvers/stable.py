"""Discover anchors without labels: directions that a solver finds in both halves of the data.

A dictionary has atoms that the data ask for and atoms that the start left behind. Two searches, over two halves of the
samples and from two starts, have in common what the data ask for. Nothing here sees labels, classes or true features.
"""

import logging
from functools import partial
from typing import NamedTuple

import numpy as np
import torch

from sdlcore.data.anchors import Anchors
from sdlcore.data.batches import BatchReader, StorePart
from sdlcore.data.memory import Activations
from sdlcore.data.pairs import pair_sites
from sdlcore.random_streams import stream, torch_stream
from sdlcore.solvers.settings import SolverConfig
from sdlcore.solvers.solve import ENCODER_STEPS, find, in_unit
from sdlcore.training import normalisation

log = logging.getLogger(__name__)


class Half(NamedTuple):
    """What a search over one half of the samples found."""

    sites: list[np.ndarray]
    """K x n_p, and K x n_r where there are two representations: unit rows, zero where an atom has no part."""
    energies: np.ndarray
    """K: mean squared code of each atom."""


class Stable(NamedTuple):
    """Directions that both halves have, those of more energy first."""

    anchors: Anchors
    """All of them; of no feature."""
    cosines: np.ndarray
    """How near the two findings of each are: the least over representations."""
    energies: np.ndarray
    """Mean over halves of the mean squared code of each."""
    atoms: tuple[int, int]
    """How many atoms either half has."""


def stable_directions(store: Activations, config: SolverConfig, min_cosine: float, seed: int) -> Stable:
    """Search the halves of a store, and return what they have in common.

    Parameters
    ----------
    store
        Activations to train on.
    config
        Of the solver. Its pair says what directions are: of the input (sae), or of input and target (crosscoder).
    min_cosine
        Two findings are one direction if each is the other half's nearest and their cosine is at least this, in each
        representation.
    seed
        Of order and starts.

    Raises
    ------
    ValueError
        If the solver's pair is a transcoder, whose dictionary is of the target alone, or halves are too small.
    """
    if config.pair == "transcoder":
        raise ValueError("anchors are discovered by a solver with pair sae or crosscoder, found transcoder")
    middle = store.rows // 2
    if middle < 2:
        raise ValueError(f"{store.path}: {store.rows} rows cannot be halved; anchors are discovered on two halves")
    first, second = (
        _search(store, config, slice(*bounds), seed, number)
        for number, bounds in enumerate([(0, middle), (middle, store.rows)])
    )
    return common(first, second, min_cosine)


def common(first: Half, second: Half, min_cosine: float) -> Stable:
    """Return the directions that two halves have in common: each time the mean of the two findings."""
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
    anchors = Anchors(means[0], means[1] if means[1:] else None, None)
    return Stable(anchors, cosines[i, j], energies[order], atoms)


def strongest(stable: Stable, n_anchors: int | None) -> Anchors:
    """Return the stable directions of most energy, or all for None.

    Raises
    ------
    ValueError
        If there are fewer.
    """
    found = len(stable.cosines)
    if found < (n_anchors or 1):
        atoms = " and ".join(map(str, stable.atoms))
        raise ValueError(
            f"{found} directions are stable, n_anchors is {n_anchors or 'all'}; the halves of the data have {atoms} "
            "atoms: lower n_anchors or min_cosine; where samples are noisy, set threshold to 1"
        )
    w_p, w_r, _ = stable.anchors
    return Anchors(w_p[:n_anchors], None if w_r is None else w_r[:n_anchors], None)


def _search(store: Activations, config: SolverConfig, rows: slice, seed: int, number: int) -> Half:
    part = StorePart(store, rows.start, rows.stop)
    sites = pair_sites(config.pair, store.n_p, store.n_r)[1]
    order = partial(stream, seed, "anchors", "order", number)
    reader = BatchReader(part, config.pair, min(config.batch_size, part.rows), order)
    scaling = normalisation.no_scaling(sum(sites), sum(sites))
    if config.normalise:
        scaling = normalisation.fit(part, config.pair)

    def batch(step: int) -> torch.Tensor:
        x = torch.from_numpy(reader(step)[0])
        return scaling(x, x)[1]

    found = find(batch, config, torch_stream(seed, "anchors", "initialisation", number))
    energies, step = torch.zeros(len(found.atoms), dtype=torch.float32), int(found.rows[-1]["step"])
    for later in range(step, step + ENCODER_STEPS):
        codes = found.codes(in_unit(batch(later), found.unit), config)
        energies.index_add_(0, codes.support.columns, codes.values.square() / codes.support.n_samples)
    log.info("rows %d to %d: %d atoms", rows.start, rows.stop - 1, len(energies))
    parts = found.atoms.split(list(sites), dim=1)  # a site's scale is one number, which turns no direction
    mean = (energies / ENCODER_STEPS).numpy()
    if found.unit != 1:  # in float64: squares may be beyond float32
        mean = mean.astype(np.float64) * found.unit**2
    return Half([_unit(part.numpy()) for part in parts], mean)


def _unit(rows: np.ndarray) -> np.ndarray:
    norms = np.linalg.norm(rows, axis=1, keepdims=True)
    return (rows / np.where(norms > 1e-6, norms, np.inf)).astype(np.float32)
