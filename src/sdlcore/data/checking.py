"""Validate the datasets of an HDF5 activation store before anything computes with them.

Checksums prove that a file was not damaged, but not that its writer was correct. scipy trusts the indices of a sparse
matrix: an index out of range crashes the process.
"""

from collections.abc import Iterator
from pathlib import Path

import h5py
import numpy as np

from sdlcore.data.layout import column_names, dtype_of, site_names
from sdlcore.errors import StoreError
from sdlcore.storage.hdf5 import data_elsewhere, filters, never_written, short_chunk

ENTRIES_AT_ONCE = 2**20
GROUPS = ("features", "references", "checksums", "checksums/references", "checksums/features", "shards")


def check_tables(path: Path, file: h5py.File) -> None:
    """Check a store's links, the shapes, types and location of its columns, and the indices of its features.

    Raises
    ------
    StoreError
        If a check fails; the message names the file, the dataset and the problem.
    """
    for name, table in _tables(path, file):
        packed = filters(table)
        if problem := f"is packed by {packed[0][1]}" if packed else short_chunk(table):
            raise _misfit(path, name, problem)
    united = file["shards/file"].asstr()[:].tolist() if "shards" in file else []
    rows = len(file["input"])
    sites = site_names(file)
    for name in column_names(file):
        dataset, shape = file[name], "samples x dimension" if name in sites else "samples"
        if len(dataset.shape) != (2 if "x" in shape else 1) or 0 in dataset.shape:
            raise _misfit(path, name, f"has shape {dataset.shape}, expected {shape}")
        bits = dtype_of(dataset) == "bfloat16"
        kind = "f" if bits else dataset.dtype.kind
        expected = "f" if name in sites else "iu" if name == "labels" else kind
        if kind not in expected or (bits and dataset.dtype != np.uint16):
            raise _misfit(path, name, f"contains {dataset.dtype}, which contradicts its name or its attribute dtype")
        if len(dataset) != rows:
            raise _misfit(path, name, f"has {len(dataset)} rows, but input has {rows}")
        sources = [source.file_name.replace("%%", "%") for source in dataset.virtual_sources()] if united else []
        problem = never_written(dataset) or (data_elsewhere(dataset) if not united or dataset.external else None)
        if not set(sources) <= set(united):
            problem = f"reads from {', '.join(sorted(set(sources)))}, expected only the files in shards/file"
        if problem:
            raise _misfit(path, name, problem)
    if united and int(file["shards/rows"][:].sum()) != rows:
        raise _misfit(path, "shards/rows", f"does not add up to the {rows} rows of input")
    if "features" in file:
        _check_features(path, file["features"], rows)


def _tables(path: Path, file: h5py.File) -> Iterator[tuple[str, h5py.Dataset]]:
    """Yield the datasets of a store with their names; StoreError for links and unknown groups."""
    for above in ("", *(f"{group}/" for group in GROUPS if group in file)):
        for name in file[above or "/"]:
            name = f"{above}{name}"
            if not isinstance(file.get(name, getlink=True), h5py.HardLink):
                raise _misfit(path, name, "is a link")
            member = file[name]
            if isinstance(member, h5py.Dataset):
                yield name, member
            elif name not in GROUPS:
                raise _misfit(path, name, "is an unknown group")


def _check_features(path: Path, group: h5py.Group, rows: int) -> None:
    data, indices, indptr = (group[part] for part in ("data", "indices", "indptr"))
    shape = [int(size) for size in group.attrs["shape"]]
    if len(shape) != 2 or shape[0] != rows or shape[1] < 1:
        raise _misfit(path, "features", f"has shape {shape}, but input has {rows} rows")
    for part, kinds, length in ((data, "f", len(indices)), (indices, "iu", len(data)), (indptr, "iu", rows + 1)):
        problem = data_elsewhere(part) or never_written(part)
        if part.shape != (length,) or part.dtype.kind not in kinds:
            problem = f"contains {part.dtype} of shape {part.shape}, expected {length} numbers"
        if problem:
            raise _misfit(path, part.name[1:], problem)
    last = 0
    for start in range(0, rows + 1, ENTRIES_AT_ONCE):
        offsets = indptr[start : start + ENTRIES_AT_ONCE].astype(np.int64)
        if (np.diff(offsets, prepend=last) < 0).any() or (start == 0 and offsets[0] != 0):
            raise _misfit(path, "features/indptr", "does not ascend from 0")
        last = int(offsets[-1])
    if last != len(indices):
        raise _misfit(path, "features/indptr", f"ends with {last}, expected the number of coefficients, {len(indices)}")
    for start in range(0, len(indices), ENTRIES_AT_ONCE):
        some = indices[start : start + ENTRIES_AT_ONCE]
        for wrong in (int(some.min()), int(some.max())):
            if not 0 <= wrong < shape[1]:
                raise _misfit(path, "features/indices", f"contains feature {wrong}, but there are {shape[1]} features")


def _misfit(path: Path, table: str, problem: str) -> StoreError:
    return StoreError(f"{path}: {table} {problem}; write the store again")
