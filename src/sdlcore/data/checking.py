"""Check the tables of an HDF5 store before anything computes with them.

Seals prove that a file is what its writer left, not that its writer was right. scipy's kernels trust the indices of a
sparse matrix: one that is out of range brings the process down. And HDF5 reads what is not there as fill values, zeros
mostly: sources of virtual datasets that are missing, external files, chunks that were never written. The end of a chunk
that is stored, or unpacked, to fewer bytes than it has is whatever was in memory.
"""

import math
import zlib
from collections.abc import Iterator
from itertools import product
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from sdlcore.data.layout import StoreError, column_names, dtype_of

ENTRIES_AT_ONCE = 2**20
GROUPS = ("features", "references", "checksums", "checksums/references", "checksums/features", "shards")
DEFLATE, SHUFFLE, FLETCHER32 = h5py.h5z.FILTER_DEFLATE, h5py.h5z.FILTER_SHUFFLE, h5py.h5z.FILTER_FLETCHER32
LZF = h5py.h5z.FILTER_LZF
FILTERS = {DEFLATE: "gzip", LZF: "lzf", SHUFFLE: "shuffle", FLETCHER32: "fletcher32"}
"""Ways to pack chunks whose size after unpacking can be known."""
SHAPES = {"input": "samples x dimension", "target": "samples x dimension", "labels": "samples"}
KINDS = {"input": "f", "target": "f", "labels": "iu"}


def data_elsewhere(dataset: h5py.Dataset) -> str | None:
    """Return where a dataset's data lie if not in its file, for the end of a sentence, or None."""
    if dataset.external:
        files = [name for name, _, _ in dataset.external]
    elif dataset.is_virtual:
        files = [source.file_name for source in dataset.virtual_sources()]
    else:
        return None
    folder = Path(dataset.file.filename).parent
    listed = [
        str(file) if file == "." or (folder / file.replace("%%", "%")).is_file() else f"{file}, which is missing"
        for file in dict.fromkeys(files)
    ]
    return f"has its data in other places ({'; '.join(listed) or 'none at all'})"


def never_written(dataset: h5py.Dataset) -> str | None:
    """Return how much of a dataset was never written, for the end of a sentence, or None. Virtual ones have no data."""
    if dataset.is_virtual or not dataset.size:
        return None
    if dataset.chunks is None:
        whole = dataset.id.get_storage_size() >= dataset.size * dataset.dtype.itemsize
        return None if whole else "was never written: it would be read as zeros"
    there = dataset.id.get_num_chunks()
    expected = math.prod(-(-size // chunk) for size, chunk in zip(dataset.shape, dataset.chunks, strict=True))
    if there >= expected:
        return None
    return f"has {there} of its {expected} chunks; the others were never written and would be read as zeros"


def short_chunk(dataset: h5py.Dataset) -> str | None:
    """Return the size of a chunk that is not whole, for the end of a sentence, or None; packed ones are not checked."""
    if dataset.chunks is None or _filters(dataset):
        return None
    expected = _chunk_bytes(dataset)
    short: list[int] = []
    dataset.id.chunk_iter(lambda chunk: short.append(chunk.size) if chunk.size != expected else None)
    return f"has a chunk of {short[0]} bytes, expected {expected}" if short else None


def unknown_packing(dataset: h5py.Dataset) -> str | None:
    """Return a filter of a dataset that `short_packed_chunk` cannot undo, for the end of a sentence, or None."""
    unknown = [name for code, name in _filters(dataset) if code not in FILTERS]
    return f"is packed by {unknown[0]}" if unknown else None


def short_packed_chunk(dataset: h5py.Dataset, start: int, stop: int) -> str | None:
    """Return the size of a chunk of rows ``start:stop`` that unpacks to too few bytes, as a sentence's end, or None."""
    filters = _filters(dataset)
    if dataset.chunks is None or not filters:
        return None
    expected = _chunk_bytes(dataset)
    first, *others = dataset.chunks
    rows = range(start - start % first, min(stop, len(dataset)), first)
    for place in product(rows, *map(range, [0] * len(others), dataset.shape[1:], others)):
        skipped, packed = dataset.id.read_direct_chunk(place)
        found = len(packed)
        for number, (code, _) in reversed(list(enumerate(filters))):
            if skipped >> number & 1:
                continue
            if code == FLETCHER32:
                packed, found = packed[:-4], found - 4
            elif code == DEFLATE:
                packed = zlib.decompressobj().decompress(packed, expected + 4)
                found = len(packed)
            elif code == LZF:
                found = _lzf_bytes(packed)
        if found != expected:
            return f"has a chunk that unpacks to {found} bytes, expected {expected}"
    return None


def _lzf_bytes(packed: bytes) -> int:
    """Return how many bytes a block in the LZF format unpacks to."""
    at = found = 0
    while at < len(packed):
        control, at = packed[at], at + 1
        if control < 32:  # so many bytes and one follow as they are
            found, at = found + control + 1, at + control + 1
            continue
        length = control >> 5
        if length == 7 and at < len(packed):
            length, at = length + packed[at], at + 1
        found, at = found + length + 2, at + 1  # repeated from before
    return found


def _chunk_bytes(dataset: h5py.Dataset) -> int:
    """Return the bytes of a chunk in the file, where a string is its length, the address of a heap and a number."""
    size: int = dataset.id.get_type().get_size()
    if h5py.check_vlen_dtype(dataset.dtype) or (h5py.check_string_dtype(dataset.dtype) and dataset.dtype.kind == "O"):
        size = 4 + dataset.file.id.get_create_plist().get_sizes()[0] + 4
    return math.prod(dataset.chunks) * size


def _filters(dataset: h5py.Dataset) -> list[tuple[int, str]]:
    made = dataset.id.get_create_plist()
    found = [made.get_filter(number) for number in range(made.get_nfilters())]
    return [(code, name.decode(errors="replace")) for code, _, _, name in found]


def datasets(file: h5py.File) -> Iterator[str]:
    """Yield the names of the datasets in an HDF5 file, each once, however deep; no link is followed.

    h5py's own visits take time by the square of the depth.
    """
    waiting: list[tuple[str, h5py.Group]] = [("", file)]
    seen = {_address(file)}
    while waiting:
        above, group = waiting.pop()
        for name in group:
            if not isinstance(group.get(name, getlink=True), h5py.HardLink):
                continue
            found = group[name]
            if _address(found) in seen:
                continue
            seen.add(_address(found))
            if isinstance(found, h5py.Group):
                waiting.append((f"{above}{name}/", found))
            elif isinstance(found, h5py.Dataset):
                yield f"{above}{name}"


def _address(found: Any) -> tuple[int, int]:
    about = h5py.h5o.get_info(found.id)
    return about.fileno, about.addr


def check_tables(path: Path, file: h5py.File) -> None:
    """Look at the links of a store, shapes, types and places of its columns, and every index of its features.

    Raises
    ------
    StoreError
        Naming the file, the table and what is wrong with it.
    """
    for name, found in _tables(path, file):
        problem = short_chunk(found) or (f"is packed by {_filters(found)[0][1]}" if _filters(found) else None)
        if problem:
            raise _misfit(path, name, problem)
    united = file["shards/file"].asstr()[:].tolist() if "shards" in file else []
    rows = len(file["input"])
    for name in column_names(file):
        dataset, shape = file[name], SHAPES.get(name, "samples")
        if len(dataset.shape) != (2 if "x" in shape else 1) or 0 in dataset.shape:
            raise _misfit(path, name, f"has shape {dataset.shape}, expected {shape}")
        bits = dtype_of(dataset) == "bfloat16"
        kind = "f" if bits else dataset.dtype.kind
        if kind not in KINDS.get(name, kind) or (bits and dataset.dtype != np.uint16):
            raise _misfit(path, name, f"holds {dataset.dtype}, which its name or its attribute dtype contradicts")
        if len(dataset) != rows:
            raise _misfit(path, name, f"has {len(dataset)} rows, but input has {rows}")
        sources = [source.file_name.replace("%%", "%") for source in dataset.virtual_sources()] if united else []
        problem = never_written(dataset) or (data_elsewhere(dataset) if not united or dataset.external else None)
        if not set(sources) <= set(united):
            problem = f"is put together of {', '.join(sorted(set(sources)))}, and not of its shards alone"
        if problem:
            raise _misfit(path, name, problem)
    if united and int(file["shards/rows"][:].sum()) != rows:
        raise _misfit(path, "shards/rows", f"does not add up to the {rows} rows of input")
    if "features" in file:
        _check_features(path, file["features"], rows)


def _tables(path: Path, file: h5py.File) -> Iterator[tuple[str, h5py.Dataset]]:
    """Yield the datasets of a store; StoreError for what no store has: links, and groups of other names."""
    for above in ("", *(f"{group}/" for group in GROUPS if group in file)):
        for name in file[above or "/"]:
            name = f"{above}{name}"
            if not isinstance(file.get(name, getlink=True), h5py.HardLink):
                raise _misfit(path, name, "is a link")
            found = file[name]
            if isinstance(found, h5py.Dataset):
                yield name, found
            elif name not in GROUPS:
                raise _misfit(path, name, "is no table of a store")


def _check_features(path: Path, group: h5py.Group, rows: int) -> None:
    data, indices, indptr = (group[part] for part in ("data", "indices", "indptr"))
    shape = [int(size) for size in group.attrs["shape"]]
    if len(shape) != 2 or shape[0] != rows or shape[1] < 1:
        raise _misfit(path, "features", f"has shape {shape}, but input has {rows} rows")
    for part, kinds, length in ((data, "f", len(indices)), (indices, "iu", len(data)), (indptr, "iu", rows + 1)):
        problem = data_elsewhere(part) or never_written(part)
        if part.shape != (length,) or part.dtype.kind not in kinds:
            problem = f"holds {part.dtype} of shape {part.shape}, expected {length} numbers"
        if problem:
            raise _misfit(path, part.name[1:], problem)
    last = 0
    for start in range(0, rows + 1, ENTRIES_AT_ONCE):
        offsets = indptr[start : start + ENTRIES_AT_ONCE].astype(np.int64)
        if (np.diff(offsets, prepend=last) < 0).any() or (start == 0 and offsets[0] != 0):
            raise _misfit(path, "features/indptr", "does not ascend from 0")
        last = int(offsets[-1])
    if last != len(indices):
        raise _misfit(path, "features/indptr", f"ends with {last}, but there are {len(indices)} coefficients")
    for start in range(0, len(indices), ENTRIES_AT_ONCE):
        some = indices[start : start + ENTRIES_AT_ONCE]
        for wrong in (int(some.min()), int(some.max())):
            if not 0 <= wrong < shape[1]:
                raise _misfit(path, "features/indices", f"names feature {wrong}, but there are {shape[1]}")


def _misfit(path: Path, table: str, problem: str) -> StoreError:
    return StoreError(f"{path}: {table} {problem}; write the store anew")
