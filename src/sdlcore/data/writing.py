"""Write activation stores: in one go, in parts that survive interruptions, or as an index of shards."""

import hashlib
import json
import logging
import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, TypeVar, get_args

import h5py
import numpy as np
import scipy.sparse

from sdlcore.data.layout import FORMAT, VERSION, Checksum, check_values, chunk_rows, encode
from sdlcore.data.pairs import all_sites, is_site, site_column
from sdlcore.data.reading import ActivationStore
from sdlcore.errors import StoreError
from sdlcore.identity import NUMBERS, RECORDED
from sdlcore.settings import Json, Settings, StoredPrecision
from sdlcore.storage.files import atomic_path, disk_errors, lock, remove_leftovers

log = logging.getLogger(__name__)

References = Mapping[str, np.ndarray | Sequence[str]]
Kinds = dict[str, tuple[np.dtype, tuple[int, ...]]]
"""Type and shape of a row of each column; texts are objects."""
State = TypeVar("State", bound=Settings)
LOCK_SECONDS = 10.0
OPEN = "open.h5"


class StoreWriter:
    """Append blocks of samples, and their ground truth, to a store that is being written; see `create_store`.

    Attributes
    ----------
    rows
        Samples written so far.
    provenance, class_names
        How the store was created, and names of its classes. Both can be changed until the store is finished.
    kinds
        Type and shape of a row of each column, as in the first block.
    """

    def __init__(
        self,
        file: h5py.File,
        path: Path,
        dtype: str,
        provenance: Mapping[str, Json],
        class_names: Sequence[str] | None = None,
        first_row: int = 0,
        kinds: Kinds | None = None,
    ) -> None:
        self.provenance, self.class_names = dict(provenance), class_names
        self.rows = 0
        self.kinds: Kinds = kinds or {}
        self._file, self._path, self._dtype, self._first_row = file, path, dtype, first_row
        self._checksum = Checksum()
        # kept open, since an open dataset keeps its last, incomplete chunk in memory
        self.datasets: dict[str, h5py.Dataset] = {}
        self._texts: dict[str, list[str]] = {}
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
        """Append B samples. Every block must contain the same columns as the first.

        Parameters
        ----------
        input, target
            B x n_p and B x n_r, finite numbers.
        labels
            B integers, -1 for a sample without a class.
        references
            Columns of B numbers or strings.
        features
            Ground-truth coefficients (B x n).
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
            check_values(f"{self._path}: {name}", np.asarray(values), self._dtype, self._first_row + self.rows)
            columns[name] = encode(values, self._dtype)
        if labels is not None:
            columns["labels"] = _as_stored("labels", np.asarray(labels), np.dtype(np.int32))
        for name, column in (references or {}).items():
            values = np.asarray(column)
            if values.dtype.kind == "S":
                values = np.char.decode(values, "utf-8")
            dtype, _ = self.kinds.get(f"references/{name}", (_stored_dtype(values), ()))
            columns[f"references/{name}"] = _as_stored(name, values, dtype)
        parts = columns if features is None else columns | {"features": features}
        lengths = {name: values.shape[0] for name, values in parts.items()}
        if len(set(lengths.values())) != 1:
            raise ValueError(f"{self._path}: columns of one block differ in length: {lengths}")
        kinds = {name: (_stored_dtype(values), values.shape[1:]) for name, values in parts.items()}
        self.kinds = self.kinds or kinds
        if kinds != self.kinds:
            raise ValueError(f"{self._path}: block has columns {kinds}, expected {self.kinds} as in the first block")
        if features is not None:
            self._features.append(scipy.sparse.csr_array(features, dtype=np.float32))
        self.append_stored(columns)

    def append_stored(self, columns: Mapping[str, np.ndarray]) -> None:
        """Append rows in their stored form, by column name; strings are objects."""
        for name, values in columns.items():
            self._checksum.update(name, values)
            if values.dtype == object:
                self._texts.setdefault(name, []).extend(values)
                continue
            if name not in self.datasets:
                self.datasets[name] = self._create(name, values.dtype, values.shape[1:])
            dataset = self.datasets[name]
            before = len(dataset)
            dataset.resize(before + len(values), axis=0)
            dataset[before:] = values
        self.rows += len(columns["input"])

    def finish(self) -> None:
        """Write texts, whose length is known only now, features, and the attributes that make the file a store."""
        for name, texts in self._texts.items():
            _write_texts(self._file, name, texts)
        if self._features:
            matrix = scipy.sparse.csr_array(scipy.sparse.vstack(self._features))
            group = self._file.create_group("features")
            group.attrs["shape"] = matrix.shape
            self._checksum.update("features", np.array(matrix.shape))
            for part in ("data", "indices", "indptr"):
                values = getattr(matrix, part)
                group.create_dataset(part, data=values, maxshape=(None,), fletcher32=True)
                self._checksum.update(f"features/{part}", values)
        if self.class_names is not None:
            _write_texts(self._file, "class_names", self.class_names)
            self._checksum.update("class_names", np.array(self.class_names, dtype=object))
        _write_header(self._file, self.provenance, self._checksum.hexdigest())

    def _create(self, name: str, dtype: np.dtype, shape: tuple[int, ...]) -> h5py.Dataset:
        chunks = (chunk_rows(int(np.prod(shape, dtype=int)) * dtype.itemsize), *shape)
        dataset = self._file.create_dataset(
            name, (0, *shape), dtype, maxshape=(None, *shape), chunks=chunks, fletcher32=True
        )
        if is_site(name) and self._dtype == "bfloat16":
            dataset.attrs["dtype"] = self._dtype
        return dataset


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
        If, at the end of the block, the store is empty.
    OSError
        If the file cannot be written.
    """
    dtype = _precision(dtype)
    with atomic_path(path) as part, _new_file(part) as file:
        writer = StoreWriter(file, Path(path), dtype, provenance, class_names)
        yield writer
        if writer.rows == 0:
            raise StoreError(f"{path}: a store needs at least one sample")
        writer.finish()


class Progress(Settings):
    """Progress of a source that produces numbered blocks or rows."""

    next: int = 0
    """Number of the next block or row."""


class ResumableWriter:
    """Append blocks of samples to a store that survives interruptions; see `resume_store`.

    Attributes
    ----------
    rows
        Samples written so far, including earlier attempts.
    provenance
        Provenance of the store. Facts can be added to the provenance until the block ends.
    """

    def __init__(
        self, path: Path, dtype: str, provenance: Mapping[str, Json], class_names: Sequence[str] | None
    ) -> None:
        self.rows, self.provenance = 0, dict(provenance)
        self.files = ExitStack()
        self.folder = path.with_name(f".{path.name}.parts")
        self.folder.mkdir(exist_ok=True)
        self._path, self._dtype, self._class_names = path, dtype, class_names
        facts = {name: fact for name, fact in provenance.items() if name not in RECORDED}
        # what determines the rows of the store; the parts of another store are not used
        self._identity = json.dumps([VERSION, NUMBERS["activations"], dtype, class_names, facts], sort_keys=True)
        self._parts = 0  # committed
        self._state: Any = None  # at the last commit
        self._kinds: Kinds = {}
        self._writer: StoreWriter | None = None

    def state(self, begin: State) -> State:
        """Return the source's progress at the last commit, or ``begin`` if there was none."""
        return begin if self._state is None else type(begin).from_dict(self._state)

    def append(
        self,
        input: np.ndarray,
        target: np.ndarray | None = None,
        labels: np.ndarray | None = None,
        references: References | None = None,
        *,
        more: Sequence[np.ndarray] = (),
    ) -> None:
        """Append B samples, as in `StoreWriter.append`."""
        if self._writer is None:
            file = self.files.enter_context(_new_file(self.folder / OPEN))
            self._writer = StoreWriter(file, self._path, self._dtype, {}, None, self.rows, self._kinds)
        self._writer.append(input, target, labels, references, more=more)
        self._kinds = self._writer.kinds
        self.rows += len(input)

    def commit(self, state: Settings) -> None:
        """Save all rows appended so far, so that a kill cannot lose them. Without new rows, nothing is saved.

        Parameters
        ----------
        state
            Progress of the source; the next attempt gets it from `state`.
        """
        if self._writer is None or not self._writer.datasets:
            return
        self._end_part(self._writer, state.to_dict())
        # no fsync: after a power loss, the checksum of each part shows whether it is usable
        (self.folder / OPEN).replace(self._part(self._parts))
        self._parts += 1

    def take_over(self) -> None:
        """Continue behind the parts of an earlier attempt, up to the first unusable part, and remove the rest."""
        while (path := self._part(self._parts)).exists():
            try:
                with self._open_part(path, self.rows) as part:
                    part.verify()
                    block = next(part.stored_blocks(), {})
            except StoreError as error:
                log.warning("%s; it is removed, and writing resumes from row %d", error, self.rows)
                break
            self.rows += part.rows
            self._state = part.provenance["state"]
            self._kinds = self._kinds or {
                name: (_stored_dtype(values), values.shape[1:]) for name, values in block.items()
            }
            self._parts += 1
        self.remove_uncommitted()
        if self._parts:
            log.info("%s: resuming from row %d", self._path, self.rows)

    def finish(self) -> None:
        """Join the parts into the store."""
        paths = [self._part(number) for number in range(self._parts)]
        if self._writer is not None and self._writer.datasets:  # rows after the last commit
            self._end_part(self._writer, None)
            paths.append(self.folder / OPEN)
        with create_store(self._path, self.provenance, self._dtype, self._class_names) as store:
            for path in paths:
                with self._open_part(path, store.rows) as part:
                    for columns in part.stored_blocks():
                        store.append_stored(columns)
            if store.rows != self.rows:  # the caller ignored an error of a commit
                problem = f"{self._path}: its parts contain {store.rows} rows"
                raise StoreError(f"{problem}, expected {self.rows}; repeat the command")
        self._parts = 0

    def remove_uncommitted(self) -> None:
        """Remove everything from the folder but the committed parts."""
        part_files = {self._part(number) for number in range(self._parts)}
        for path in list(self.folder.iterdir()):
            if path not in part_files:
                shutil.rmtree(path) if path.is_dir() else path.unlink()

    def _part(self, number: int) -> Path:
        return self.folder / f"{number:05}.h5"

    def _end_part(self, part: StoreWriter, state: Json) -> None:
        self._writer = None
        part.provenance = {"identity": self._identity, "rows": self.rows, "state": state}
        part.finish()
        self.files.close()

    @contextmanager
    def _open_part(self, path: Path, before: int) -> Iterator[ActivationStore]:
        """Open a part after ``before`` rows; StoreError if it is damaged or from another store."""
        with ActivationStore(path) as part:
            found = part.provenance.get("identity"), part.provenance.get("rows")
            if found != (self._identity, before + part.rows):
                raise StoreError(f"{path}: this part of the store was written with other settings or inputs")
            yield part


@contextmanager
def resume_store(
    path: str | Path,
    provenance: Mapping[str, Json],
    dtype: str | np.dtype = "float16",
    class_names: Sequence[str] | None = None,
) -> Iterator[ResumableWriter]:
    """Create a store at ``path``, or resume one that an earlier attempt left unfinished.

    The store appears at ``path`` only if the block ends without an exception. After a kill or an exception, the next
    call with the same arguments resumes from the last commit; a call with other arguments starts again. If the same
    samples are appended, the finished store contains the same datasets and attributes, however often it was
    interrupted.

    An unfinished store is a folder of parts, ``.<name>.parts``, beside ``path``. Each commit adds a part: a store with
    the rows since the last commit, whose provenance records the progress of the source. A part is written atomically
    and never changes, so a kill loses only the part that is being written. At the end the parts are joined.

    Parameters
    ----------
    path
        File to make or replace. The disk needs room for twice the store's size while the parts are joined.
    provenance
        Facts that determine the samples (configuration, checksums of inputs), stored as JSON. If an unfinished store
        has other facts, its parts are not used; versions, code and device may differ.
    dtype
        Precision of all sites: float16, bfloat16 or float32.
    class_names
        Names of the classes; ``labels`` are indices into them.

    Raises
    ------
    StoreError
        If the store is empty at the end, or a part was damaged meanwhile.
    SourceError
        If another process is writing the same store.
    OSError
        If the folder of parts cannot be written.
    """
    path, dtype = Path(path), _precision(dtype)
    path.parent.mkdir(parents=True, exist_ok=True)
    # processes of a killed writer, such as those that load images, may keep its lock for some seconds
    with lock(path, seconds=LOCK_SECONDS), disk_errors(path):
        remove_leftovers(path, days=0)
        writer = ResumableWriter(path, dtype, provenance, None if class_names is None else list(class_names))
        writer.take_over()
        try:
            with writer.files:
                yield writer
                writer.finish()
        finally:
            writer.remove_uncommitted()
            if not any(writer.folder.iterdir()):  # otherwise the parts of an unfinished store
                writer.folder.rmdir()


def unite(paths: Sequence[str | Path], index_path: str | Path, provenance: Mapping[str, Json]) -> None:
    """Write an index file that reads as one store with the samples of all shards, in order.

    No samples are copied. The index refers to the shards by relative paths, so a folder with both can be moved. The
    index stores the shards' checksums, and its own checksum is computed from theirs.

    Parameters
    ----------
    paths
        At least one finished shard; none may be an index, or contain ground-truth features.
    index_path
        File to make or replace.
    provenance
        How the index was created, stored as JSON.

    Raises
    ------
    StoreError
        If there is no shard, or if a shard is missing, is an index, contains features, or disagrees with the first
        shard in columns, precisions, dimensions or class names.
    """
    index_path = Path(index_path)
    if not paths:
        raise StoreError(f"{index_path}: the list of shards to combine is empty")
    with ExitStack() as stack:
        shards = [stack.enter_context(ActivationStore(path)) for path in paths]
        for shard in shards:
            if shard.shards or shard.has("features"):
                raise StoreError(f"{shard.path}: is an index itself or contains ground-truth features")
            for what, value, expected in (
                ("columns", shard.columns(), shards[0].columns()),
                ("dimensions", shard.widths, shards[0].widths),
                ("class names", shard.class_names(), shards[0].class_names()),
            ):
                if value != expected:
                    raise StoreError(f"{shard.path}: its {what} are {value}, expected {expected} as in {paths[0]}")
        checksums = [shard.checksum for shard in shards]
        with atomic_path(index_path) as part, _new_file(part) as file:
            _write_header(file, provenance, hashlib.sha256("\n".join(checksums).encode()).hexdigest())
            _write_texts(file, "shards/file", [os.path.relpath(shard.path, index_path.parent) for shard in shards])
            _write_texts(file, "shards/checksum", checksums)


def _precision(dtype: str | np.dtype) -> str:
    """Return the name of a storage precision; StoreError if activations cannot be stored in it."""
    name = dtype if isinstance(dtype, str) else np.dtype(dtype).name
    if name not in get_args(StoredPrecision):
        raise StoreError(f"dtype is {name}, expected one of {', '.join(get_args(StoredPrecision))}")
    return name


def _new_file(path: Path) -> h5py.File:
    """Create an HDF5 file in the latest format, whose tables have checksums."""
    return h5py.File(path, "w", libver="latest")


def _write_header(file: h5py.File, provenance: Mapping[str, Json], checksum: str) -> None:
    """Write the attributes that mark a file as a store."""
    file.attrs["version"] = VERSION
    for name, text in (
        ("format", FORMAT),
        ("provenance", json.dumps(dict(provenance), sort_keys=True)),
        ("checksum", checksum),
    ):
        file.attrs[name] = np.bytes_(text)


def _write_texts(file: h5py.File, name: str, texts: Sequence[str]) -> None:
    """Write texts as a dataset of one length. HDF5 has no checksums for texts of variable length."""
    encoded = [str(text).encode() for text in texts]
    width = max(1, *map(len, encoded))
    dtype = h5py.string_dtype("utf-8", width)
    chunks = (chunk_rows(width),)
    file.create_dataset(name, data=np.array(encoded, dtype), maxshape=(None,), chunks=chunks, fletcher32=True)


def _stored_dtype(values: np.ndarray | scipy.sparse.csr_array) -> np.dtype:
    """Return the type of a column in a store; texts are objects."""
    return np.dtype(object) if values.dtype.kind in "USO" else values.dtype


def _as_stored(name: str, values: np.ndarray, dtype: np.dtype) -> np.ndarray:
    """Convert a column to its stored type; ValueError if the conversion would change values."""
    with np.errstate(invalid="ignore"):  # NaN cannot be converted to a whole number
        stored = values.astype(dtype, copy=False)
    if values.ndim != 1 or (dtype.kind != "O" and not np.array_equal(stored, values, equal_nan=dtype.kind == "f")):
        raise ValueError(f"{name} is {values.dtype} of shape {values.shape}, expected a value of {dtype} per sample")
    return stored
