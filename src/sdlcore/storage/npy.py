"""Read rows of arrays from files without memory mapping, and detect files that change meanwhile.

With memory mapping, a file that becomes shorter kills the reader by SIGBUS, and a file that is overwritten changes
numbers that were already read.
"""

import math
import os
import weakref
from pathlib import Path
from typing import IO, Any, NamedTuple

import numpy as np
from numpy.lib import format as npy


class Header(NamedTuple):
    """Shape, memory order and type of the array in an .npy file, from its header."""

    shape: tuple[int, ...]
    by_columns: bool
    dtype: np.dtype

    @property
    def row_bytes(self) -> int:
        return math.prod(self.shape[1:]) * self.dtype.itemsize


def read_header(stream: IO[bytes], size: int) -> Header:
    """Read the header of an .npy file of ``size`` bytes; ValueError if it does not match that size."""
    version = npy.read_magic(stream)
    # version 3 differs from 2 only in the encoding of field names
    later = npy.read_array_header_2_0
    read = {(1, 0): npy.read_array_header_1_0, (2, 0): later, (3, 0): later}.get(version)
    if read is None:
        raise ValueError(f"version {version} of the npy format is not supported")
    header = Header(*read(stream))
    if header.dtype.hasobject:
        raise ValueError("it contains Python objects, which are not loaded; save numbers, or names by .astype(str)")
    if header.dtype.subdtype or not header.dtype.itemsize or min(header.shape, default=0) < 0:
        raise ValueError(f"its header declares {header.dtype} of shape {header.shape}, which is no array of numbers")
    expected, n_bytes = math.prod(header.shape) * header.dtype.itemsize, size - stream.tell()
    if n_bytes != expected:
        raise ValueError(
            f"its header declares {header.shape} of {header.dtype}, {expected} bytes, but {n_bytes} bytes follow"
        )
    return header


class FileState(NamedTuple):
    """Size and modification time of a file. Writing to the file changes one or both."""

    size: int
    modified_ns: int


def file_state(status: os.stat_result) -> FileState:
    """Return the state of a file from its status."""
    return FileState(status.st_size, status.st_mtime_ns)


def changed_while_read(path: str | Path) -> str:
    """Return the message for a file that was written to while it was read."""
    return f"{path}: the file was changed while it was read; repeat the command once nothing writes to the file"


class Numbers:
    """An array in an open file. Indexing reads rows from the file.

    A read raises ValueError if the file was written to since it was opened. After each read, the file is checked for
    changes by its size and modification time, which file systems count in steps of a few milliseconds. If another file
    takes its name, the old file is still read to its end.

    Parameters
    ----------
    path
        The file.
    header, start
        Shape and type, and the byte where the numbers begin; None to read them from an .npy header.
    """

    def __init__(self, path: str | Path, header: Header | None = None, start: int = 0) -> None:
        self.path = Path(path)
        if self.path.exists() and not self.path.is_file():  # opening a pipe would wait for somebody to write
            raise ValueError("it is a folder or a device, not a regular file")
        with self.path.open("rb") as file:
            self._descriptor = os.dup(file.fileno())
            self._close = weakref.finalize(self, os.close, self._descriptor)
            self._state = file_state(os.fstat(self._descriptor))
            if header is None:
                header, start = read_header(file, self._state.size), file.tell()
        self.shape, self._by_columns, self.dtype = header
        self._start = start

    @property
    def ndim(self) -> int:
        return len(self.shape)

    @property
    def size(self) -> int:
        return math.prod(self.shape)

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, rows: int | slice) -> np.ndarray:
        """Return rows; ValueError if the file was changed since it was opened."""
        if not isinstance(rows, slice):
            return np.asarray(self[rows : rows + 1][0])
        start, stop, step = rows.indices(len(self))
        if step != 1:
            return np.asarray(self[:][rows])
        values = np.empty((max(0, stop - start), *self.shape[1:]), self.dtype, "F" if self._by_columns else "C")
        if self._by_columns:
            columns = values.reshape(len(values), -1, order="F") if values.size else values.reshape(0, 0)
            for number in range(columns.shape[1]):
                self._fill(columns[:, number], number * len(self) + start)
        else:
            self._fill(values.reshape(-1), start * math.prod(self.shape[1:]))
        if file_state(os.fstat(self._descriptor)) != self._state:
            self._refuse()
        return values

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        whole = self[:] if self.shape else self._only()
        return whole if dtype is None else whole.astype(dtype, copy=False)

    def close(self) -> None:
        self._close()

    def _only(self) -> np.ndarray:
        values = np.empty(1, self.dtype)
        self._fill(values, 0)
        return values.reshape(())

    def _fill(self, values: np.ndarray, place: int) -> None:
        content: Any = values.view(np.uint8)
        rest = memoryview(content)
        at = self._start + place * self.dtype.itemsize
        while rest:
            count = os.preadv(self._descriptor, [rest], at)
            if not count:
                self._refuse()
            rest, at = rest[count:], at + count

    def _refuse(self) -> None:
        raise ValueError(changed_while_read(self.path))
