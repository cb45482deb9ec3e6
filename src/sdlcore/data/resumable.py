"""Write an activation store that resumes from its last commit after an interruption.

An unfinished store is a folder of parts, ``.<name>.parts``, beside the store's path. Each commit adds a part: an HDF5
file with the rows since the last commit, and a record of the source's progress. A part ends with checksums, is written
atomically and never changes, so a kill loses only the part that is being written. At the end the parts are joined into
the store. The parts are removed once the store is at its path.
"""

import fcntl
import hashlib
import json
import logging
import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import NamedTuple, TypeVar

import h5py
import numpy as np

from sdlcore.data.checksums import find_damage
from sdlcore.data.layout import VERSION, check_dtype, column_names, read_stored
from sdlcore.data.writing import BlockWriter, Columns, Kind, checksummed_file, create_store
from sdlcore.errors import StoreError
from sdlcore.identity import NUMBERS, RECORDED
from sdlcore.settings import Json, Settings
from sdlcore.storage.files import naming_a_full_disk
from sdlcore.storage.private import hidden, open_lock

log = logging.getLogger(__name__)

RECORD = "record"
State = TypeVar("State", bound=Settings)
_in_use: set[Path] = set()


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
        # no fsync: after a power loss, the checksums show which parts are usable
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
                    kinds = {name: Kind(file[name].dtype, file[name].shape[1:]) for name in column_names(file)}
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
                        for columns in _blocks(file):
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
            self._columns = Columns(self.open_part.enter_context(checksummed_file(self._open)), self._dtype)
        return self._columns

    def _end_part(self, state: str) -> None:
        """Finish the open part with its record; if none is open, write a part without rows."""
        record = Record(self._identity, self.rows, state)
        # a dataset, since an attribute has at most 64 KiB
        self._begun_part().file.create_dataset(RECORD, data=json.dumps(record._asdict()))
        self._columns = None
        self.open_part.close()

    @contextmanager
    def _opened(self, path: Path, before: int) -> Iterator[tuple[h5py.File, Record]]:
        """Open a part after ``before`` rows, with its record; StoreError if it is damaged or from another store."""
        try:
            damage = find_damage(path)
        except LookupError:
            damage = "it does not end with its checksums"
        if damage is not None:
            raise StoreError(f"{path}: is damaged: {damage}")
        with h5py.File(path, "r") as file:
            saved = json.loads(file[RECORD].asstr()[()]) if RECORD in file else {}
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
        If ``dtype`` is unknown, another process is writing the same store, the store is empty at the end, or a part was
        damaged meanwhile.
    OSError
        If the folder of parts cannot be written.
    """
    path = Path(path)
    dtype = check_dtype(dtype)
    names = None if class_names is None else list(class_names)
    path.parent.mkdir(parents=True, exist_ok=True)
    with _locked(path), naming_a_full_disk(path):
        folder = hidden(path, ".parts")
        folder.mkdir(0o700, exist_ok=True)
        writer = ResumableWriter(path, folder, dtype, provenance, names)
        writer.take_over()
        try:
            with writer.open_part:
                yield writer
                writer.finish()
        finally:
            writer.remove_uncommitted()
            with suppress(OSError):  # it keeps the committed parts of an unfinished store
                folder.rmdir()


def _blocks(file: h5py.File) -> Iterator[dict[str, np.ndarray]]:
    """Yield the stored rows of all columns, at most a chunk at a time."""
    names = column_names(file)
    rows = min((file[name].chunks[0] for name in names), default=1)
    for start in range(0, len(file["input"]) if names else 0, rows):
        yield {name: read_stored(file[name], start, start + rows) for name in names}


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Lock a store's path against other writers, with a lock file beside it."""
    key = path.resolve()
    if key in _in_use:  # the system would grant a second lock to the same process
        raise _refused(path)
    lock = hidden(path, ".lock")
    file = _open_locked(lock, path)
    _in_use.add(key)
    try:
        yield
    finally:
        lock.unlink(missing_ok=True)
        os.close(file)
        _in_use.discard(key)


def _open_locked(lock: Path, path: Path) -> int:
    while True:
        file = open_lock(lock)
        try:
            # not flock: child processes that survive a killed process would keep the lock
            fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except (BlockingIOError, PermissionError) as error:
            os.close(file)
            raise _refused(path) from error
        except OSError as error:
            log.warning("%s: no locks on this file system (%s); let only one process write it", path, error)
        with suppress(FileNotFoundError):  # the last holder may have removed it before this process locked it
            if os.path.samestat(os.fstat(file), lock.stat()):
                return file
        os.close(file)


def _refused(path: Path) -> StoreError:
    return StoreError(f"{path}: another process is writing this store; wait for it, or stop it")
