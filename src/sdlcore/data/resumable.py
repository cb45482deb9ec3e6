"""Write an activation store that resumes from its last commit after an interruption.

An unfinished store is a folder of parts, ``.<name>.parts``, beside the store's path. Each commit adds a part: an HDF5
file with the rows since the last commit, their checksum, and a record of the source's progress. A part is written
atomically and never changes, so a kill loses only the part that is being written. At the end the parts are joined into
the store. The parts are removed once the store is at its path.
"""

import hashlib
import json
import logging
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import NamedTuple, TypeVar

import h5py
import numpy as np

from sdlcore.data.layout import VERSION, check_dtype, checksum_of, column_names, hdf5_errors, new_file, read_stored
from sdlcore.data.writing import BlockWriter, Columns, create_store, stored_dtype
from sdlcore.errors import StoreError
from sdlcore.identity import NUMBERS, RECORDED
from sdlcore.settings import Json, Settings
from sdlcore.storage.files import disk_errors, lock, remove_leftovers

log = logging.getLogger(__name__)

RECORD = "record"
LOCK_SECONDS = 10.0
State = TypeVar("State", bound=Settings)


class Progress(Settings):
    """Progress of a source that produces numbered blocks or rows."""

    next: int = 0
    """Number of the next block or row."""


class Record(NamedTuple):
    """The state of a store, recorded in each of its parts."""

    identity: str
    """Digest of what determines the store's rows: provenance, precision, class names, number of the stage."""
    rows: int
    """Rows of the store up to the end of this part."""
    state: str
    """Progress of the source at the end of this part, as JSON."""
    checksum: str
    """Checksum of the rows of this part."""


class ResumableWriter(BlockWriter):
    """Appends blocks of samples to a store that survives interruptions; see `resume_store`.

    Attributes
    ----------
    rows
        Samples written so far, including earlier attempts.
    provenance
        Provenance of the store. Facts can be added to the provenance until the block ends.
    """

    def __init__(
        self,
        path: Path,
        folder: Path,
        dtype: str,
        provenance: Mapping[str, Json],
        class_names: Sequence[str] | None,
    ) -> None:
        super().__init__(path, dtype, provenance, class_names)
        self._state: str | None = None  # at the last commit
        facts = {name: fact for name, fact in provenance.items() if name not in RECORDED}
        identity = json.dumps([VERSION, NUMBERS["activations"], dtype, class_names, facts], sort_keys=True)
        self._identity = hashlib.sha256(identity.encode()).hexdigest()
        self._folder = folder
        self._open = folder / "open.h5"
        self._parts = 0  # committed
        self.open_part = ExitStack()
        self._columns: Columns | None = None  # columns of the open part

    def state(self, begin: State) -> State:
        """Return the source's progress at the last commit, or ``begin`` if there was none."""
        return begin if self._state is None else type(begin).from_dict(json.loads(self._state))

    def commit(self, state: Settings) -> None:
        """Save all rows appended so far, so that a kill cannot lose them.

        Parameters
        ----------
        state
            Progress of the source; the next attempt gets it from `state`.
        """
        text = json.dumps(state.to_dict(), allow_nan=False)
        self._end_part(text)
        # no fsync: after a power loss, the checksum of each part shows whether it is usable
        self._open.replace(self._path_of(self._parts))
        self._parts += 1
        self._state = text

    def append_stored(self, columns: Mapping[str, np.ndarray]) -> None:
        self._begun_part().append(columns)
        self.rows += len(columns["input"])

    def take_over(self) -> None:
        """Take over the parts that an earlier attempt left, up to the first unusable one, and remove the rest."""
        while self._path_of(self._parts).exists():
            try:
                with self._opened(self._path_of(self._parts), self.rows) as (file, record):
                    kinds = {name: (stored_dtype(file[name]), file[name].shape[1:]) for name in column_names(file)}
                    with hdf5_errors(file.filename):
                        intact = checksum_of(file) == record.checksum
                if not intact:
                    raise StoreError(f"{self._path_of(self._parts)}: is damaged: does not match its checksum")
            except StoreError as error:
                then = f"writing resumes from row {self.rows}" if self._parts else "writing starts again"
                log.warning("%s; it is removed with all following parts, and %s", error, then)
                break
            self.rows, self._state = record.rows, record.state
            self._kinds = self._kinds or kinds
            self._parts += 1
        self.remove_uncommitted()
        if self._parts:
            log.info("%s: resuming from row %d", self._path, self.rows)

    def finish(self) -> None:
        """Join the parts into the store."""
        super().finish()
        parts = [self._path_of(number) for number in range(self._parts)]
        if self._columns is not None:  # rows after the last commit
            self._end_part("")
            parts.append(self._open)
        with create_store(self._path, self.provenance, self._dtype, self.class_names) as store:
            for part in parts:
                try:
                    with self._opened(part, store.rows) as (file, _):
                        for columns in _blocks(file, part):
                            store.append_stored(columns)
                except StoreError as error:
                    raise StoreError(f"{error}; repeat the command to write the damaged part again") from error
            if store.rows != self.rows:  # the caller ignored an error of a commit
                problem = f"{self._path}: its parts contain {store.rows} rows"
                raise StoreError(f"{problem}, expected {self.rows}; repeat the command")
        self._parts = 0

    def remove_uncommitted(self) -> None:
        """Remove everything from the folder but the committed parts."""
        part_files = {self._path_of(number) for number in range(self._parts)}
        for path in list(self._folder.iterdir()):
            if path not in part_files:
                shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()

    def _path_of(self, number: int) -> Path:
        return self._folder / f"{number:05}.h5"

    def _begun_part(self) -> Columns:
        if self._columns is None:
            self._open.unlink(missing_ok=True)
            self._columns = Columns(self.open_part.enter_context(new_file(self._open)), self._dtype)
        return self._columns

    def _end_part(self, state: str) -> None:
        """Finish the open part with its record; if none is open, write a part without rows."""
        columns = self._begun_part()
        record = Record(self._identity, self.rows, state, columns.checksum.hexdigest())
        columns.finish()
        columns.file.attrs[RECORD] = np.bytes_(json.dumps(record._asdict()))
        self._columns = None
        self.open_part.close()

    @contextmanager
    def _opened(self, path: Path, before: int) -> Iterator[tuple[h5py.File, Record]]:
        """Open a part after ``before`` rows, with its record; StoreError if it is damaged or from another store."""
        with hdf5_errors(path):
            file = h5py.File(path, "r")
        with file:
            with hdf5_errors(path):
                saved = json.loads(file.attrs.get(RECORD, "{}"))
                rows = before + (len(file["input"]) if "input" in file else 0)
            if (saved.get("identity"), saved.get("rows")) != (self._identity, rows):
                raise StoreError(f"{path}: this part of the store was written with other settings or inputs")
            yield file, Record(**saved)


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
        If ``dtype`` is unknown, the store is empty at the end, or a part was damaged meanwhile.
    SourceError
        If another process is writing the same store.
    OSError
        If the folder of parts cannot be written.
    """
    path = Path(path)
    dtype = check_dtype(dtype)
    names = None if class_names is None else list(class_names)
    path.parent.mkdir(parents=True, exist_ok=True)
    # processes of a killed writer, such as those that load images, may keep its lock for some seconds
    with lock(path, seconds=LOCK_SECONDS), disk_errors(path):
        remove_leftovers(path, days=0)
        folder = path.with_name(f".{path.name}.parts")
        folder.mkdir(exist_ok=True)
        writer = ResumableWriter(path, folder, dtype, provenance, names)
        writer.take_over()
        try:
            with writer.open_part:
                yield writer
                writer.finish()
        finally:
            writer.remove_uncommitted()
            if not any(folder.iterdir()):  # otherwise the parts of an unfinished store
                folder.rmdir()


def _blocks(file: h5py.File, path: Path) -> Iterator[dict[str, np.ndarray]]:
    """Yield the stored rows of all columns, at most a chunk at a time; StoreError if HDF5 finds damage."""
    with hdf5_errors(path):
        names = column_names(file)
        rows = min((file[name].chunks[0] for name in names), default=1)
    for start in range(0, len(file["input"]) if names else 0, rows):
        with hdf5_errors(path):
            columns = {name: read_stored(file[name], start, start + rows) for name in names}
        yield columns
