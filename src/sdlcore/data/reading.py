"""Read activation stores."""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import scipy.sparse

from sdlcore.data.layout import (
    FORMAT,
    VERSION,
    Checksum,
    column_names,
    decode,
    dtype_of,
    hdf5_errors,
    read_stored,
    site_names,
)
from sdlcore.errors import StoreError
from sdlcore.settings import Json
from sdlcore.storage.files import Unchanged, sha256_of

REFERENCES = "references/"
"""Beginning of the names of columns with the origin of each sample."""


class ActivationStore:
    """An activation store, or an index of shards, opened for reading. Open a store as a context manager, or `close` it
    after use.

    Attributes
    ----------
    path
        The file.
    rows
        Number of samples, N.
    n_p, n_r
        Dimensions of input and target; ``n_r`` is None without a target.
    widths
        Dimensions of all sites: input, target and further ones.
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
        if HDF5 finds damage in the rows; `verify` reads all of them.
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
        self._layout: h5py.File = self.shards[0]._file if self.shards else self._file
        self.rows: int = sum(shard.rows for shard in self.shards) or self._file["input"].shape[0]
        self.widths: tuple[int, ...] = tuple(self._layout[name].shape[1] for name in site_names(self._layout))
        self.n_p: int = self.widths[0]
        self.n_r: int | None = self.widths[1] if len(self.widths) > 1 else None

    def _open_shards(self, group: h5py.Group) -> None:
        names, checksums = (group[name].asstr()[:] for name in ("file", "checksum"))
        for name, checksum in zip(names, checksums, strict=True):
            try:
                shard = ActivationStore(self.path.parent / name)
            except StoreError as error:
                raise StoreError(f"{self.path}: one of its shards is missing or damaged: {error}") from error
            self.shards.append(shard)
            if shard.checksum != checksum:
                raise StoreError(f"{self.path}: its shard {shard.path} has other samples; write the index again")

    @property
    def chunk_rows(self) -> int:
        """Number of rows in a chunk of ``input``. Whole chunks are fast to read."""
        return int(self._layout["input"].chunks[0])

    def columns(self) -> dict[str, str]:
        """Return the precision of each column by name."""
        return {name: dtype_of(self._layout[name]) for name in column_names(self._layout)}

    def has(self, column: str) -> bool:
        """Return whether the column exists."""
        return self._place(column) in self._layout

    def read(self, column: str, start: int = 0, stop: int | None = None) -> np.ndarray:
        """Return rows ``start:stop`` of ``input``, ``target``, ``site2``, ..., ``labels`` or a reference as ``token``.

        Numbers keep their stored precision, but bfloat16 is converted to float32. StoreError for an unknown column.
        """
        if self.shards:
            return self._read_shards(column, start, stop)
        if (place := self._place(column)) not in self._file:
            names = ", ".join(name.removeprefix(REFERENCES) for name in column_names(self._file))
            raise StoreError(f"{self.path}: contains no column {column!r}; its columns are {names}")
        with self._unchanged, hdf5_errors(self.path):
            dataset = self._file[place]
            return decode(read_stored(dataset, start, stop), dtype_of(dataset))

    def _read_shards(self, column: str, start: int, stop: int | None) -> np.ndarray:
        start, stop, _ = slice(start, stop).indices(self.rows)
        blocks, first = [self.shards[0].read(column, 0, 0)], 0
        for shard in self.shards:
            if start < first + shard.rows and first < stop:
                blocks.append(shard.read(column, max(0, start - first), stop - first))
            first += shard.rows
        return blocks[1] if len(blocks) == 2 else np.concatenate(blocks)

    def _place(self, column: str) -> str:
        """Return where the file contains a column. A reference may be named without the folder of references."""
        return REFERENCES + column if REFERENCES + column in self._layout else column

    def references(self) -> list[str]:
        """Return the names of the columns with the origin of each sample."""
        return sorted(self._layout.get("references", {}))

    def class_names(self) -> list[str] | None:
        """Return the names of the classes, or None without classes."""
        return list(self._layout["class_names"].asstr()[:]) if "class_names" in self._layout else None

    def features(self) -> scipy.sparse.csr_array | None:
        """Return the ground-truth coefficients (N x n), or None if they are unknown."""
        if "features" not in self._layout:
            return None
        with self._unchanged, hdf5_errors(self.path):
            group = self._file["features"]
            parts = tuple(group[part][:] for part in ("data", "indices", "indptr"))
            return scipy.sparse.csr_array(parts, shape=tuple(group.attrs["shape"]))

    def provenance_of_rows(self) -> dict[str, Json]:
        """Return the provenance of the rows; an index returns the provenance of its first shard."""
        return self.shards[0].provenance if self.shards else self.provenance

    def verify(self) -> None:
        """Read the whole store, or all shards of an index; StoreError if it is damaged."""
        for shard in self.shards:
            shard.verify()
        if not self.shards:
            with self._unchanged, hdf5_errors(self.path):
                if self._checksum() != self.checksum:
                    raise StoreError(f"{self.path}: is damaged: it does not match its checksum; write it again")

    def _checksum(self) -> str:
        """Read all datasets of the file, and return their checksum."""
        checksum, file = Checksum(), self._file
        for name in column_names(file) + [f"features/{part}" for part in file.get("features", {})]:
            rows = file[name].chunks[0]
            for start in range(0, max(1, len(file[name])), rows):
                checksum.update(name, read_stored(file[name], start, start + rows))
        if "class_names" in file:
            checksum.update("class_names", read_stored(file["class_names"]))
        if "features" in file:
            checksum.update("features", file["features"].attrs["shape"])
        return checksum.hexdigest()

    def stored_blocks(self) -> Iterator[dict[str, np.ndarray]]:
        """Yield all columns of a file in their stored form, at most a chunk of rows at a time."""
        names = column_names(self._file)
        rows = min(self._file[name].chunks[0] for name in names)
        for start in range(0, self.rows, rows):
            with hdf5_errors(self.path):
                columns = {name: read_stored(self._file[name], start, start + rows) for name in names}
            yield columns

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

    Raises
    ------
    StoreError
        If the file is an HDF5 file that is not a store.
    """
    if not h5py.is_hdf5(path):
        return sha256_of(path)
    with ActivationStore(path) as store:
        return store.checksum


def is_of_language_model(provenance: Mapping[str, Json]) -> bool:
    """Return whether rows with this provenance are activations from a language model."""
    return "separator" in provenance


def provenance_of_rows(path: str | Path) -> Mapping[str, Json]:
    """Return the provenance of a store's rows, or of the rows of a stream whose recipe (JSON) is at ``path``."""
    if not h5py.is_hdf5(path):
        recipe: dict[str, Any] = json.loads(Path(path).read_text(encoding="utf-8"))
        return dict(recipe["provenance"])
    with ActivationStore(path) as store:
        return store.provenance_of_rows()
