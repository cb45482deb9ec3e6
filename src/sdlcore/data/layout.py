"""The layout of activation stores: one HDF5 file of paired activations, whatever source fills it.

With N samples:

    input           N x n_p     the representation x_p
    target          N x n_r     the representation x_r of the same samples, where it differs from x_p
    labels          N           class index of each sample, -1 for none, where classes are known
    class_names     C           UTF-8 names of the classes, where they are known
    references/*    N           where each sample came from, one dataset a column (document, position, path, ...)
    features/{data,indices,indptr}, attribute shape
                                ground-truth coefficients as a CSR matrix (N x n), where they are known
    checksums/*     B x 32      for each of these columns the SHA-256 of every 1024 rows

and the attributes `format`, `version`, `provenance` (JSON: what made the file) and `checksum`, over the columns.
input and target are float16, float32, or bfloat16: then uint16 with the attribute `dtype`. Rows are chunked so
that reading whole chunks in random order is fast; reading single random rows is not.

An index has the same columns as virtual datasets over the files that `shards/file` names, relative to the index, and
`shards/rows` and `shards/checksum` of each.
"""

import hashlib
from collections.abc import Iterator, Sequence
from typing import Any, get_args

import h5py
import numpy as np

from sdlcore.errors import StoreError
from sdlcore.settings import StoredPrecision

FORMAT = "sdlcore activation store"
VERSION = 2
DTYPES = get_args(StoredPrecision)
CHUNK_BYTES = 2**20
CHUNK_ROWS = 1024
# checksums stand for this many rows, wherever appends and commits fell, so that these leave no trace
CHECKSUM_ROWS = 1024
# what h5py raises at files whose tables are damaged
DAMAGE = (
    OSError,
    RuntimeError,
    LookupError,
    ValueError,
    TypeError,
    AttributeError,
    ArithmeticError,
    MemoryError,
    NotImplementedError,
)


def check_dtype(dtype: Any) -> str:
    """Return the name of a precision that activations can be stored in, or raise `StoreError`."""
    try:
        name = "bfloat16" if str(dtype) == "bfloat16" else np.dtype(dtype).name
    except TypeError:
        name = repr(dtype)
    if name not in DTYPES:
        raise StoreError(f"dtype {name}: activations are stored as {', '.join(DTYPES[:-1])} or {DTYPES[-1]}")
    return name


def encode(values: np.ndarray, dtype: str) -> np.ndarray:
    """Return numbers as they are stored: in ``dtype``, bfloat16 as the uint16 of its bits, rounded to nearest even."""
    if dtype != "bfloat16":
        return np.asarray(values).astype(dtype)
    numbers = np.ascontiguousarray(values, dtype=np.float32)
    bits = numbers.view(np.uint32)
    stored = ((bits + (np.uint32(0x7FFF) + ((bits >> 16) & 1))) >> 16).astype(np.uint16)
    stored[np.isnan(numbers)] = 0x7FC0  # whose bits may have run over in rounding
    return stored


def decode(stored: np.ndarray, dtype: str) -> np.ndarray:
    """Return what `encode` stored: bfloat16 as float32, others as they are."""
    if dtype != "bfloat16":
        return stored
    return (stored.astype(np.uint32) << 16).view(np.float32)


def dtype_of(dataset: h5py.Dataset) -> str:
    """Return the precision of a column, ``bfloat16`` where uint16 stands for it."""
    return str(dataset.attrs.get("dtype", dataset.dtype.name))


def chunk_rows(row_bytes: int) -> int:
    """Return how many rows make a chunk, the unit that is fast to read."""
    return max(1, min(CHUNK_ROWS, CHUNK_BYTES // max(8, row_bytes)))


def begin(file: h5py.File, class_names: Sequence[str] | None) -> None:
    """Write what says that a file is a store."""
    file.attrs["format"] = FORMAT
    file.attrs["version"] = VERSION
    if class_names is not None:
        file.create_dataset("class_names", data=list(class_names), dtype=h5py.string_dtype())


def column_names(file: h5py.File) -> list[str]:
    """Return the names of the columns of samples."""
    names = [name for name in ("input", "target", "labels") if name in file]
    return names + [f"references/{name}" for name in file.get("references", {})]


def read_stored(dataset: h5py.Dataset, start: int = 0, stop: int | None = None) -> np.ndarray:
    """Return rows as they are stored; strings as Python's."""
    return (dataset.asstr() if h5py.check_string_dtype(dataset.dtype) else dataset)[start:stop]


class Checksum:
    """SHA-256 of every `CHECKSUM_ROWS` rows of one column, while rows are appended.

    Attributes
    ----------
    rows
        Rows seen.
    whole
        Digests of the blocks that are complete.
    """

    def __init__(self) -> None:
        self.whole: list[bytes] = []
        self.rows = 0
        self._block = hashlib.sha256()

    def update(self, values: np.ndarray) -> None:
        """Take rows, as they are stored."""
        start = 0
        while start < len(values):
            stop = min(len(values), start + CHECKSUM_ROWS - self.rows % CHECKSUM_ROWS)
            self._block.update(_bytes_of(values[start:stop]))
            self.rows += stop - start
            start = stop
            if self.rows % CHECKSUM_ROWS == 0:
                self.whole.append(self._block.digest())
                self._block = hashlib.sha256()

    def digests(self) -> np.ndarray:
        """Return the digests of all blocks, the last one perhaps of fewer rows; blocks x 32 bytes."""
        rest = [self._block.digest()] if self.rows % CHECKSUM_ROWS else []
        return np.frombuffer(b"".join([*self.whole, *rest]), dtype=np.uint8).reshape(-1, hashlib.sha256().digest_size)


def blocks_of(dataset: h5py.Dataset, stop: int) -> Iterator[tuple[int, bytes]]:
    """Yield the first row and the digest of the blocks of rows ``0:stop``."""
    for start in range(0, stop, CHECKSUM_ROWS):
        values = read_stored(dataset, start, min(start + CHECKSUM_ROWS, stop))
        yield start, hashlib.sha256(_bytes_of(values)).digest()


def signature(dataset: h5py.Dataset) -> str:
    """Return what a column's bytes mean: type and shape of a row."""
    kind = "string" if h5py.check_string_dtype(dataset.dtype) else dtype_of(dataset)
    return f"{kind} {tuple(int(size) for size in dataset.shape[1:])}"


def checksum_of(file: h5py.File) -> str:
    """Return the hex SHA-256 over a store's columns, by the digests of their blocks, and over its class names."""
    total = hashlib.sha256()
    for name in sorted(checked_columns(file)):
        total.update(f"{name} {signature(file[name])} {len(file[name])}\n".encode())
        total.update(file[f"checksums/{name}"][:].tobytes())
    if "class_names" in file:
        total.update(_bytes_of(read_stored(file["class_names"])))
    if "features" in file:
        total.update(str([int(size) for size in file["features"].attrs["shape"]]).encode())
    return total.hexdigest()


def checked_columns(file: h5py.File) -> list[str]:
    """Return the names of all datasets that checksums stand for."""
    return column_names(file) + [f"features/{part}" for part in file.get("features", {})]


def write_checksums(file: h5py.File, checksums: dict[str, Checksum]) -> None:
    """Write the digests of all columns, and the checksum over them."""
    for name, checksum in checksums.items():
        file.create_dataset(f"checksums/{name}", data=checksum.digests())
    file.attrs["checksum"] = checksum_of(file)


def _bytes_of(values: np.ndarray) -> Any:
    if values.dtype.kind not in "OU":
        return np.ascontiguousarray(values)
    texts = [str(value).encode() for value in values]
    return b"".join(len(text).to_bytes(8, "little") + text for text in texts)
