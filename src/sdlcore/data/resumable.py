"""Write an activation store that goes on after an interruption from its last commit.

An unfinished store is a folder of parts, ``.<name>.parts`` beside the store to be. Each commit adds one: an HDF5 file
of the rows since the commit before, with a record of where the source stood. A part is sealed, whole or absent, and
never changed, so that a kill loses only the one that is being written. At the end the parts are joined into the store,
and removed once it is at its path.
"""

import fcntl
import hashlib
import json
import logging
import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import NamedTuple, TypeVar

import h5py
import numpy as np

from sdlcore.data.checksums import broken_seal
from sdlcore.data.layout import VERSION, check_dtype, column_names, read_stored
from sdlcore.data.underflow import Counts, Underflow
from sdlcore.data.writing import BlockWriter, Columns, Kind, create_store, sealed_file
from sdlcore.errors import StoreError
from sdlcore.settings import FromJson, Json
from sdlcore.storage.files import naming_a_full_disk
from sdlcore.storage.private import hidden, open_lock, own_folder

log = logging.getLogger(__name__)

RECORD = "record"
State = TypeVar("State", bound=FromJson)
_in_use: set[Path] = set()


@dataclass(frozen=True)
class Progress(FromJson):
    """Where a source of numbered blocks, or rows, stands."""

    next: int = 0
    """The one that comes next."""


class Record(NamedTuple):
    """What a part says of itself and of all before it."""

    identity: str
    """What is being written."""
    rows: int
    """Samples of the store up to here."""
    state: str
    """Where the source stood then, as JSON."""
    underflow: dict[str, Counts]
    """What became zero, by column."""

    @classmethod
    def read(cls, file: h5py.File) -> "Record":
        """Return a part's record."""
        found = json.loads(file[RECORD].asstr()[()])
        return cls(**found | {"underflow": {name: Counts(*counts) for name, counts in found["underflow"].items()}})

    def write(self, file: h5py.File) -> None:
        # no attribute, which must not be longer than 64 KiB
        file.create_dataset(RECORD, data=json.dumps(self._asdict()))


class ResumableWriter(BlockWriter):
    """Appends blocks of samples to a store that survives interruptions; see `resume_store`.

    Attributes
    ----------
    rows
        Samples written so far, in earlier attempts too.
    provenance
        What makes the store; what is known only at the end can be added until then.
    """

    def __init__(
        self, path: Path, dtype: str, provenance: Mapping[str, Json], class_names: Sequence[str] | None
    ) -> None:
        super().__init__(path, dtype, provenance, class_names)
        self._state: str | None = None  # that the last commit was given
        identity = json.dumps([VERSION, dtype, class_names, provenance], sort_keys=True)
        self._identity = hashlib.sha256(identity.encode()).hexdigest()
        self._folder = hidden(path, ".parts")
        self._held: Path | None = None  # leads to the folder, whatever has its name by now
        self._parts = 0  # that were committed
        self.open_part = ExitStack()
        self.open_folder = ExitStack()
        self._columns: Columns | None = None  # of the open part

    def state(self, begin: State) -> State:
        """Return where the source stood at the last commit, or ``begin`` before the first."""
        return begin if self._state is None else type(begin).from_dict(json.loads(self._state))

    def commit(self, state: FromJson) -> None:
        """Make sure that a kill loses nothing of what was appended before.

        Parameters
        ----------
        state
            Where the source stands; the next attempt finds it by `state`.
        """
        text = json.dumps(asdict(state), allow_nan=False)
        self._seal_part(text)
        # not waiting for the disk: of what a loss of power leaves, seals say what can be used
        self._open.replace(self._path_of(self._parts))
        self._parts += 1
        self._state = text

    def append_stored(self, columns: Mapping[str, np.ndarray]) -> None:
        self._begun_part().append(columns)
        self.rows += len(columns["input"])

    def go_on(self) -> None:
        """Take over the parts that an earlier attempt left, up to the first that cannot be used; remove all else."""
        if not os.path.lexists(self._folder):
            return
        while self._path_of(self._parts).exists():
            try:
                with self._opened(self._path_of(self._parts), self.rows) as (file, record):
                    kinds = {name: Kind(file[name].dtype, file[name].shape[1:]) for name in column_names(file)}
            except StoreError as error:
                then = f"writing goes on from row {self.rows}" if self._parts else "the store is begun anew"
                log.warning("%s; it is removed with all parts that follow, and %s", error, then)
                break
            self.rows, self._state = record.rows, record.state
            self._underflow = {name: Underflow.after(counts) for name, counts in record.underflow.items()}
            self._kinds = self._kinds or kinds
            self._parts += 1
        self.remove_uncommitted()
        if self._parts:
            log.info("%s: going on from row %d", self._path, self.rows)

    def finish(self) -> None:
        """Join the parts into the store."""
        super().finish()
        parts = [self._path_of(number) for number in range(self._parts)]
        if self._columns is not None:  # of rows that no commit followed, which the next attempt would append again
            self._seal_part("")
            parts.append(self._open)
        with create_store(self._path, self.provenance, self._dtype, self.class_names) as store:
            for part in parts:
                try:
                    with self._opened(part, store.rows) as (file, _):
                        for columns in _blocks(file):
                            store.append_stored(columns)
                except StoreError as error:
                    raise StoreError(f"{error}; run this again, and it is written anew") from error
            if store.rows != self.rows:  # whoever wrote it went on after an error of a commit
                raise StoreError(f"{self._path}: its parts have {store.rows} of its {self.rows} rows; run this again")
        self._parts = 0

    def remove_uncommitted(self) -> None:
        """Remove from the folder all that the next attempt would not go on from."""
        kept = {self._path_of(number) for number in range(self._parts)}
        if self._held is None and not kept:
            return
        for found in list(self._place().glob("*")):
            if found not in kept:
                shutil.rmtree(found) if found.is_dir() and not found.is_symlink() else found.unlink()
        if not kept:
            self._held = None
            self.open_folder.close()
            self._folder.rmdir()

    def _place(self) -> Path:
        """Return the folder of parts, which is made if it is missing."""
        if self._held is None:
            folder = own_folder(self._folder)
            self.open_folder.callback(os.close, folder.descriptor)
            self._held = folder.path
        return self._held

    @property
    def _open(self) -> Path:
        return self._place() / "open.h5"

    def _path_of(self, number: int) -> Path:
        return self._place() / f"{number:05}.h5"

    def _begun_part(self) -> Columns:
        if self._columns is None:
            self._open.unlink(missing_ok=True)
            self._columns = Columns(self.open_part.enter_context(sealed_file(self._open)), self._dtype)
        return self._columns

    def _seal_part(self, state: str) -> None:
        """Complete the open part, or one without rows."""
        underflow = {name: found.counts() for name, found in self._underflow.items()}
        Record(self._identity, self.rows, state, underflow).write(self._begun_part().file)
        self._columns = None
        self.open_part.close()

    @contextmanager
    def _opened(self, path: Path, before: int) -> Iterator[tuple[h5py.File, Record]]:
        """Open a part, with its record; a `StoreError` says why it is not what was written after ``before`` rows."""
        shown = self._folder / path.name
        try:
            damage = broken_seal(path)
        except LookupError:
            damage = "it does not end with its checksums"
        if damage is not None:
            raise StoreError(f"{shown}: is damaged: {damage}")
        with h5py.File(path, "r") as file:
            if RECORD not in file:
                raise StoreError(f"{shown}: is no part of a store")
            record = Record.read(file)
            if record.identity != self._identity:
                raise StoreError(f"{shown}: was begun with other settings, inputs or code")
            if record.rows != before + (len(file["input"]) if "input" in file else 0):
                raise StoreError(f"{shown}: does not go on from row {before}")
            yield file, record


@contextmanager
def resume_store(
    path: str | Path,
    provenance: Mapping[str, Json],
    dtype: str | np.dtype = "float16",
    class_names: Sequence[str] | None = None,
) -> Iterator[ResumableWriter]:
    """Create a store at ``path``, or go on with one that an earlier attempt left unfinished.

    It appears there, whole, only when the block ends without an exception. After a kill or an exception, the next call
    with the same arguments begins with what was committed before; with others, anew. The finished store is the same
    in every dataset and attribute, however often it was interrupted, as long as the same samples are appended.

    Parameters
    ----------
    path
        File to make or replace. The disk needs room for twice its size while its parts are joined.
    provenance
        What makes it (configuration, checksums of inputs, code, versions); kept as JSON. Whatever the samples depend
        on belongs here, so that nothing is gone on with that has other samples.
    dtype
        Precision of ``input`` and ``target``: float16, bfloat16 or float32.
    class_names
        Names of the classes that ``labels`` count.

    Raises
    ------
    StoreError
        If ``dtype`` is not known, another process is writing the same store, it ends without a sample or with a
        dimension that vanishes in its precision (`sdlcore.data.underflow`), or a part was damaged meanwhile.
    """
    path = Path(path)
    dtype = check_dtype(dtype)
    names = None if class_names is None else list(class_names)
    path.parent.mkdir(parents=True, exist_ok=True)
    with _locked(path), naming_a_full_disk(path):
        writer = ResumableWriter(path, dtype, provenance, names)
        with writer.open_folder:
            writer.go_on()
            try:
                with writer.open_part:
                    yield writer
                    writer.finish()
            finally:
                writer.remove_uncommitted()


def _blocks(file: h5py.File) -> Iterator[dict[str, np.ndarray]]:
    """Yield the rows of all columns, as they are stored, no more than a chunk of each at a time."""
    names = column_names(file)
    rows = min((file[name].chunks[0] for name in names), default=1)
    for start in range(0, len(file["input"]) if names else 0, rows):
        yield {name: read_stored(file[name], start, start + rows) for name in names}


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Hold a store's path against other writers, by a file beside it."""
    key = path.resolve()
    if key in _in_use:  # of which a lock of this process's own would not tell
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
            # not flock: children that a killed process leaves behind would hold on to it
            fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except (BlockingIOError, PermissionError) as error:
            os.close(file)
            raise _refused(path) from error
        except OSError as error:
            log.warning("%s: no locks on this file system (%s); see to it that one process writes it", path, error)
        with suppress(FileNotFoundError):  # whoever held it before may have removed it when it was done
            if os.path.samestat(os.fstat(file), lock.stat()):
                return file
        os.close(file)


def _refused(path: Path) -> StoreError:
    return StoreError(f"{path}: another process is writing this store; let it end, or stop it")
