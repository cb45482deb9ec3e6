"""Write activation stores in parts that survive interruptions, or as an index of shards."""

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

from sdlcore.data.pairs import all_sites, is_site, site_column
from sdlcore.data.reading import FORMAT, REFERENCES, VERSION, ActivationStore, Checksum, chunk_rows, decode
from sdlcore.errors import StoreError
from sdlcore.identity import NUMBERS, RECORDED
from sdlcore.settings import Json, Settings, StoredPrecision
from sdlcore.storage.files import atomic_path, check_writable, disk_errors, lock, remove_leftovers

log = logging.getLogger(__name__)

Kinds = dict[str, tuple[np.dtype, tuple[int, ...]]]
"""Type and shape of a row of each column; texts are objects."""
State = TypeVar("State", bound=Settings)
LOCK_SECONDS = 10.0
OPEN = "open.h5"


def encode(name: str, values: np.ndarray, dtype: str, first: int) -> np.ndarray:
    """Convert rows of a site to their stored form; bfloat16 is the uint16 of its bits, rounded to nearest even.

    Parameters
    ----------
    name
        File, array or column, for the message.
    values
        B x dimension numbers.
    dtype
        Precision of the store.
    first
        Number of the first of the rows, for the message.

    Raises
    ------
    StoreError
        If a row contains NaN or infinity, or numbers that overflow; or if it is not zero and becomes zero, as numbers
        below 3e-8 do in float16. The message names the row.
    """
    with np.errstate(over="ignore"):  # infinity is refused below
        stored = np.ascontiguousarray(values, dtype=np.float32 if dtype == "bfloat16" else dtype)
    if dtype == "bfloat16":
        import torch  # imported here, since stages that store other precisions do not need it

        stored = torch.tensor(stored, dtype=torch.bfloat16).view(torch.int16).numpy().view(np.uint16)
    read = decode(stored, dtype)
    finite, lost = np.isfinite(read).all(axis=1), ~(read != 0).any(axis=1)
    lost[lost] = (values[lost] != 0).any(axis=1)
    if finite.all() and not lost.any():
        return stored
    row = int(np.argmax(~finite | lost))
    largest = float(np.abs(values[row].astype(np.float64)).max())
    remedy = "multiply it by a constant" if dtype == "float32" else "set dtype float32, or multiply it by a constant"
    if not np.isfinite(largest):
        problem, remedy = "contains NaN or infinity", "leave such rows out"
    elif lost[row]:
        problem = f"has a largest magnitude of {largest:.3g}, which is zero in {dtype}"
    else:
        problem = f"contains {largest:.3g}, too large for {dtype}"
    raise StoreError(f"{name}: row {first + row} {problem}; {remedy}")


class _File:
    """An HDF5 file that is filled with rows in their stored form; texts are objects."""

    def __init__(self, path: Path, dtype: str) -> None:
        self.rows = 0
        self.hdf5 = _new_file(path)
        self._dtype, self._checksum = dtype, Checksum()
        # kept open, since an open dataset keeps its last, incomplete chunk in memory
        self._datasets: dict[str, h5py.Dataset] = {}
        self._texts: dict[str, list[str]] = {}
        self._features: list[scipy.sparse.csr_array] = []

    def append(self, columns: Mapping[str, np.ndarray], features: scipy.sparse.csr_array | None = None) -> None:
        """Append B rows of each column, and their ground-truth coefficients (B x n)."""
        if features is not None:
            self._features.append(features)
        for name, values in columns.items():
            self._checksum.update(name, values)
            if values.dtype == object:
                self._texts.setdefault(name, []).extend(values)
                continue
            if name not in self._datasets:
                self._datasets[name] = self._create(name, values.dtype, values.shape[1:])
            dataset = self._datasets[name]
            before = len(dataset)
            dataset.resize(before + len(values), axis=0)
            dataset[before:] = values
        self.rows += len(columns["input"])

    def _create(self, name: str, dtype: np.dtype, shape: tuple[int, ...]) -> h5py.Dataset:
        chunks = (chunk_rows(int(np.prod(shape, dtype=int)) * dtype.itemsize), *shape)
        dataset = self.hdf5.create_dataset(
            name, (0, *shape), dtype, maxshape=(None, *shape), chunks=chunks, fletcher32=True
        )
        if is_site(name) and self._dtype == "bfloat16":
            dataset.attrs["dtype"] = self._dtype
        return dataset

    def finish(self, provenance: Mapping[str, Json], class_names: Sequence[str] | None = None) -> None:
        """Write texts, whose length is known only now, features, and the attributes that make the file a store."""
        for name, texts in self._texts.items():
            _write_texts(self.hdf5, name, texts)
        if self._features:
            matrix = scipy.sparse.csr_array(scipy.sparse.vstack(self._features))
            group = self.hdf5.create_group("features")
            group.attrs["shape"] = matrix.shape
            self._checksum.update("features", np.array(matrix.shape))
            for part in ("data", "indices", "indptr"):
                values = getattr(matrix, part)
                group.create_dataset(part, data=values, maxshape=(None,), fletcher32=True)
                self._checksum.update(f"features/{part}", values)
        if class_names is not None:
            _write_texts(self.hdf5, "class_names", class_names)
            self._checksum.update("class_names", np.array(class_names, dtype=object))
        _write_header(self.hdf5, provenance, self._checksum.hexdigest())
        self.hdf5.flush()  # an error leaves the file open
        self.hdf5.close()

    def abandon(self) -> None:
        """Close an unfinished file without writing it. HDF5 would write its caches to a full disk again, and crash."""
        if self.hdf5:
            with Path(os.devnull).open("r+b") as nothing:
                os.dup2(nothing.fileno(), self.hdf5.id.get_vfd_handle())
            self.hdf5.close()


class ResumableWriter:
    """Append blocks of samples to a store that survives interruptions; see `resume_store`.

    Attributes
    ----------
    rows
        Samples written so far, including earlier attempts.
    provenance, class_names
        How the store is created, and the names of its classes. Both can be changed until the block ends.
    """

    def __init__(
        self, path: Path, dtype: str, provenance: Mapping[str, Json], class_names: Sequence[str] | None
    ) -> None:
        self.rows, self.provenance, self.class_names = 0, dict(provenance), class_names
        self.folder = path.with_name(f".{path.name}.parts")
        self.folder.mkdir(exist_ok=True)
        self._path, self._dtype = path, dtype
        facts = {name: fact for name, fact in provenance.items() if name not in RECORDED}
        # what determines the rows of the store; the parts of another store are not used
        self._identity = json.dumps([VERSION, NUMBERS["activations"], dtype, class_names, facts], sort_keys=True)
        self._parts = 0  # committed
        self._state: Any = None  # at the last commit
        self._kinds: Kinds = {}
        self._file: _File | None = None  # with the rows since the last commit

    def state(self, begin: State) -> State:
        """Return the source's progress at the last commit, or ``begin`` if there was none."""
        return begin if self._state is None else type(begin).from_dict(self._state)

    def append(
        self,
        input: np.ndarray,
        target: np.ndarray | None = None,
        labels: np.ndarray | None = None,
        references: Mapping[str, np.ndarray | Sequence[str]] | None = None,
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
            columns[name] = encode(f"{self._path}: {name}", np.asarray(values), self._dtype, self.rows)
        if labels is not None:
            columns["labels"] = _as_stored("labels", np.asarray(labels), np.dtype(np.int32))
        for name, column in (references or {}).items():
            values = np.asarray(column)
            dtype, _ = self._kinds.get(REFERENCES + name, (_stored_dtype(values), ()))
            columns[REFERENCES + name] = _as_stored(name, values, dtype)
        if features is not None:
            features = scipy.sparse.csr_array(features, dtype=np.float32)
        parts = columns if features is None else columns | {"features": features}
        lengths = {name: values.shape[0] for name, values in parts.items()}
        if len(set(lengths.values())) != 1:
            raise ValueError(f"{self._path}: columns of one block differ in length: {lengths}")
        kinds = _kinds_of(parts)
        self._kinds = self._kinds or kinds
        if kinds != self._kinds:
            raise ValueError(f"{self._path}: block has columns {kinds}, expected {self._kinds} as in the first block")
        if self._file is None:
            check_writable(self.folder)  # HDF5 crashes if it cannot write the beginning of a file
            self._file = _File(self.folder / OPEN, self._dtype)
        self._file.append(columns, features)
        self.rows += len(input)

    def commit(self, state: Settings) -> None:
        """Save all rows appended so far, so that a kill cannot lose them. Without new rows, nothing is saved.

        Parameters
        ----------
        state
            Progress of the source; the next attempt gets it from `state`.
        """
        if self._file is None:
            return
        self._file.finish({"identity": self._identity, "rows": self.rows, "state": state.to_dict()})
        self._file = None
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
                    features = part.features()
            except StoreError as error:
                log.warning("%s; it is removed, and writing resumes from row %d", error, self.rows)
                break
            self.rows += part.rows
            self._state = part.provenance["state"]
            self._kinds = self._kinds or _kinds_of(block if features is None else block | {"features": features})
            self._parts += 1
        self.remove_uncommitted()
        if self._parts:
            log.info("%s: resuming from row %d", self._path, self.rows)

    def finish(self) -> None:
        """Make the store of the parts and of the rows since the last commit."""
        if not self.rows:
            raise StoreError(f"{self._path}: a store needs at least one sample")
        paths = [self._part(number) for number in range(self._parts)]
        with atomic_path(self._path) as whole:
            if self._file is not None and not paths:
                self._file.finish(self.provenance, self.class_names)
                (self.folder / OPEN).replace(whole)
            else:
                if self._file is not None:  # rows after the last commit
                    self._file.finish({"identity": self._identity, "rows": self.rows})
                    paths.append(self.folder / OPEN)
                self._join(paths, whole)
        self._parts = 0

    def _join(self, paths: Sequence[Path], path: Path) -> None:
        whole = _File(path, self._dtype)
        try:
            for part_path in paths:
                with self._open_part(part_path, whole.rows) as part:
                    features = part.features()
                    for columns in part.stored_blocks():
                        whole.append(columns, features)
                        features = None
            if whole.rows != self.rows:  # the caller ignored an error of a commit
                problem = f"{self._path}: its parts contain {whole.rows} rows"
                raise StoreError(f"{problem}, expected {self.rows}; repeat the command")
            whole.finish(self.provenance, self.class_names)
        finally:
            whole.abandon()

    def close(self) -> None:
        """Close the file of uncommitted rows, and remove everything from the folder but the committed parts."""
        try:
            if self._file is not None:
                self._file.abandon()
        finally:
            self.remove_uncommitted()
            if not self._parts:
                self.folder.rmdir()

    def remove_uncommitted(self) -> None:
        """Remove everything from the folder but the committed parts."""
        part_files = {self._part(number) for number in range(self._parts)}
        for path in list(self.folder.iterdir()):
            if path not in part_files:
                shutil.rmtree(path) if path.is_dir() else path.unlink()

    def _part(self, number: int) -> Path:
        return self.folder / f"{number:05}.h5"

    @contextmanager
    def _open_part(self, path: Path, before: int) -> Iterator[ActivationStore]:
        """Open a part after ``before`` rows; StoreError if it is damaged or from another store."""
        with ActivationStore(path) as part:
            found = part.provenance.get("identity"), part.provenance.get("rows")
            if found != (self._identity, before + part.rows):
                raise StoreError(f"{path}: this part of the store was written with other settings or inputs")
            yield part


class Progress(Settings):
    """Progress of a source that produces numbered blocks or rows."""

    next: int = 0
    """Number of the next block or row."""


@contextmanager
def resume_store(
    path: str | Path,
    provenance: Mapping[str, Json],
    dtype: str = "float16",
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
    path = Path(path)
    if dtype not in get_args(StoredPrecision):
        raise StoreError(f"dtype is {dtype}, expected one of {', '.join(get_args(StoredPrecision))}")
    path.parent.mkdir(parents=True, exist_ok=True)
    # processes of a killed writer, such as those that load images, may keep its lock for some seconds
    with lock(path, seconds=LOCK_SECONDS), disk_errors(path):
        remove_leftovers(path, days=0)
        writer = ResumableWriter(path, dtype, provenance, None if class_names is None else list(class_names))
        writer.take_over()
        try:
            yield writer
            writer.finish()
        finally:
            writer.close()


def unite(paths: Sequence[str | Path], index_path: str | Path, provenance: Mapping[str, Json]) -> None:
    """Write an index file that reads as one store with the samples of all shards, in order.

    No samples are copied. The index refers to the shards by relative paths, so a folder with the index and its shards
    can be moved. The index stores the shards' checksums, and its own checksum is computed from theirs.

    Parameters
    ----------
    paths
        At least one finished shard; none may be an index, or contain ground-truth features.
    index_path
        File to make or replace.
    provenance
        Facts about how the index was created, by name; stored as JSON.

    Raises
    ------
    StoreError
        If a shard is missing, is an index, contains features, or disagrees with the first shard in columns, precisions,
        dimensions or class names.
    """
    index_path = Path(index_path)
    with ExitStack() as stack:
        shards = [stack.enter_context(ActivationStore(path)) for path in paths]
        for shard in shards:
            if shard.shards or shard.features() is not None:
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


def _kinds_of(columns: Mapping[str, Any]) -> Kinds:
    return {name: (_stored_dtype(values), values.shape[1:]) for name, values in columns.items()}


def _stored_dtype(values: Any) -> np.dtype:
    """Return the type of a column in a store; texts are objects."""
    return np.dtype(object) if values.dtype.kind in "USO" else values.dtype


def _as_stored(name: str, values: np.ndarray, dtype: np.dtype) -> np.ndarray:
    """Convert a column to its stored type; ValueError if the conversion would change values."""
    if values.dtype.kind == "S":
        values = np.char.decode(values, "utf-8")
    with np.errstate(invalid="ignore"):  # NaN cannot be converted to a whole number
        stored = values.astype(dtype, copy=False)
    if values.ndim != 1 or (dtype.kind != "O" and not np.array_equal(stored, values, equal_nan=dtype.kind == "f")):
        raise ValueError(f"{name} is {values.dtype} of shape {values.shape}, expected a value of {dtype} per sample")
    return stored
