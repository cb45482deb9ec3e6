"""Activation stores: one HDF5 file of paired activations, the same for every source.

With N samples:

    input           N x n_p     the representation x_p
    target          N x n_r     the representation x_r of the same samples; optional
    site2, site3... N x width   further representations of the same samples; optional
    labels          N           class index of each sample, -1 for no class; optional
    class_names     C           UTF-8 names of the classes; optional
    references/*    N           origin of each sample, one dataset per column (document, position, path, ...)
    features/{data,indices,indptr}, attribute shape
                                ground-truth coefficients as a CSR matrix (N x n); optional

The attributes are `format`, `version`, `provenance` (JSON: configuration, seed, ...) and `checksum`, a SHA-256 of all
datasets. Sites (input, target, site2, ...) are float16, float32, or bfloat16, which is stored as uint16 with the
attribute `dtype`. Rows are chunked, so reading whole chunks in random order is fast, and reading single random rows is
slow. HDF5 verifies each chunk by its Fletcher-32 checksum when it is read, and its own tables by theirs.

An index of shards contains no columns. `shards/file` lists the files of the shards, relative to the index, and
`shards/checksum` the checksum of each.
"""

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from itertools import count, takewhile
from pathlib import Path

import h5py
import numpy as np
import scipy.sparse

from sdlcore.data.pairs import site_column
from sdlcore.errors import SourceError, StoreError
from sdlcore.settings import Json
from sdlcore.storage.files import Unchanged, sha256_of

FORMAT = "sdlcore activation store"
VERSION = 3
CHUNK_BYTES = 2**20
CHUNK_ROWS = 1024
REFERENCES = "references/"
"""Beginning of the names of columns with the origin of each sample."""


def chunk_rows(row_bytes: int) -> int:
    """Return the number of rows in a chunk: 1 MiB or less, and at most 1024 rows."""
    return max(1, min(CHUNK_ROWS, CHUNK_BYTES // max(8, row_bytes)))


def decode(stored: np.ndarray, dtype: str) -> np.ndarray:
    """Convert stored numbers back: bfloat16 to float32, other precisions unchanged."""
    return (stored.astype(np.uint32) << 16).view(np.float32) if dtype == "bfloat16" else stored


def dtype_of(dataset: h5py.Dataset) -> str:
    """Return the precision of a column; ``bfloat16`` if an attribute marks it so, though it is stored as uint16."""
    return "text" if dataset.dtype.kind == "S" else str(dataset.attrs.get("dtype", dataset.dtype.name))


@contextmanager
def hdf5_errors(path: str | Path) -> Iterator[None]:
    """Turn any error of HDF5 in the block into a `StoreError` that names the file."""
    try:
        yield
    except (StoreError, SourceError):
        raise
    except Exception as error:  # h5py raises many kinds for damaged tables
        raise StoreError(f"{path}: is damaged or not an activation store ({error}); write it again") from error


class ActivationStore:
    """An activation store, or an index of shards, opened for reading. Open a store as a context manager, or `close` it
    after use.

    Attributes
    ----------
    path
        The file.
    rows
        Number of samples, N.
    widths
        Dimensions of all sites: input, target and further ones.
    chunk_rows
        Number of rows in a chunk of ``input``. Whole chunks are fast to read.
    provenance
        How the file was created: configuration, seed, versions and so on.
    checksum
        Hex SHA-256 of all samples.
    shards
        The opened stores of an index; empty for a store that is one file.

    Raises
    ------
    StoreError
        If the file, or a shard of an index, is missing, damaged or not a store of this version. A read also raises it
        if HDF5 finds damage in the rows.
    SourceError
        By a read, if the file or a shard was written to or replaced since it was opened.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self.shards: list[ActivationStore] = []
        if not self.path.is_file():
            raise StoreError(f"{path}: no such activation store")
        with hdf5_errors(path):
            self._file = h5py.File(self.path, "r")
            try:
                self._open()
            except Exception:
                self.close()
                raise
        self._unchanged = Unchanged(self.path)

    def _open(self) -> None:
        attributes = self._file.attrs
        if attributes.get("format") != FORMAT.encode() or attributes["version"] != VERSION:
            raise StoreError(f"{self.path}: is an HDF5 file, but not an {FORMAT} of version {VERSION}; write it again")
        self.provenance: dict[str, Json] = json.loads(attributes["provenance"])
        self.checksum: str = attributes["checksum"].decode()
        if "shards" in self._file:
            self._open_shards(self._file["shards"])
        self._first: h5py.File = self.shards[0]._file if self.shards else self._file
        first = self._first
        sites = list(takewhile(first.__contains__, map(site_column, count())))
        self._names = sites + (["labels"] if "labels" in first else [])
        if "references" in first:  # `get` takes a damaged group for a missing one
            self._names += [REFERENCES + name for name in first["references"]]
        self.rows: int = sum(shard.rows for shard in self.shards) or first["input"].shape[0]
        self.widths: tuple[int, ...] = tuple(first[name].shape[1] for name in sites)
        self.chunk_rows = int(first["input"].chunks[0])

    def _open_shards(self, group: h5py.Group) -> None:
        for name, checksum in zip(group["file"].asstr()[:], group["checksum"].asstr()[:], strict=True):
            try:
                shard = ActivationStore(self.path.parent / name)
            except StoreError as error:
                raise StoreError(f"{self.path}: one of its shards is missing or damaged: {error}") from error
            self.shards.append(shard)
            if shard.checksum != checksum:
                raise StoreError(f"{self.path}: its shard {shard.path} has other samples; write the index again")

    def columns(self) -> dict[str, str]:
        """Return the precision of each column by name."""
        with hdf5_errors(self.path):
            return {name: dtype_of(self._first[name]) for name in self._names}

    def has(self, column: str) -> bool:
        """Return whether the column exists. A reference may be named without the folder of references."""
        return column in self._first or REFERENCES + column in self._first

    def read(self, column: str, start: int = 0, stop: int | None = None) -> np.ndarray:
        """Return rows ``start:stop`` of ``input``, ``target``, ``site2``, ..., ``labels`` or a reference as ``token``.

        Numbers keep their stored precision, but bfloat16 is converted to float32. StoreError for an unknown column.
        """
        if self.shards:
            return self._read_shards(column, start, stop)
        with self._unchanged, hdf5_errors(self.path):
            name = REFERENCES + column if REFERENCES + column in self._names else column
            if name not in self._names:
                names = ", ".join(column_name.removeprefix(REFERENCES) for column_name in self._names)
                raise StoreError(f"{self.path}: contains no column {column!r}; its columns are {names}")
            dataset = self._file[name]
            if h5py.check_string_dtype(dataset.dtype):
                return np.asarray(dataset.asstr()[start:stop])
            return decode(dataset[start:stop], dtype_of(dataset))

    def _read_shards(self, column: str, start: int, stop: int | None) -> np.ndarray:
        start, stop, _ = slice(start, stop).indices(self.rows)
        blocks, first = [self.shards[0].read(column, 0, 0)], 0
        for shard in self.shards:
            if start < first + shard.rows and first < stop:
                blocks.append(shard.read(column, max(0, start - first), stop - first))
            first += shard.rows
        return blocks[1] if len(blocks) == 2 else np.concatenate(blocks)

    def class_names(self) -> list[str] | None:
        """Return the names of the classes, or None without classes."""
        with hdf5_errors(self.path):
            return list(self._first["class_names"].asstr()[:]) if "class_names" in self._first else None

    def features(self) -> scipy.sparse.csr_array | None:
        """Return the ground-truth coefficients (N x n), or None if they are unknown."""
        if "features" not in self._first:
            return None
        with self._unchanged, hdf5_errors(self.path):
            group = self._file["features"]
            parts = tuple(group[part][:] for part in ("data", "indices", "indptr"))
            return scipy.sparse.csr_array(parts, shape=tuple(group.attrs["shape"]))

    def digest(self) -> str:
        """Return the checksum of all samples, which does not depend on how the file was written."""
        return self.checksum

    def provenance_of_rows(self) -> dict[str, Json]:
        """Return the provenance of the rows; an index returns the provenance of its first shard."""
        return self.shards[0].provenance if self.shards else self.provenance

    def __repr__(self) -> str:
        """Return the name, the sizes of the sites, the precision, the other columns and the origin on one line."""
        if not self._file:
            return f"ActivationStore({self.path.name}, closed)"
        columns = self.columns()
        sites = [f"{name} {self.rows:,} x {width}" for name, width in zip(columns, self.widths, strict=False)]
        others = [name.removeprefix(REFERENCES) for name in list(columns)[len(sites) :]]
        parts = [self.path.name, *sites, columns["input"], *([f"with {', '.join(others)}"] if others else [])]
        return f"ActivationStore({', '.join(parts)})"

    def close(self) -> None:
        for shard in self.shards:
            shard.close()
        self._file.close()

    def __enter__(self) -> "ActivationStore":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def content_digest(path: str | Path) -> str:
    """Return a hex SHA-256 of a file's content: a store's checksum, or the SHA-256 of another file's bytes.

    A store whose writing was interrupted contains the same samples as an uninterrupted one, but other bytes.
    StoreError if the file is an HDF5 file that is not a store.
    """
    if not h5py.is_hdf5(path):
        return sha256_of(path)
    with ActivationStore(path) as store:
        return store.digest()


def is_of_language_model(provenance: Mapping[str, Json]) -> bool:
    """Return whether rows with this provenance are activations from a language model."""
    return "separator" in provenance
