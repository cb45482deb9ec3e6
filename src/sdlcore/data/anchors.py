"""Anchors: directions that some latents are tied to during training (section 4.1)."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple, Self

import numpy as np

from sdlcore.data.directions import check_unit
from sdlcore.data.pairs import all_sites, input_target_more, site_tensors, sites_in
from sdlcore.settings import Json
from sdlcore.storage.checksums import read_with_checksum, write_with_checksum


class Anchors(NamedTuple):
    """Anchors: k directions that latents are tied to, in the input and, if there is a target, in the target."""

    w_p: np.ndarray
    """k x n_p unit vectors in the input representation."""
    w_r: np.ndarray | None
    """k x n_r unit vectors in the target representation, None if the source has no target."""
    feature: np.ndarray | None
    """k integers: index of the reference direction of each anchor; None if they were not drawn from references."""
    more: tuple[np.ndarray, ...] = ()
    """k x width at each further site, from site 2 on. An anchor is zero at the sites where it does not occur."""

    def __repr__(self) -> str:
        """Show the number of anchors, their dimensions and the features that they were drawn from."""
        widths = " and ".join(str(w.shape[1]) for w in self.sites)
        drawn = "" if self.feature is None else f", of features {', '.join(map(str, self.feature))}"
        return f"Anchors({len(self.w_p)} in {widths} dimensions{drawn})"

    @property
    def sites(self) -> tuple[np.ndarray, ...]:
        """The anchors at each site (k x width)."""
        return all_sites(self.w_p, self.w_r, self.more)

    @classmethod
    def of_sites(cls, sites: Sequence[np.ndarray], feature: np.ndarray | None = None) -> Self:
        """Return anchors from their directions at each site (k x width)."""
        w_p, w_r, more = input_target_more(sites)
        return cls(w_p, w_r, feature, more)


def random_anchors(
    sites: Sequence[np.ndarray], n_anchors: int, rng: np.random.Generator, first: int | None = None
) -> Anchors:
    """Draw a random subset of reference directions (eq. 21): ground-truth features, or means of classes.

    The subset is the head of one random order, so a draw of more anchors from the same stream begins with the anchors
    of a draw of fewer.

    Parameters
    ----------
    sites
        n unit directions at each site (width x n).
    n_anchors
        k, at most n.
    rng
        Random generator of the order.
    first
        Draw only from this many first directions, such as the parents of a hierarchy; None for all n.

    Raises
    ------
    ValueError
        If ``n_anchors`` is not between 1 and the number of directions to draw from.
    """
    n = sites[0].shape[1] if first is None else first
    if not 1 <= n_anchors <= n:
        raise ValueError(f"n_anchors must be between 1 and n = {n}, found {n_anchors}")
    index = rng.permutation(n)[:n_anchors].astype(np.int64)
    return Anchors.of_sites([W.T[index] for W in sites], index)


def number_of_anchors(n_anchors: float, n: int) -> int:
    """Return the number of anchors among n directions: ``n_anchors``, or that share of n if below 1, at least one.

    Raises
    ------
    ValueError
        If ``n_anchors`` is neither a whole number from 1 on nor a share.
    """
    if not (0 < n_anchors < 1 or (n_anchors >= 1 and float(n_anchors).is_integer())):
        raise ValueError(f"n_anchors must be a whole number from 1 on, or a share between 0 and 1, found {n_anchors}")
    # rounded first, since int(.29 * 100) is 28
    return max(1, int(round(n_anchors * n, 9))) if n_anchors < 1 else int(n_anchors)


def save_anchors(path: str | Path, anchors: Anchors, provenance: Mapping[str, Json]) -> None:
    """Write anchors as safetensors, with ``provenance`` in the metadata."""
    arrays = site_tensors("w_", anchors.sites)
    if anchors.feature is not None:
        arrays["feature"] = anchors.feature
    write_with_checksum(path, arrays, provenance)


def load_anchors(path: str | Path) -> Anchors:
    """Read anchors from a file that `save_anchors` wrote.

    Raises
    ------
    ValueError
        If the file is damaged, is not an anchor file, or its anchors are not unit vectors; the message names it.
    """
    _, tensors = read_with_checksum(path)
    if "w_p" not in tensors:
        raise ValueError(f"{path}: expected anchors (a tensor w_p), found {', '.join(sorted(tensors))}")
    anchors = Anchors.of_sites(sites_in(tensors, "w_"), tensors.get("feature"))
    check_anchors(path, anchors)
    return anchors


def check_anchors(where: str | Path, anchors: Anchors) -> None:
    """Check that anchors are k unit vectors with k feature indices or none; ValueError, which begins with ``where``."""
    check_unit(where, site_tensors("w_", anchors.sites))
    if anchors.feature is not None and anchors.feature.shape != (len(anchors.w_p),):
        raise ValueError(f"{where}: feature has shape {anchors.feature.shape}, expected {len(anchors.w_p)} indices")
