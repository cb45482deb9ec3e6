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
    tensors = read_directions(path, "w_")
    return Anchors(*sites_in(tensors, "w_"), feature=tensors.get("feature"))


def read_directions(path: str | Path, prefix: str) -> dict[str, np.ndarray]:
    """Read the tensors of a file whose sites (`sites_in`) are unit directions: in rows for w_, in columns for W_."""
    _, tensors = read_with_checksum(path)
    if f"{prefix}p" not in tensors:
        raise ValueError(f"{path}: expected a tensor {prefix}p, found {', '.join(sorted(tensors))}")
    check_unit(path, site_tensors(prefix, sites_in(tensors, prefix)), "row" if prefix == "w_" else "column")
    return tensors


def check_unit(where: str | Path, sites: Mapping[str, np.ndarray], line: str = "row") -> None:
    """Raise `ValueError` unless k directions are unit vectors. A direction may be zero at some sites, but not at all.

    Parameters
    ----------
    where
        File or argument, for the message.
    sites
        Numbers of each site, by the name of its array: k x width, or width x k.
    line
        Whether each vector is a "row" or a "column".
    """
    axis = 0 if line == "row" else 1
    first, *_ = sites.values()
    for name, values in sites.items():
        if values.dtype.kind != "f" or values.ndim != 2 or not values.size or values.shape[axis] != first.shape[axis]:
            found = f"{name} is {values.dtype} of shape {values.shape}"
            raise ValueError(f"{where}: {found}, expected a unit vector in each {line}, and as many at every site")
        norms = np.linalg.norm(values.astype(np.float64), axis=1 - axis)
        wrong = ~(np.abs(norms - 1) < TOLERANCE) & ~((norms == 0) & (len(sites) > 1))  # also true for NaN
        if wrong.any():
            number = int(np.argmax(wrong))
            raise ValueError(f"{where}: {line} {number} of {name} has norm {norms[number]:.4g}, expected a unit vector")
    absent = ~np.any([values.any(axis=1 - axis) for values in sites.values()], axis=0)
    if absent.any():
        number = int(np.argmax(absent))
        raise ValueError(f"{where}: {line} {number} is zero at every site, expected a unit vector at one or more")
