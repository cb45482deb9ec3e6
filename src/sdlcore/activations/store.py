"""The activation store: one HDF5 file of paired activations, whatever source they come from.

Layout, with N samples:

    input           N x n_p     the representation x_p
    target          N x n_r     the representation x_r of the same samples, where it differs from x_p
    labels          N           class index of each sample, -1 for none, where classes are known
    class_names     C           UTF-8 names of the classes, where they are known
    references/*    N           where each sample came from, one dataset a column (document, position, path, ...)
    features/{data,indices,indptr}, attribute shape
                                ground-truth coefficients as a CSR matrix (N x n), where they are known

and the attributes `format`, `version` and `provenance` (JSON: what made the file). Rows are chunked so that reading
whole chunks in random order is fast; reading single random rows is not.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import scipy.sparse

from sdlcore.files import atomic_path

FORMAT = "sdlcore activation store"
VERSION = 1
CHUNK_BYTES = 2**20


class StoreError(ValueError):
    """A file is not an activation store, or not one that can be read; the message names it."""


class StoreWriter:
    """Appends blocks of samples to a store that is being written; see `create_store`.

    Attributes
    ----------
    rows
        Samples written so far.
    provenance
        What makes the store; what is known only at the end can be added until then.
    """

    def __init__(self, file: h5py.File, dtype: np.dtype, provenance: Mapping[str, Any]) -> None:
        self._file = file
        self.provenance = dict(provenance)
        self._dtype = dtype
        self._features: list[scipy.sparse.csr_array] = []
        self.rows = 0

    def append(
        self,
        input: np.ndarray,
        target: np.ndarray | None = None,
        labels: np.ndarray | None = None,
        references: Mapping[str, np.ndarray | Sequence[str]] | None = None,
        features: scipy.sparse.csr_array | None = None,
    ) -> None:
        """Append B samples. Every block must bring the same columns as the first.

        Parameters
        ----------
        input, target
            B x n_p and B x n_r, finite numbers.
        labels
            B integers, -1 for a sample without a class.
        references
            Columns of B numbers or strings.
        features
            B x n ground-truth coefficients.

        Raises
        ------
        ValueError
            If columns differ from the first block's, lengths differ, or activations are not finite after conversion
            to the store's precision.
        """
        columns: dict[str, np.ndarray] = {"input": np.asarray(input).astype(self._dtype)}
        if target is not None:
            columns["target"] = np.asarray(target).astype(self._dtype)
        if labels is not None:
            columns["labels"] = np.asarray(labels, dtype=np.int32)
        for name, values in (references or {}).items():
            columns[f"references/{name}"] = np.asarray(values)
        lengths = {name: len(values) for name, values in columns.items()}
        if features is not None:
            lengths["features"] = features.shape[0]
        if len(set(lengths.values())) != 1:
            raise ValueError(f"columns of one block differ in length: {lengths}")
        for name in ("input", "target"):
            if name in columns and not np.isfinite(columns[name]).all():
                raise ValueError(f"{name} holds values that are not finite in {self._dtype}")
        expected = set(self._names())
        if self.rows and expected != set(lengths):
            raise ValueError(f"block has columns {sorted(lengths)}, the store has {sorted(expected)}")
        for name, values in columns.items():
            self._append_column(name, values)
        if features is not None:
            self._features.append(scipy.sparse.csr_array(features, dtype=np.float32))
        self.rows += len(columns["input"])

    def _names(self) -> list[str]:
        names = [name for name in ("input", "target", "labels") if name in self._file]
        names += [f"references/{name}" for name in self._file.get("references", {})]
        return names + (["features"] if self._features else [])

    def _append_column(self, name: str, values: np.ndarray) -> None:
        if name not in self._file:
            dtype = h5py.string_dtype() if values.dtype.kind in "UO" else values.dtype
            row_bytes = max(8, int(np.prod(values.shape[1:], dtype=int)) * values.dtype.itemsize)
            chunk = max(1, min(1024, CHUNK_BYTES // row_bytes))
            self._file.create_dataset(
                name,
                (0, *values.shape[1:]),
                dtype,
                maxshape=(None, *values.shape[1:]),
                chunks=(chunk, *values.shape[1:]),
            )
        dataset = self._file[name]
        dataset.resize(self.rows + len(values), axis=0)
        dataset[self.rows :] = values.astype(object) if values.dtype.kind == "U" else values

    def _finish(self) -> None:
        if self.rows == 0:
            raise ValueError(f"{self._file.filename}: a store needs at least one sample")
        self._file.attrs["provenance"] = json.dumps(self.provenance, sort_keys=True)
        if self._features:
            matrix = scipy.sparse.csr_array(scipy.sparse.vstack(self._features))
            group = self._file.create_group("features")
            group.attrs["shape"] = matrix.shape
            for part in ("data", "indices", "indptr"):
                group.create_dataset(part, data=getattr(matrix, part))


@contextmanager
def create_store(
    path: str | Path,
    provenance: Mapping[str, Any],
    dtype: str | np.dtype = "float32",
    class_names: Sequence[str] | None = None,
) -> Iterator[StoreWriter]:
    """Create a store at ``path``; it appears there, whole, only when the block ends without an exception.

    Parameters
    ----------
    path
        File to make or replace.
    provenance
        What makes it (configuration, seed, versions); kept as JSON.
    dtype
        Precision of ``input`` and ``target``: float16 or float32.
    class_names
        Names of the classes that ``labels`` count.
    """
    with atomic_path(path) as part, h5py.File(part, "w") as file:
        file.attrs["format"] = FORMAT
        file.attrs["version"] = VERSION
        if class_names is not None:
            file.create_dataset("class_names", data=list(class_names), dtype=h5py.string_dtype())
        writer = StoreWriter(file, np.dtype(dtype), provenance)
        yield writer
        writer._finish()


class ActivationStore:
    """A store opened for reading. Use as a context manager, or `close` it.

    Attributes
    ----------
    path
        The file.
    rows
        N.
    n_p, n_r
        Dimensions of input and target; ``n_r`` is None where the store has no target.
    provenance
        What made the file.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        if not self.path.is_file():
            raise StoreError(f"{path}: no such activation store")
        try:
            self._file = h5py.File(self.path, "r")
        except OSError as error:
            raise StoreError(f"{path}: not a readable HDF5 file ({error})") from error
        if self._file.attrs.get("format") != FORMAT or "input" not in self._file:
            self._file.close()
            raise StoreError(f"{path}: an HDF5 file, but not an {FORMAT}")
        if self._file.attrs["version"] != VERSION:
            found = self._file.attrs["version"]
            self._file.close()
            raise StoreError(f"{path}: store version {found}, but this code reads version {VERSION}")
        self.rows: int = self._file["input"].shape[0]
        self.n_p: int = self._file["input"].shape[1]
        self.n_r: int | None = self._file["target"].shape[1] if "target" in self._file else None
        self.provenance: dict[str, Any] = json.loads(self._file.attrs["provenance"])

    @property
    def chunk_rows(self) -> int:
        """Rows of a chunk of ``input``, the unit that is fast to read."""
        return self._file["input"].chunks[0]

    def read(self, column: str, start: int = 0, stop: int | None = None) -> np.ndarray:
        """Return rows ``start:stop`` of ``input``, ``target``, ``labels`` or ``references/<name>`` as stored."""
        if column not in self._file:
            raise StoreError(f"{self.path}: has no {column}")
        dataset = self._file[column]
        return (dataset.asstr() if h5py.check_string_dtype(dataset.dtype) else dataset)[start:stop]

    def has(self, column: str) -> bool:
        """Tell whether there is such a column."""
        return column in self._file

    def references(self) -> list[str]:
        """Return the names of the columns that say where samples came from."""
        return sorted(self._file.get("references", {}))

    def class_names(self) -> list[str] | None:
        """Return the names of the classes, or None where the store has none."""
        return list(self._file["class_names"].asstr()[:]) if "class_names" in self._file else None

    def features(self) -> scipy.sparse.csr_array | None:
        """Return the ground-truth coefficients (N x n), or None where they are unknown."""
        if "features" not in self._file:
            return None
        group = self._file["features"]
        parts = tuple(group[part][:] for part in ("data", "indices", "indptr"))
        return scipy.sparse.csr_array(parts, shape=tuple(group.attrs["shape"]))

    def close(self) -> None:
        self._file.close()

    def __enter__(self) -> "ActivationStore":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
