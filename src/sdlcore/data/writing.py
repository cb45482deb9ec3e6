"""Write activation stores that survive interruptions.

An unfinished store is a hidden folder. It contains files of rows, and progress.json, which counts the files at the last
commit. The next attempt writes the rows after these again. At the end, all files are copied to an HDF5 file.
"""

import json
import logging
import os
import shutil
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any, TypeVar

import h5py
import numpy as np
import scipy.sparse

from sdlcore.data.pairs import is_site, site_column
from sdlcore.data.reading import REFERENCES, VERSION, chunk_rows
from sdlcore.data.stored_form import Checksum, abandon, new_file, to_stored, write_header, write_texts
from sdlcore.errors import StoreError
from sdlcore.identity import NUMBERS, RECORDED
from sdlcore.settings import Json, Settings, StoredPrecision, checked
from sdlcore.storage.files import atomic_path, check_writable, disk_errors, lock, remove_leftovers, write_json
from sdlcore.storage.parsing import parsing

log = logging.getLogger(__name__)

State = TypeVar("State", bound=Settings)
LOCK_SECONDS = 10.0
PROGRESS = "progress.json"
TEXT = "text"
MOST_BYTES = 2**24
"""Rows that wait in memory for a commit are written once they take this much."""
FEATURES = ("features/data", "features/indices", "features/indptr")
"""The parts of a CSR matrix. Unfinished stores have the lengths of rows instead of the bounds, so that blocks join."""


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
        self._path, self._dtype = path, dtype
        facts = {name: fact for name, fact in provenance.items() if name not in RECORDED}
        # what determines the rows of the store; rows of another store are not used
        self._identity = json.dumps([VERSION, NUMBERS["activations"], dtype, class_names, facts], sort_keys=True)
        self._state: Any = None  # at the last commit
        self._kinds: dict[str, Any] = {}
        """Type and shape of a row of each column, as JSON."""
        self._waiting: list[dict[str, np.ndarray]] = []
        """Columns of blocks that are in no file yet."""
        self._bytes = 0
        """Bytes of the waiting blocks."""
        self._files, self._committed = 0, 0
        self._take_over()

    def state(self, begin: State) -> State:
        """Return the source's progress at the last commit, or ``begin`` if there was none."""
        if self._state is None:
            return begin
        with self._reading_progress():
            return type(begin).from_dict(self._state)

    def _reading_progress(self) -> AbstractContextManager[None]:
        return parsing(self.folder / PROGRESS, "progress", f"remove {self.folder} to begin anew")

    def append(
        self,
        *sites: np.ndarray | None,
        labels: np.ndarray | None = None,
        references: Mapping[str, np.ndarray | Sequence[str]] | None = None,
        features: scipy.sparse.csr_array | None = None,
    ) -> None:
        """Append B samples. Every block must contain the same columns as the first.

        Parameters
        ----------
        sites
            B x width finite numbers: the input, the target and further representations of the same samples. A site that
            is None is left out.
        labels
            B integers, -1 for a sample without a class.
        references
            Columns of B numbers or strings.
        features
            Ground-truth coefficients (B x n).

        Raises
        ------
        ValueError
            If columns differ from the first block's, lengths differ, a conversion would change labels or references,
            activations are not finite in the store's precision, or a nonzero row becomes zero in it.
        """
        columns: dict[str, np.ndarray] = {}
        for site, values in enumerate(values for values in sites if values is not None):
            name = site_column(site)
            if np.ndim(values) != 2:
                raise ValueError(f"{name} has shape {np.shape(values)}, expected samples x dimension")
            columns[name] = to_stored(f"{self._path}: {name}", np.asarray(values), self._dtype, self.rows)
        if labels is not None:
            columns["labels"] = _as_stored("labels", np.asarray(labels), np.dtype(np.int32))
        for name, column in (references or {}).items():
            values = np.asarray(column)
            kind = self._kinds.get(REFERENCES + name, _kind_of(values))[0]
            columns[REFERENCES + name] = _as_stored(name, values, np.dtype(object if kind == TEXT else kind))
        kinds = {name: _kind_of(values) for name, values in columns.items()}
        lengths = {name: len(values) for name, values in columns.items()}
        if features is not None:
            features = scipy.sparse.csr_array(features, dtype=np.float32)
            index = self._kinds.get("features", _kind_of(features.indices))[0]
            kinds["features"], lengths["features"] = [index, [features.shape[1]]], features.shape[0]
            data, indices = (part[: features.nnz] for part in (features.data, features.indices))
            parts = data, indices.astype(index), np.diff(features.indptr).astype(np.int64)
            columns |= dict(zip(FEATURES, parts, strict=True))
        if len(set(lengths.values())) != 1:
            raise ValueError(f"{self._path}: columns of one block differ in length: {lengths}")
        if kinds != (self._kinds or kinds):
            raise ValueError(f"{self._path}: block has columns {kinds}, expected {self._kinds} as in the first block")
        for name, values in columns.items():
            if values.dtype == object:
                lines = "".join(json.dumps(str(text), ensure_ascii=False) + "\n" for text in values)
                columns[name] = np.frombuffer(lines.encode(), np.uint8)
        # copied, since the caller may use the memory of a block for the next one
        self._waiting.append({name: values.copy() for name, values in columns.items()})
        self._kinds = kinds
        self.rows += lengths["input"]
        self._bytes += sum(values.nbytes for values in columns.values())
        if self._bytes >= MOST_BYTES:
            self._write()

    def _write(self) -> None:
        """Write the waiting blocks to a file."""
        if self._waiting:
            with self._file(self._files).open("wb") as file:
                columns = {name: np.concatenate([block[name] for block in self._waiting]) for name in self._waiting[0]}
                np.savez(file, **columns)  # type: ignore[arg-type]
            self._files += 1
            self._waiting, self._bytes = [], 0

    def commit(self, state: Settings) -> None:
        """Save all rows appended so far, and the source's progress, which the next attempt gets from `state`.

        Without new rows, nothing is saved.
        """
        self._write()
        if self._committed == self._files:
            return
        for number in range(self._committed, self._files):
            with self._file(number).open("rb+") as file:
                os.fsync(file.fileno())
        progress = {"identity": self._identity, "rows": self.rows, "kinds": self._kinds, "files": self._files}
        write_json(self.folder / PROGRESS, {**progress, "state": state.to_dict()})
        self._committed = self._files

    def _take_over(self) -> None:
        """Continue from the last commit of an earlier attempt at the same store, or start in an empty folder."""
        if (self.folder / PROGRESS).exists():
            with self._reading_progress():
                content = json.loads((self.folder / PROGRESS).read_text("utf-8"))
                identity, rows, kinds, files, state = (
                    content[key] for key in ("identity", "rows", "kinds", "files", "state")
                )
            # a file is missing if a kill interrupted the removal of the folder
            is_whole = all(zipfile.is_zipfile(self._file(number)) for number in range(files))
            if is_whole and identity == self._identity:
                self.rows, self._kinds, self._state = rows, kinds, state
                self._files = self._committed = files
                log.info("%s: resuming from row %d", self._path, self.rows)
                return
            why = "is damaged" if not is_whole else "was written with other settings or inputs"
            log.warning("%s: %s; it is removed, and writing starts from row 0", self.folder, why)
        shutil.rmtree(self.folder, ignore_errors=True)
        self.folder.mkdir()

    def finish(self) -> None:
        """Copy the rows to the store; `close` then removes their files."""
        self._write()
        if not self.rows:
            raise StoreError(f"{self._path}: a store needs at least one sample")
        check_writable(self._path.parent)  # HDF5 crashes if it cannot write the beginning of a file
        with atomic_path(self._path) as part:
            store = new_file(part)
            try:
                self._copy(store)
                store.flush()  # an error leaves the file open
                store.close()
            finally:
                abandon(store)
        (self.folder / PROGRESS).unlink(missing_ok=True)

    def _copy(self, file: h5py.File) -> None:
        """Write all columns, the names of the classes and the attributes that make a file a store."""
        checksum, first = Checksum(), 0
        numbers = {name: kind for name, kind in self._kinds.items() if name != "features" and kind[0] != TEXT}
        datasets = {}
        for name, (kind, shape) in numbers.items():
            rows = chunk_rows(np.empty((1, *shape), kind).nbytes)
            options: Any = {"chunks": (rows, *shape), "maxshape": (None, *shape), "fletcher32": True}
            datasets[name] = file.create_dataset(name, (self.rows, *shape), kind, **options)
            if is_site(name) and self._dtype == "bfloat16":
                datasets[name].attrs["dtype"] = self._dtype
        texts: dict[str, list[str]] = {name: [] for name, (kind, _) in self._kinds.items() if kind == TEXT}
        features = []
        for number in range(self._files):
            with np.load(self._file(number)) as block:
                for name, dataset in datasets.items():
                    values = block[name]
                    dataset[first : first + len(values)] = values
                    checksum.update(name, values)
                first += len(values)
                for name, column in texts.items():
                    column += [json.loads(line) for line in block[name].tobytes().splitlines()]
                if "features" in self._kinds:
                    data, indices, lengths = (block[part] for part in FEATURES)
                    bounds, shape = np.concatenate([[0], lengths.cumsum()]), (len(lengths), *self._kinds["features"][1])
                    features.append(scipy.sparse.csr_array((data, indices, bounds), shape))
        for name, column in texts.items():
            checksum.update(name, np.array(column, dtype=object))
            write_texts(file, name, column)
        if features:
            self._write_features(file, checksum, scipy.sparse.vstack(features, format="csr"))
        if self.class_names is not None:
            write_texts(file, "class_names", self.class_names)
            checksum.update("class_names", np.array(self.class_names, dtype=object))
        write_header(file, self.provenance, checksum.hexdigest())

    def _write_features(self, file: h5py.File, checksum: Checksum, matrix: scipy.sparse.csr_array) -> None:
        index = self._kinds["features"][0]
        pointer = index if matrix.nnz <= np.iinfo(index).max else np.int64
        parts = matrix.data, matrix.indices.astype(index), matrix.indptr.astype(pointer)
        file.create_group("features").attrs["shape"] = matrix.shape
        checksum.update("features", np.array(matrix.shape))
        for name, part in zip(FEATURES, parts, strict=True):
            file.create_dataset(name, data=part, maxshape=(None,), fletcher32=True)
            checksum.update(name, part)

    def close(self) -> None:
        """Remove the files if there is no commit to resume from."""
        if not (self.folder / PROGRESS).exists():
            shutil.rmtree(self.folder)

    def _file(self, number: int) -> Path:
        return self.folder / f"{number}.npz"


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

    Parameters
    ----------
    path
        File to make or replace. The disk needs room for twice the store's size.
    provenance
        Facts that determine the samples (configuration, checksums of inputs), stored as JSON. If an unfinished store
        has other facts, its rows are not used; versions, code and device may differ.
    dtype
        Precision of all sites: float16, bfloat16 or float32.
    class_names
        Names of the classes; ``labels`` are indices into them.

    Raises
    ------
    StoreError
        If the store is empty at the end, or its files were damaged meanwhile.
    SourceError
        If another process is writing the same store.
    OSError
        If the folder cannot be written.
    """
    path = Path(path)
    dtype = checked("dtype", StoredPrecision, dtype)
    path.parent.mkdir(parents=True, exist_ok=True)
    # processes of a killed writer, such as those that load images, may keep its lock for some seconds
    with lock(path, seconds=LOCK_SECONDS), disk_errors(path):
        remove_leftovers(path, days=0)
        writer = ResumableWriter(path, dtype, provenance, None if class_names is None else list(class_names))
        try:
            yield writer
            writer.finish()
        finally:
            writer.close()


def _kind_of(values: Any) -> list[Any]:
    """Return the type of a column (a name of NumPy, or text) and the shape of a row."""
    return [TEXT if values.dtype.kind in "USO" else values.dtype.str, list(values.shape[1:])]


def _as_stored(name: str, values: np.ndarray, dtype: np.dtype) -> np.ndarray:
    """Convert a column to its stored type; ValueError if the conversion would change values."""
    if values.dtype.kind == "S":
        values = np.char.decode(values, "utf-8")
    with np.errstate(invalid="ignore"):  # NaN cannot be converted to a whole number
        stored = values.astype(dtype, copy=False)
    if values.ndim != 1 or (dtype.kind != "O" and not np.array_equal(stored, values, equal_nan=dtype.kind == "f")):
        raise ValueError(f"{name} is {values.dtype} of shape {values.shape}, expected a value of {dtype} per sample")
    return stored
