"""Write an activation store in one go. `sdlcore.data.resumable` writes stores that resume after interruptions."""

import io
import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import h5py
import numpy as np
import scipy.sparse

from sdlcore.data.checksums import append_checksums
from sdlcore.data.layout import Checksum, begin, check_dtype, chunk_rows, decode, encode, vanishing_row, write_checksums
from sdlcore.data.pairs import all_sites, is_site, site_column
from sdlcore.errors import StoreError
from sdlcore.settings import Json
from sdlcore.storage.files import atomic_path


class NewFile(io.FileIO):
    """A file for h5py that hides write errors from HDF5; `check` raises them afterwards.

    After a failed write, HDF5 cannot close its file and crashes the process when it tries.
    """

    def __init__(self, path: Path) -> None:
        super().__init__(path, "x+")
        self._failure: OSError | None = None

    def write(self, content: Any) -> int:
        view = memoryview(content).cast("B")
        rest = view
        try:
            while rest and self._failure is None:
                rest = rest[super().write(rest) :]
        except OSError as error:
            self._failure = error
        return len(view)

    def readinto(self, buffer: Any) -> int:
        view = memoryview(buffer).cast("B")
        n_bytes = super().readinto(view) or 0
        view[n_bytes:] = bytes(len(view) - n_bytes)
        return len(view)

    def truncate(self, size: int | None = None) -> int:
        try:
            if self._failure is None:
                super().truncate(size)
        except OSError as error:
            self._failure = error
        return self.tell() if size is None else size

    def check(self) -> None:
        """Raise the error of the first write that failed, if one did."""
        if self._failure is not None:
            raise self._failure


@contextmanager
def checksummed_file(path: Path) -> Iterator[h5py.File]:
    """Create an HDF5 file, and append its checksums when the block ends; a failed write raises its OSError then."""
    with NewFile(path) as storage:
        with h5py.File(storage, "w") as file:
            yield file
        storage.check()
    append_checksums(path)


class Kind(NamedTuple):
    """Type and shape of a row in a column."""

    dtype: np.dtype
    """The stored type."""
    shape: tuple[int, ...]

    @classmethod
    def from_values(cls, values: np.ndarray) -> "Kind":
        return cls(h5py.string_dtype() if values.dtype.kind in "UO" else values.dtype, values.shape[1:])


class Columns:
    """Growing columns of samples, in their stored form, in an open HDF5 file."""

    def __init__(self, file: h5py.File, dtype: str) -> None:
        self.file = file
        self._dtype = dtype
        # kept open, since an open dataset keeps its last, incomplete chunk in memory
        self._datasets: dict[str, h5py.Dataset] = {}

    def append(self, columns: Mapping[str, np.ndarray]) -> None:
        """Append rows; every call must pass the same columns."""
        for name, values in columns.items():
            if name not in self._datasets:
                self._datasets[name] = self._create(name, Kind.from_values(values))
            dataset = self._datasets[name]
            before = len(dataset)
            dataset.resize(before + len(values), axis=0)
            dataset[before:] = values

    def _create(self, name: str, kind: Kind) -> h5py.Dataset:
        row_bytes = int(np.prod(kind.shape, dtype=int)) * kind.dtype.itemsize
        chunks = (chunk_rows(row_bytes), *kind.shape)
        dataset = self.file.create_dataset(
            name, (0, *kind.shape), kind.dtype, maxshape=(None, *kind.shape), chunks=chunks
        )
        if is_site(name) and self._dtype == "bfloat16":
            dataset.attrs["dtype"] = self._dtype
        return dataset


References = Mapping[str, np.ndarray | Sequence[str]]


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
        self._kinds: dict[str, Kind] = {}

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
            If columns differ from the first block's, lengths differ, labels are not whole numbers, activations are not
            finite in the store's precision, or a nonzero row becomes zero in it.
        """
        sites = all_sites(input, target, more)
        site_values = {site_column(site): np.asarray(values) for site, values in enumerate(sites)}
        columns = {name: encode(values, self._dtype) for name, values in site_values.items()}
        if labels is not None:
            columns["labels"] = _as_stored("labels", np.asarray(labels), np.dtype(np.int32))
        for name, values in (references or {}).items():
            texts = np.asarray(values)
            columns[f"references/{name}"] = np.char.decode(texts, "utf-8") if texts.dtype.kind == "S" else texts
        lengths = {name: len(values) for name, values in columns.items()}
        if len(set(lengths.values())) != 1:
            raise ValueError(f"columns of one block differ in length: {lengths}")
        as_read = {name: decode(columns[name], self._dtype) for name in site_values}
        for name, values in site_values.items():
            if values.ndim != 2:
                raise ValueError(f"{name} has shape {values.shape}, expected samples x dimension")
            if not (is_finite := np.isfinite(as_read[name]).all(axis=1)).all():
                row = self.rows + int(is_finite.argmin())
                raise ValueError(
                    f"{self._path}: {name} row {row} contains values that are not finite in {self._dtype}; leave such "
                    "rows out, or set dtype bfloat16 or float32 if they overflow"
                )
            if problem := vanishing_row(values, as_read[name], self._dtype, self.rows):
                raise StoreError(f"{self._path}: {name} {problem}")
        if self._kinds and self._kinds.keys() != columns.keys():
            raise ValueError(f"block has columns {sorted(columns)}, expected {sorted(self._kinds)} as in the store")
        for name, values in columns.items():
            kind = self._kinds.get(name, Kind.from_values(values))
            if kind.shape != values.shape[1:]:
                raise ValueError(f"block has rows of shape {values.shape[1:]} in {name}, expected {kind.shape}")
            columns[name] = values if name in site_values else _as_stored(name, values, kind.dtype)
        self._kinds = self._kinds or {name: Kind.from_values(values) for name, values in columns.items()}
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
    if values.ndim != 1:
        raise ValueError(f"{name} has shape {values.shape}, expected one value per sample")
    if not values.size or dtype.kind == "O":
        return values.astype(dtype, copy=False)
    if values.dtype.kind not in "biuf":
        raise ValueError(f"{name} contains {values.dtype}, expected {dtype} as in the store")
    with np.errstate(invalid="ignore"):  # NaN cannot be converted to a whole number
        stored = values.astype(dtype, copy=False)
    if not np.array_equal(stored, values, equal_nan=dtype.kind == "f"):
        raise ValueError(f"{name} contains numbers that the store's type {dtype} would change")
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
        self._file = file
        self._columns = Columns(file, dtype)
        self._checksums: dict[str, Checksum] = {}
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
        for name, values in columns.items():
            self._checksums.setdefault(name, Checksum()).update(values)
        self.rows += len(columns["input"])

    def finish(self) -> None:
        """Complete the store: write features, attributes and checksums."""
        super().finish()
        if self._features:
            matrix = scipy.sparse.csr_array(scipy.sparse.vstack(self._features))
            group = self._file.create_group("features")
            group.attrs["shape"] = matrix.shape
            for part in ("data", "indices", "indptr"):
                group.create_dataset(part, data=getattr(matrix, part))
                self._checksums[f"features/{part}"] = Checksum()
                self._checksums[f"features/{part}"].update(getattr(matrix, part))
        begin(self._file, self.class_names)
        self._file.attrs["provenance"] = json.dumps(self.provenance, sort_keys=True)
        write_checksums(self._file, self._checksums)


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
    with atomic_path(path) as part, checksummed_file(part) as file:
        writer = StoreWriter(file, Path(path), dtype, provenance, class_names)
        yield writer
        writer.finish()
