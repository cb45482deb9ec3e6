"""Read activation stores, and verify their checksums."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import scipy.sparse

from sdlcore.data.checksums import find_damage
from sdlcore.data.layout import (
    CHECKSUM_ROWS,
    DAMAGE,
    FORMAT,
    VERSION,
    blocks_of,
    checked_columns,
    checksum_of,
    column_names,
    decode,
    dtype_of,
    read_stored,
    site_names,
)
from sdlcore.errors import StoreError, printable_cause
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
        Files that an index refers to; empty for a store that is one file.

    Raises
    ------
    StoreError
        If the file, or a shard of an index, is missing, damaged or not a store of this version. Samples are not
        verified (`verify`).
    SourceError
        By a read, if the file or a shard was written to or replaced since it was opened.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        if not self.path.is_file():
            raise StoreError(f"{path}: no such activation store")
        try:
            self._file = h5py.File(self.path, "r")
        except OSError as error:
            raise StoreError(f"{path}: not a readable HDF5 file ({error})") from printable_cause(error)
        try:
            self._open()
        except DAMAGE as error:
            self._file.close()
            if isinstance(error, StoreError):
                raise
            raise StoreError(
                f"{path}: is damaged, its tables cannot be read ({error}); write the store again"
            ) from printable_cause(error)

    def _open(self) -> None:
        attributes = self._file.attrs
        if attributes.get("format") != FORMAT or "input" not in self._file:
            raise StoreError(f"{self.path}: is an HDF5 file, but not an {FORMAT}")
        if attributes["version"] != VERSION:
            raise StoreError(
                f"{self.path}: is a store of version {attributes['version']}, but this code reads version {VERSION}"
            )
        self.rows: int = self._file["input"].shape[0]
        self.widths: tuple[int, ...] = tuple(self._file[name].shape[1] for name in site_names(self._file))
        self.n_p: int = self.widths[0]
        self.n_r: int | None = self.widths[1] if len(self.widths) > 1 else None
        self.provenance: dict[str, Json] = json.loads(attributes["provenance"])
        self.checksum: str = attributes["checksum"]
        self.shards: list[Path] = []
        if "shards" in self._file:
            self.shards = _checked_shards(self.path, self._file["shards"])
        self._unchanged = Unchanged(self.path, *self.shards)

    @property
    def chunk_rows(self) -> int:
        """Number of rows in a chunk of ``input``. Whole chunks are fast to read."""
        chunks = self._file["input"].chunks
        return int(chunks[0] if chunks else self._file["shards"].attrs["chunk_rows"])

    def columns(self) -> dict[str, str]:
        """Return the precision of each column by name."""
        return {name: dtype_of(self._file[name]) for name in column_names(self._file)}

    def has(self, column: str) -> bool:
        """Return whether the column exists."""
        return self._place(column) in self._file

    def read(self, column: str, start: int = 0, stop: int | None = None) -> np.ndarray:
        """Return rows ``start:stop`` of ``input``, ``target``, ``site2``, ..., ``labels`` or a reference as ``token``.

        Numbers keep their stored precision, but bfloat16 is converted to float32. StoreError for an unknown column.
        """
        with self._unchanged:
            dataset = self.dataset(column)
            return decode(read_stored(dataset, start, stop), dtype_of(dataset))

    def dataset(self, column: str) -> h5py.Dataset:
        """Return a column as an HDF5 dataset, for reading parts of it without conversion."""
        if (place := self._place(column)) not in self._file:
            names = ", ".join(name.removeprefix(REFERENCES) for name in column_names(self._file))
            raise StoreError(f"{self.path}: contains no column {column!r}; its columns are {names or 'none'}")
        return self._file[place]

    def _place(self, column: str) -> str:
        """Return where the file contains a column. A reference may be named without the folder of references."""
        return REFERENCES + column if column not in self._file and REFERENCES + column in self._file else column

    def references(self) -> list[str]:
        """Return the names of the columns with the origin of each sample."""
        return sorted(self._file.get("references", {}))

    def class_names(self) -> list[str] | None:
        """Return the names of the classes, or None without classes."""
        return list(self._file["class_names"].asstr()[:]) if "class_names" in self._file else None

    def features(self) -> scipy.sparse.csr_array | None:
        """Return the ground-truth coefficients (N x n), or None if they are unknown."""
        if "features" not in self._file:
            return None
        with self._unchanged:
            group = self._file["features"]
            parts = tuple(group[part][:] for part in ("data", "indices", "indptr"))
            matrix = scipy.sparse.csr_array(parts, shape=tuple(group.attrs["shape"]))
        matrix.check_format(full_check=True)  # scipy trusts indices, and one out of range ends the process
        return matrix

    def provenance_of_rows(self) -> dict[str, Json]:
        """Return the provenance of the rows; an index returns the provenance of its first shard."""
        if not self.shards:
            return self.provenance
        with ActivationStore(self.shards[0]) as shard:
            return shard.provenance

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
        self._file.close()

    def __enter__(self) -> "ActivationStore":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def check_bytes(path: str | Path) -> None:
    """Verify the bytes of a store by the checksums at its end, before HDF5 reads it; shards of an index are skipped.

    Raises
    ------
    StoreError
        If bytes are damaged or there are no checksums; the message names the file and the bytes.
    """
    try:
        damage = find_damage(path)
    except FileNotFoundError as error:
        raise StoreError(f"{path}: no such activation store") from error
    except LookupError as error:
        raise StoreError(
            f"{path}: does not end with its checksums: it is damaged, not an activation store, or from an earlier "
            "version; write it again"
        ) from error
    if damage is not None:
        raise StoreError(f"{path}: is damaged: {damage}; write the store again")


def open_checked(path: str | Path) -> ActivationStore:
    """Verify the bytes of a store, but not of an index's shards, and open it; errors as for `check_bytes`."""
    check_bytes(path)
    return ActivationStore(path)


def content_digest(path: str | Path) -> str:
    """Return a hex SHA-256 of a file's content: a store's checksum, or the SHA-256 of another file's bytes.

    A store whose writing was interrupted contains the same samples as an uninterrupted one, but other bytes.

    Raises
    ------
    StoreError
        As for `check_bytes`, if the file is an HDF5 file.
    """
    if not h5py.is_hdf5(path):
        return sha256_of(path)
    with open_checked(path) as store:
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


def verify(path: str | Path) -> None:
    """Recompute the checksums of a store, or of all shards of an index.

    Raises
    ------
    StoreError
        If the file is damaged; the message names it and the damaged bytes, or the column and rows.
    """
    check_bytes(path)
    with ActivationStore(path) as store:
        for shard in store.shards:
            verify(shard)
        if not store.shards:
            _verify_columns(store.path, store._file, store.checksum)


def _verify_columns(path: Path, file: h5py.File, checksum: str) -> None:
    name = "its list of columns"
    try:
        for name in checked_columns(file):
            rows, expected = len(file[name]), [row.tobytes() for row in file[f"checksums/{name}"][:]]
            for start, digest in blocks_of(file[name], rows):
                if digest != expected[start // CHECKSUM_ROWS]:
                    stop = min(start + CHECKSUM_ROWS, rows)
                    raise StoreError(f"{path}: {name} is damaged in rows {start} to {stop - 1}; write the store again")
        name = "its checksum"
        if checksum_of(file) != checksum:
            raise StoreError(f"{path}: does not match its checksum; its shape, class names or digests are damaged")
    except DAMAGE as error:
        if isinstance(error, StoreError):
            raise
        raise StoreError(
            f"{path}: {name} is damaged and cannot be read ({error}); write the store again"
        ) from printable_cause(error)


def _checked_shards(index: Path, group: h5py.Group) -> list[Path]:
    """Check and return the shards of an index. HDF5 would read a missing shard as fill values."""
    paths = []
    names, rows, checksums = (group[name][:] for name in ("file", "rows", "checksum"))
    for name, expected_rows, expected_checksum in zip(names, rows, checksums, strict=True):
        shard = index.parent / name.decode()
        try:
            with ActivationStore(shard) as store:
                found_rows, found_checksum = store.rows, store.checksum
        except StoreError as error:
            raise StoreError(f"{index}: one of its shards is missing or damaged: {error}") from error
        if found_rows != expected_rows or found_checksum != expected_checksum.decode():
            raise StoreError(
                f"{index}: its shard {shard} has {found_rows} rows with checksum {str(found_checksum)[:12]}, expected "
                f"{expected_rows} with {expected_checksum.decode()[:12]}; write the index again"
            )
        paths.append(shard)
    return paths
