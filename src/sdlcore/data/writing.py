"""Write an activation store in one go. `sdlcore.data.resumable` writes stores that resume after interruptions."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import h5py
import numpy as np
import scipy.sparse

from sdlcore.data.layout import (
    Checksum,
    check_dtype,
    check_values,
    chunk_rows,
    encode,
    new_file,
    write_header,
    write_texts,
)
from sdlcore.data.pairs import all_sites, is_site, site_column
from sdlcore.errors import StoreError
from sdlcore.settings import Json
from sdlcore.storage.files import atomic_path

References = Mapping[str, np.ndarray | Sequence[str]]


class Columns:
    """Growing columns of samples, in their stored form, in an open HDF5 file.

    Attributes
    ----------
    checksum
        Checksum of all rows so far.
    """

    def __init__(self, file: h5py.File, dtype: str) -> None:
        self.file, self.checksum = file, Checksum()
        self._dtype = dtype
        # kept open, since an open dataset keeps its last, incomplete chunk in memory
        self._datasets: dict[str, h5py.Dataset] = {}
        self._texts: dict[str, list[str]] = {}

    def append(self, columns: Mapping[str, np.ndarray]) -> None:
        """Append rows; every call must pass the same columns."""
        for name, values in columns.items():
            self.checksum.update(name, values)
            if values.dtype == object:
                self._texts.setdefault(name, []).extend(values)
                continue
            if name not in self._datasets:
                self._datasets[name] = self._create(name, values.dtype, values.shape[1:])
            dataset = self._datasets[name]
            before = len(dataset)
            dataset.resize(before + len(values), axis=0)
            dataset[before:] = values

    def finish(self) -> None:
        """Write the columns of texts, whose length is known at the end."""
        for name, texts in self._texts.items():
            write_texts(self.file, name, texts)

    def _create(self, name: str, dtype: np.dtype, shape: tuple[int, ...]) -> h5py.Dataset:
        row_bytes = int(np.prod(shape, dtype=int)) * dtype.itemsize
        dataset = self.file.create_dataset(
            name,
            (0, *shape),
            dtype,
            maxshape=(None, *shape),
            chunks=(chunk_rows(row_bytes), *shape),
            fletcher32=True,
        )
        if is_site(name) and self._dtype == "bfloat16":
            dataset.attrs["dtype"] = self._dtype
        return dataset


def stored_dtype(values: np.ndarray | h5py.Dataset) -> np.dtype:
    """Return the type of a column in a store; texts are objects."""
    return np.dtype(object) if values.dtype.kind in "USO" else values.dtype


class BlockWriter:
    """Check blocks of samples, and convert them to their stored form.

    Attributes
    ----------
    rows
        Samples written so far.
    provenance, class_names
        How the store was created, and names of its classes. Provenance and class names can be changed until the store
        is finished.
    """

    def __init__(
        self, path: Path, dtype: str, provenance: Mapping[str, Json], class_names: Sequence[str] | None
    ) -> None:
        self.provenance = dict(provenance)
        self.rows = 0
        self._path = path
        self._dtype = dtype
        self.class_names = class_names
        self._kinds: dict[str, tuple[np.dtype, tuple[int, ...]]] = {}  # type and shape of a row of each column

    def append(
        self,
        input: np.ndarray,
        target: np.ndarray | None = None,
        labels: np.ndarray | None = None,
        references: References | None = None,
        *,
        more: Sequence[np.ndarray] = (),
    ) -> None:
        """Append B samples. Every block must contain the same columns as the first.

        Parameters
        ----------
        input, target
            B x n_p and B x n_r, finite numbers.
        labels
            B integers, -1 for a sample without a class.
        references
            Columns of B numbers or strings.
        more
            B x width arrays of further sites, from site 2 on.

        Raises
        ------
        ValueError
            If columns differ from the first block's, lengths differ, a conversion would change labels or references,
            activations are not finite in the store's precision, or a nonzero row becomes zero in it.
        """
        columns: dict[str, np.ndarray] = {}
        for site, values in enumerate(all_sites(input, target, more)):
            name = site_column(site)
            if np.ndim(values) != 2:
                raise ValueError(f"{name} has shape {np.shape(values)}, expected samples x dimension")
            check_values(f"{self._path}: {name}", np.asarray(values), self._dtype, self.rows)
            columns[name] = encode(values, self._dtype)
        if labels is not None:
            columns["labels"] = _as_stored("labels", np.asarray(labels), np.dtype(np.int32))
        for name, column in (references or {}).items():
            values = np.asarray(column)
            if values.dtype.kind == "S":
                values = np.char.decode(values, "utf-8")
            dtype, _ = self._kinds.get(f"references/{name}", (stored_dtype(values), ()))
            columns[f"references/{name}"] = _as_stored(name, values, dtype)
        kinds = {name: (stored_dtype(values), values.shape[1:]) for name, values in columns.items()}
        self._kinds = self._kinds or kinds
        lengths = {name: len(values) for name, values in columns.items()}
        if len(set(lengths.values())) != 1:
            raise ValueError(f"{self._path}: columns of one block differ in length: {lengths}")
        if kinds != self._kinds:
            raise ValueError(f"{self._path}: block has columns {kinds}, expected {self._kinds} as in the store")
        self.append_stored(columns)

    def append_stored(self, columns: Mapping[str, np.ndarray]) -> None:
        """Append rows in their stored form, by column name; strings are objects."""
        raise NotImplementedError

    def finish(self) -> None:
        """Check the complete store; StoreError if it is empty."""
        if self.rows == 0:
            raise StoreError(f"{self._path}: a store needs at least one sample")


def _as_stored(name: str, values: np.ndarray, dtype: np.dtype) -> np.ndarray:
    """Convert a column to its stored type; ValueError if the conversion would change values."""
    with np.errstate(invalid="ignore"):  # NaN cannot be converted to a whole number
        stored = values.astype(dtype, copy=False)
    if values.ndim != 1 or (dtype.kind != "O" and not np.array_equal(stored, values, equal_nan=dtype.kind == "f")):
        raise ValueError(f"{name} is {values.dtype} of shape {values.shape}, expected a value of {dtype} per sample")
    return stored


class StoreWriter(BlockWriter):
    """Append blocks of samples, and their ground truth, to a store that is being written; see `create_store`."""

    def __init__(
        self,
        file: h5py.File,
        path: Path,
        dtype: str,
        provenance: Mapping[str, Json],
        class_names: Sequence[str] | None,
    ) -> None:
        super().__init__(path, dtype, provenance, class_names)
        self._columns = Columns(file, dtype)
        self._features: list[scipy.sparse.csr_array] = []

    def append(
        self,
        input: np.ndarray,
        target: np.ndarray | None = None,
        labels: np.ndarray | None = None,
        references: References | None = None,
        features: scipy.sparse.csr_array | None = None,
        *,
        more: Sequence[np.ndarray] = (),
    ) -> None:
        """Append B samples as in `BlockWriter.append`, optionally with their ground-truth coefficients (B x n)."""
        if features is not None and features.shape[0] != len(input):
            raise ValueError(f"columns of one block differ in length: input {len(input)}, features {features.shape[0]}")
        if self.rows and bool(self._features) != (features is not None):
            raise ValueError("features must be given for every block, or for none")
        super().append(input, target, labels, references, more=more)
        if features is not None:
            self._features.append(scipy.sparse.csr_array(features, dtype=np.float32))

    def append_stored(self, columns: Mapping[str, np.ndarray]) -> None:
        self._columns.append(columns)
        self.rows += len(columns["input"])

    def finish(self) -> None:
        """Complete the store: write features, attributes and the checksum."""
        super().finish()
        self._columns.finish()
        file, checksum = self._columns.file, self._columns.checksum
        if self._features:
            matrix = scipy.sparse.csr_array(scipy.sparse.vstack(self._features))
            group = file.create_group("features")
            group.attrs["shape"] = matrix.shape
            checksum.update("features", np.array(matrix.shape))
            for part in ("data", "indices", "indptr"):
                values = getattr(matrix, part)
                group.create_dataset(part, data=values, maxshape=(None,), fletcher32=True)
                checksum.update(f"features/{part}", values)
        if self.class_names is not None:
            write_texts(file, "class_names", self.class_names)
            checksum.update("class_names", np.array(self.class_names, dtype=object))
        write_header(file, self.provenance, checksum.hexdigest())


@contextmanager
def create_store(
    path: str | Path,
    provenance: Mapping[str, Json],
    dtype: str | np.dtype = "float32",
    class_names: Sequence[str] | None = None,
) -> Iterator[StoreWriter]:
    """Create an activation store. The store appears at ``path`` only when the block ends without an exception.

    Parameters
    ----------
    path
        File to make or replace.
    provenance
        How the store is created (configuration, seed, versions), stored as JSON.
    dtype
        Precision of all sites: float16, bfloat16 or float32.
    class_names
        Names of the classes; ``labels`` are indices into them.

    Raises
    ------
    StoreError
        If ``dtype`` is unknown, or, at the end of the block, the store is empty.
    OSError
        If the file cannot be written.
    """
    dtype = check_dtype(dtype)
    with atomic_path(path) as part, new_file(part) as file:
        writer = StoreWriter(file, Path(path), dtype, provenance, class_names)
        yield writer
        writer.finish()
