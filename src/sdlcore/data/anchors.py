"""Anchors: unit directions that some latents are tied to during training (section 4.1)."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from sdlcore.data.pairs import site_tensors, sites_in
from sdlcore.settings import Json
from sdlcore.storage.checksums import read_with_checksum, write_with_checksum

TOLERANCE = 1e-3
"""Largest difference of a direction's norm from 1; allows for float16 rounding."""


class Anchors:
    """Anchors: k unit directions that latents are tied to.

    Parameters
    ----------
    sites
        k x width arrays: the directions in the input, in the target if there is one, and at each further site. An
        anchor is zero at the sites where it does not occur.
    feature
        k integers: index of the reference direction of each anchor; None if they were not drawn from references.
    """

    def __init__(self, *sites: np.ndarray, feature: np.ndarray | None = None) -> None:
        self.sites, self.feature = sites, feature

    @property
    def w_p(self) -> np.ndarray:
        """k x n_p directions in the input."""
        return self.sites[0]

    @property
    def w_r(self) -> np.ndarray | None:
        """k x n_r directions in the target; None without a target."""
        return self.sites[1] if len(self.sites) > 1 else None

    def __repr__(self) -> str:
        """Show the number of anchors, their dimensions and the features that they were drawn from."""
        widths = " and ".join(str(w.shape[1]) for w in self.sites)
        drawn = "" if self.feature is None else f", of features {', '.join(map(str, self.feature))}"
        return f"Anchors({len(self.w_p)} in {widths} dimensions{drawn})"


def save_anchors(path: str | Path, anchors: Anchors, provenance: Mapping[str, Json]) -> None:
    """Write anchors as safetensors, with ``provenance`` in the metadata."""
    arrays = site_tensors("w_", anchors.sites)
    if anchors.feature is not None:
        arrays["feature"] = anchors.feature
    write_with_checksum(path, arrays, provenance)


def load_anchors(path: str | Path) -> Anchors:
    """Read anchors from a file that `save_anchors` wrote.

    ValueError, which names the file, if it is damaged, is not an anchor file, or its anchors are not unit vectors.
    """
    _, tensors = read_with_checksum(path)
    if "w_p" not in tensors:
        raise ValueError(f"{path}: expected anchors (a tensor w_p), found {', '.join(sorted(tensors))}")
    anchors = Anchors(*sites_in(tensors, "w_"), feature=tensors.get("feature"))
    check_unit(path, site_tensors("w_", anchors.sites))
    return anchors


def check_unit(where: str | Path, sites: Mapping[str, np.ndarray], line: str = "row") -> None:
    """Raise `ValueError` unless k directions are unit vectors. A direction may be zero at some sites, but not at all.

    Parameters
    ----------
    where
        File or argument, for the message.
    sites
        k x width numbers of each site, by the name of its array.
    line
        Whether the named arrays have each vector as a "row" or a "column", for the message.
    """
    first, *_ = sites.values()
    for name, rows in sites.items():
        if rows.dtype.kind != "f" or rows.ndim != 2 or not rows.size or len(rows) != len(first):
            shape = rows.shape if line == "row" else rows.T.shape
            raise ValueError(f"{where}: {name} is {rows.dtype} of shape {shape}, expected a unit vector in each {line}")
        norms = np.linalg.norm(rows.astype(np.float64), axis=1)
        wrong = ~(np.abs(norms - 1) < TOLERANCE) & ~((norms == 0) & (len(sites) > 1))  # also true for NaN
        if wrong.any():
            number = int(np.argmax(wrong))
            raise ValueError(f"{where}: {line} {number} of {name} has norm {norms[number]:.4g}, expected a unit vector")
    absent = ~np.any([rows.any(axis=1) for rows in sites.values()], axis=0)
    if absent.any():
        number = int(np.argmax(absent))
        raise ValueError(f"{where}: {line} {number} is zero at every site, expected a unit vector at one or more")
