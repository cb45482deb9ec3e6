"""A file that goes back to its last commit when what wrote it was killed, for writers that overwrite as they go.

HDF5 changes its tables in place, piece by piece. A process that is killed in between leaves tables that contradict each
other, and with them all that was written before. So what stood at the last commit and is overwritten goes to a second
file first, from where it is put back.
"""

import fcntl
import logging
import os
import struct
from pathlib import Path

from sdlcore.data.block_sums import BlockSums, seal

log = logging.getLogger(__name__)

HEADER = struct.Struct("<8sQQ")  # magic, size of the file at the last commit, and its number
ENTRY = struct.Struct("<QQ")  # where the bytes that follow stood, and how many they are
MAGIC = b"sdlundo2"

_in_use: set[Path] = set()


class FileInUseError(RuntimeError):
    """Another process, or another part of this one, is writing the file."""


class UndoFile:
    """A file object for h5py that is locked, and can go back to its last commit. `close` it.

    Opening creates the file, or brings it back to its last commit. Whoever is killed later leaves a file that the
    next one to open finds as it was committed last: a kill of the process loses nothing else (a loss of power may,
    since commits do not wait for the disk).

    Parameters
    ----------
    path
        The file. Beside it lie ``<path>.sums``, with checksums of what was committed, and while it is open
        ``<path>.undo``.

    Attributes
    ----------
    damage
        How the file that was found differs from what was committed, for the end of a sentence; None if it does not.
        `clear` one that does.

    Raises
    ------
    FileInUseError
        If it is open elsewhere.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._undo_path = path.with_name(f"{path.name}.undo")
        self._key = path.resolve()
        if self._key in _in_use:  # of which a lock of this process's own would not tell
            raise FileInUseError
        # The undo file is what is locked: it stands at its path for as long as the file is open, and is never moved.
        self._undo = _open_locked(self._undo_path)
        try:
            if not path.exists():  # what is to be undone is of one that was moved away
                os.ftruncate(self._undo, 0)
            self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
            self._sums = BlockSums(path.with_name(f"{path.name}.sums"))
        except OSError:
            os.close(self._undo)
            raise
        _in_use.add(self._key)
        self._position = 0
        self._failure: OSError | None = None
        self._go_back()
        self.damage = self._sums.damage(self._file) if self._size else None

    @property
    def size(self) -> int:
        """Bytes at the last commit; 0 before the first."""
        return self._size

    def commit(self) -> None:
        """Keep everything that was written so far, or raise the error of what was not. Flush first what writes here."""
        self._check()
        self._sums.commit(self._file)
        os.ftruncate(self._undo, 0)
        self._begin()

    def clear(self) -> None:
        """Drop everything, what was committed too."""
        os.ftruncate(self._undo, 0)
        os.ftruncate(self._file, 0)
        self._sums.load(0)
        self.damage = None
        self._begin()

    def move_to(self, path: Path) -> None:
        """Seal the file, wait for the disk, and move it onto ``path``. Nothing may be written afterwards."""
        self._check()
        self.seek(0, os.SEEK_END)
        self.write(memoryview(seal(self._file)))
        self._check()
        os.fsync(self._file)
        # first of all: until the file is there, a kill must leave something that can be gone on with
        self.path.replace(path)
        os.ftruncate(self._undo, 0)
        self._begin()

    def close(self) -> None:
        """Go back to the last commit and unlock; a file without one goes."""
        if self._file < 0:
            return
        try:
            self._go_back()
            if self._size == 0:
                self.path.unlink(missing_ok=True)
            self._undo_path.unlink(missing_ok=True)
            self._sums.close(keep=self.path.exists())
        finally:
            os.close(self._file)
            os.close(self._undo)
            # h5py may try again later to write what it could not, when the number is another file's
            self._file = self._undo = -1
            _in_use.discard(self._key)

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        base = {os.SEEK_SET: 0, os.SEEK_CUR: self._position, os.SEEK_END: os.fstat(self._file).st_size}[whence]
        self._position = base + offset
        return self._position

    def tell(self) -> int:
        return self._position

    def read(self, size: int = -1) -> bytes:
        wanted = os.fstat(self._file).st_size - self._position if size < 0 else size
        content = _read(self._file, self._position, wanted)
        self._position += len(content)
        return content

    def readinto(self, buffer: memoryview) -> int:
        view = memoryview(buffer).cast("B")
        content = _read(self._file, self._position, len(view))
        view[: len(content)] = content
        view[len(content) :] = bytes(len(view) - len(content))
        self._position += len(content)
        return len(content)

    def write(self, content: memoryview) -> int:
        view = memoryview(content).cast("B")
        try:
            if self._failure is None:
                self._keep(self._position, self._position + len(view))
                self._sums.touch(self._position, self._position + len(view))
                _write(self._file, self._position, view)
        except OSError as error:
            # HDF5 whose writes fail cannot close its file, and takes the process down when it tries to
            self._failure = error
        self._position += len(view)
        return len(view)

    def truncate(self, size: int) -> int:
        before = os.fstat(self._file).st_size
        try:
            if size != before and self._failure is None:
                self._keep(size, self._size)
                self._sums.touch(size, before)
                os.ftruncate(self._file, size)
        except OSError as error:
            self._failure = error
        return size

    def flush(self) -> None:
        """Do nothing: every write has reached the system, which a kill of the process leaves alone."""

    def _check(self) -> None:
        if self._failure is not None:
            raise self._failure

    def _begin(self) -> None:
        self._size = os.fstat(self._file).st_size
        self._kept: set[tuple[int, int]] = set()
        self._undo_size = 0

    def _keep(self, start: int, stop: int) -> None:
        """Put away what of the last commit stands at ``start:stop``, before it is overwritten."""
        if self._undo_size == 0:
            self._append(HEADER.pack(MAGIC, self._size, self._sums.number))
        stop = min(stop, self._size)
        if start < stop and (start, stop) not in self._kept:
            content = _read(self._file, start, stop - start)
            self._append(ENTRY.pack(start, len(content)) + content)
            self._kept.add((start, stop))

    def _append(self, content: bytes) -> None:
        _write(self._undo, self._undo_size, memoryview(content))
        self._undo_size += len(content)

    def _go_back(self) -> None:
        commit = None
        undo = _read(self._undo, 0, os.fstat(self._undo).st_size)
        # what is not complete here was not yet followed by a change of the file
        if len(undo) >= HEADER.size:
            magic, size, number = HEADER.unpack_from(undo)
            if magic == MAGIC:
                commit = number
                for start, content in reversed(_entries(undo)):
                    _write(self._file, start, content)
                os.ftruncate(self._file, size)
        self._sums.load(commit if os.fstat(self._file).st_size else 0)
        os.ftruncate(self._undo, 0)
        self._begin()


def _entries(undo: bytes) -> list[tuple[int, memoryview]]:
    entries = []
    place = HEADER.size
    while place + ENTRY.size <= len(undo):
        start, length = ENTRY.unpack_from(undo, place)
        place += ENTRY.size
        if place + length > len(undo):
            break
        entries.append((start, memoryview(undo)[place : place + length]))
        place += length
    return entries


def _open_locked(path: Path) -> int:
    while True:
        file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
        try:
            # not flock: children that a killed process leaves behind would hold on to it
            fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except (BlockingIOError, PermissionError) as error:
            os.close(file)
            raise FileInUseError from error
        except OSError as error:
            log.warning("%s: no locks on this file system (%s); see to it that one process writes it", path, error)
        # whoever held it before may have removed it when it was done
        if path.exists() and os.path.samestat(os.fstat(file), path.stat()):
            return file
        os.close(file)


def _read(file: int, position: int, size: int) -> bytes:
    parts = []
    while size > 0 and (part := os.pread(file, size, position)):
        parts.append(part)
        position += len(part)
        size -= len(part)
    return parts[0] if len(parts) == 1 else b"".join(parts)


def _write(file: int, position: int, content: memoryview) -> None:
    while len(content):
        written = os.pwrite(file, content, position)
        content = content[written:]
        position += written
