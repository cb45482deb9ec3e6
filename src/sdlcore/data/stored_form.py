"""How activation stores keep numbers, texts and their checksum in HDF5."""

import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from sdlcore.data.reading import FORMAT, VERSION, chunk_rows, decode
from sdlcore.errors import StoreError
from sdlcore.settings import Json


def to_stored(name: str, values: np.ndarray, dtype: str, first: int) -> np.ndarray:
    """Convert rows of a site (B x dimension) to their stored form; bfloat16 is the uint16 of its bits.

    `StoreError` if a row contains NaN, infinity or numbers that overflow, or if a nonzero row becomes zero, as numbers
    below 3e-8 do in float16. The message names ``name`` and the row, counted from ``first``.
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


class Checksum:
    """SHA-256 of the datasets of a store. Equal rows give equal checksums, however many are added at once."""

    def __init__(self) -> None:
        self._columns: dict[str, Any] = {}

    def update(self, name: str, values: np.ndarray) -> None:
        """Add rows of a dataset, in their stored form; texts are objects."""
        if name not in self._columns:
            self._columns[name] = hashlib.sha256(f"{name} {values.dtype} {values.shape[1:]}".encode())
        if values.dtype.kind == "O":
            texts = [str(text).encode() for text in values]
            self._columns[name].update(b"".join(len(text).to_bytes(8, "little") + text for text in texts))
        else:
            self._columns[name].update(np.ascontiguousarray(values))

    def hexdigest(self) -> str:
        """Return the checksum of all datasets."""
        digests = [column.hexdigest() for _, column in sorted(self._columns.items())]
        return hashlib.sha256("".join(digests).encode()).hexdigest()


def new_file(path: Path) -> h5py.File:
    """Create an HDF5 file in the latest format, whose tables have checksums."""
    return h5py.File(path, "w", libver="latest")


def write_header(file: h5py.File, provenance: Mapping[str, Json], checksum: str) -> None:
    """Write the attributes that mark a file as a store."""
    file.attrs["version"] = VERSION
    for name, text in (
        ("format", FORMAT),
        ("provenance", json.dumps(dict(provenance), sort_keys=True)),
        ("checksum", checksum),
    ):
        file.attrs[name] = np.bytes_(text)


def write_texts(file: h5py.File, name: str, texts: Sequence[str]) -> None:
    """Write texts as a dataset of one length. HDF5 has no checksums for texts of variable length."""
    encoded = [str(text).encode() for text in texts]
    width = max(1, *map(len, encoded))
    dtype = h5py.string_dtype("utf-8", width)
    chunks = (chunk_rows(width),)
    file.create_dataset(name, data=np.array(encoded, dtype), maxshape=(None,), chunks=chunks, fletcher32=True)


def abandon(file: h5py.File) -> None:
    """Close an unfinished file without writing it. HDF5 would write its caches to a full disk again, and crash."""
    if file:
        with Path(os.devnull).open("r+b") as nothing:
            os.dup2(nothing.fileno(), file.id.get_vfd_handle())
        file.close()
