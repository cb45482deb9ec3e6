"""Reference directions, which dictionaries are evaluated against and anchors are drawn from.

The references of a bench are its true features. The references of real activations with labels are the class means (eq.
22 and 23). Class means are not claimed to be true features, but a dictionary of the data can be expected to contain
them.
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from sdlcore.data.anchors import Anchors, check_unit, read_directions
from sdlcore.data.arrays import ROWS_AT_ONCE, Activations
from sdlcore.data.pairs import site_columns, site_tensors, sites_in
from sdlcore.data.recovery_rule import recovered
from sdlcore.random_streams import stream
from sdlcore.settings import Json, Seed, checked
from sdlcore.storage.checksums import write_with_checksum
from sdlcore.text import listed, short_text
from sdlcore.user_warnings import warn_at_call


class References:
    """References: n unit directions to evaluate dictionaries against, such as true features or class means.

    Parameters
    ----------
    sites
        width x n arrays: the directions in the input (n_p x n), in the target if there is one, and at each further
        site. A direction is zero at the sites where it does not occur.
    classes
        Class index of each direction (n); None if the directions are not class means.
    class_names
        Names of all classes, including classes that were left out; None to use the class indices as names.
    centred
        Whether the mean of all samples was subtracted from the class means; None for other directions or if unknown.
    """

    def __init__(
        self,
        *sites: np.ndarray,
        classes: np.ndarray | None = None,
        class_names: Sequence[str] | None = None,
        centred: bool | None = None,
    ) -> None:
        self.sites, self.classes, self.class_names, self.centred = sites, classes, class_names, centred

    @property
    def W_p(self) -> np.ndarray:
        """n_p x n directions in the input."""
        return self.sites[0]

    @property
    def W_r(self) -> np.ndarray | None:
        """n_r x n directions in the target; None without a target."""
        return self.sites[1] if len(self.sites) > 1 else None

    @property
    def names(self) -> list[str]:
        """Name of each direction: its class name, or its index. To name anchors, index these names by
        ``Anchors.feature``."""
        if self.classes is None:
            return [str(number) for number in range(self.W_p.shape[1])]
        return [str(number) if self.class_names is None else self.class_names[number] for number in self.classes]

    def choose(self, n_anchors: float, seed: int = 0, first: int | None = None) -> Anchors:
        """Draw random anchors from the references (eq. 21). The pipeline draws the same anchors for the same seed.

        Parameters
        ----------
        n_anchors
            Number of anchors; if below 1, a share of the references that are drawn from.
        seed
            Seed. With the same seed, a draw of more anchors begins with the anchors of a draw of fewer.
        first
            Draw only from this many first directions, such as the parents of a hierarchy; None for all.

        Raises
        ------
        ValueError
            If there are fewer directions to draw from, or ``n_anchors`` is neither a whole number nor a share.
        """
        n = self.W_p.shape[1] if first is None else first
        # a share is rounded first, since int(.29 * 100) is 28
        number = max(1, int(round(n_anchors * n, 9))) if 0 < n_anchors < 1 else n_anchors
        if not (1 <= number <= n and float(number).is_integer()):
            raise ValueError(
                f"n_anchors must be a share, or a whole number of at most {n} directions, found {n_anchors}"
            )
        order = stream(checked("seed", Seed, seed), "anchors").permutation(n)
        index = order[: int(number)].astype(np.int64)
        return Anchors(*(W.T[index] for W in self.sites), feature=index)

    def labels_of(self, store: Activations) -> np.ndarray:
        """Convert a store's labels to class indices of these class means, by class name (N, -1 for no class).

        The store's classes may differ from the references' classes, or be in another order. ValueError if labels are
        missing, or the name of a label matches none or several of the references' classes.
        """
        if not store.has("labels"):
            raise ValueError(f"{store.path}: has no labels, which the evaluation of class means needs")
        labels, store_names = store.read("labels"), store.class_names()
        if store_names == (None if self.class_names is None else list(self.class_names)):
            # equal classes need no conversion by name, which fails if two classes share a name, as in ImageNet-1K
            return labels
        assert self.classes is not None, "only class means have labels"
        expected, names = _names(self.class_names, self.classes), _names(store_names, labels)
        numbers = np.full(len(names) + 1, -1)  # label -1, no class, indexes the last entry
        for label in np.unique(labels[labels >= 0]):
            if (found := expected.count(names[label])) != 1:
                problem = f"label {short_text(names[label])} is the name of {found} reference classes, expected one"
                raise ValueError(f"{store.path}: {problem} of {listed(expected)}")
            numbers[label] = expected.index(names[label])
        return numbers[labels]

    def __repr__(self) -> str:
        """Show the number of directions and their dimensions."""
        widths = " and ".join(str(len(W)) for W in self.sites)
        means = "" if self.classes is None else ", means of classes"
        return f"References({self.W_p.shape[1]} in {widths} dimensions{means})"


def _names(names: Sequence[str] | None, numbers: np.ndarray) -> list[str]:
    """Return the names of classes, or their indices if there are no names."""
    return [str(number) for number in range(int(numbers.max(initial=-1)) + 1)] if names is None else list(names)


def means_of_classes(
    store: Activations, centred: bool = False, min_class_size: int = 1
) -> tuple[References, dict[str, np.ndarray]]:
    """Compute the normalised class means of a store (eq. 22 and 23), in one pass.

    Parameters
    ----------
    store
        Store with labels.
    centred
        Subtract the mean of all activations, labelled or not, from the class means. The result is the direction in
        which a class differs from the rest, as a model trained on centred activations (`training.normalisation`) sees
        it. If False, all class means share a common component.
    min_class_size
        Classes with fewer samples are left out.

    Returns
    -------
    references
        The means of the classes that are not left out, in the order of the classes.
    classes
        Columns of a table with a row per class: ``class``, ``name``, ``samples``, ``norm`` of its mean (NaN without
        samples), ``nearest`` (name of the class whose mean has the largest cosine with this mean), ``cosine`` (that
        cosine), ``left_out`` (the reason, empty if the class is used). The input's means are taken; ``nearest`` and
        ``cosine`` are None and NaN for classes that are left out.

    Raises
    ------
    ValueError
        If labels or class names are missing, or fewer than two classes are left.
    """
    names = store.class_names()
    if names is None or not store.has("labels"):
        raise ValueError(f"{store.path}: has no labels with class names; class means need both")
    counts = np.zeros(len(names), dtype=np.int64)
    sums = [np.zeros((len(names), width)) for width in store.widths]
    totals = [np.zeros(width) for width in store.widths]
    for start in range(0, store.rows, ROWS_AT_ONCE):
        labels = store.read("labels", start, start + ROWS_AT_ONCE)
        counts += np.bincount(labels[labels >= 0], minlength=len(names))
        for site, column in enumerate(site_columns(len(store.widths))):
            x = store.read(column, start, start + ROWS_AT_ONCE).astype(np.float64)
            np.add.at(sums[site], labels[labels >= 0], x[labels >= 0])
            totals[site] += x.sum(0)
    means = [summed / np.maximum(counts, 1)[:, None] for summed in sums]
    for mean, total in zip(means, totals, strict=True):
        if centred:
            mean -= total / store.rows
        mean[counts == 0] = 0
    norms = np.stack([np.linalg.norm(mean, axis=1) for mean in means])
    left_out = np.select(
        [counts == 0, counts < min_class_size, (norms <= 1e-12).any(0)],
        ["no sample", f"fewer than {min_class_size} samples", "the mean is zero"],
        "",
    )
    classes = np.flatnonzero(left_out == "")
    if len(classes) < 2:
        raise ValueError(
            f"{store.path}: {len(classes)} classes have {min_class_size} samples (min_class_size) and a nonzero mean, "
            "expected two or more"
        )
    units = [mean[classes] / np.linalg.norm(mean[classes], axis=1, keepdims=True) for mean in means]
    W = [unit.T.astype(np.float32) for unit in units]
    cosines = W[0].T @ W[0]
    np.fill_diagonal(cosines, -np.inf)
    nearest, largest = np.full(len(names), None, dtype=object), np.full(len(names), np.nan)
    nearest[classes] = [names[classes[i]] for i in cosines.argmax(1)]
    largest[classes] = cosines.max(1)
    table = {
        "class": np.arange(len(names)),
        "name": np.array(names, dtype=object),
        "samples": counts,
        "norm": np.where(counts > 0, norms[0], np.nan),
        "nearest": nearest,
        "cosine": largest,
        "left_out": left_out,
    }
    return References(*W, classes=classes, class_names=names, centred=centred), table


def class_means(
    x: Any,
    labels: Any,
    target: Any = None,
    *,
    centred: bool = True,
    min_class_size: int = 10,
) -> References:
    """Compute class means as unit vectors (eq. 22 and 23): references for `evaluate`, and to choose anchors from.

    Parameters
    ----------
    x, target
        Activations, as in `solve`.
    labels
        N class numbers, below zero for no class, or N names, empty or missing for no class; None for a store, which
        contains its own.
    centred
        Subtract the mean of all activations first, as training with ``normalise`` does.
    min_class_size
        Classes with fewer samples are left out.

    Returns
    -------
    A direction for each class, with the classes' names. ``choose`` draws anchors from it.

    Raises
    ------
    ValueError
        If fewer than two classes are left.
    """
    from sdlcore.data.conversion import activations  # imported here, since stages without torch import this module

    with activations(x, target, labels) as samples:
        means, table = means_of_classes(samples, centred, min_class_size)
    nearest = float(np.nanmedian(table["cosine"]))
    if recovered(nearest):
        warn_at_call(
            f"class means are nearly parallel (median cosine with the nearest other class: {nearest:.3f}), so a latent "
            "that matches one matches others; leave centred and normalise at True"
        )
    return means


def save_references(path: str | Path, references: References, provenance: Mapping[str, Json]) -> None:
    """Write references as safetensors, with ``provenance`` in the metadata."""
    arrays = site_tensors("W_", references.sites)
    if references.classes is not None:
        arrays["classes"] = references.classes
    if references.class_names is not None:
        names = json.dumps(list(references.class_names)).encode()
        arrays["class_names"] = np.frombuffer(names, dtype=np.uint8)
    if references.centred is not None:
        arrays["centred"] = np.array([references.centred])
    write_with_checksum(path, arrays, provenance)


def load_references(path: str | Path) -> References:
    """Read reference directions from a file that `save_references` wrote, or the true features of a bench.

    ValueError, which names the file, if it is damaged, contains no references, or its columns are not unit vectors.
    """
    tensors = read_directions(path, "W_")
    names = json.loads(tensors["class_names"].tobytes()) if "class_names" in tensors else None
    centred = bool(tensors["centred"].all()) if "centred" in tensors else None
    sites = sites_in(tensors, "W_")
    return References(*sites, classes=tensors.get("classes"), class_names=names, centred=centred)


def as_anchors(values: Any) -> Anchors:
    """Convert an argument to anchors: anchors, an array of unit rows, or a list with such an array for each site."""
    if isinstance(values, Anchors):
        check_unit("anchors", site_tensors("w_", values.sites))
        return values
    return Anchors(*_unit_rows(values, "anchors"))


def as_references(values: Any, name: str) -> References:
    """Convert an argument to references: references, an array of unit rows, or a list with one for each site.

    ``name`` is the argument's name in messages.
    """
    if isinstance(values, References):
        check_unit(name, site_tensors("W_", values.sites), "column")
        return values
    return References(*(w.T for w in _unit_rows(values, name)))


def _unit_rows(values: Any, name: str) -> list[np.ndarray]:
    from sdlcore.data.conversion import floats, is_pair  # as in class_means

    rows = [floats(part, name) for part in (values if is_pair(values) else (values,))]
    check_unit(name, {"rows" if len(rows) == 1 else f"site {site}": part for site, part in enumerate(rows)})
    return [part.astype(np.float32) for part in rows]
