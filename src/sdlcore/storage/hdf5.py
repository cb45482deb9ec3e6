"""Find HDF5 datasets with missing data before anything reads them.

HDF5 reads missing data as fill values, mostly zeros: sources of virtual datasets, external files, chunks that were
never written. A chunk that is stored as, or unpacks to, too few bytes ends with random memory contents.
"""

import math
import zlib
from collections.abc import Iterator
from itertools import product
from pathlib import Path
from typing import Any

import h5py

DEFLATE, SHUFFLE, FLETCHER32 = h5py.h5z.FILTER_DEFLATE, h5py.h5z.FILTER_SHUFFLE, h5py.h5z.FILTER_FLETCHER32
LZF = h5py.h5z.FILTER_LZF
FILTERS = {DEFLATE: "gzip", LZF: "lzf", SHUFFLE: "shuffle", FLETCHER32: "fletcher32"}
"""Filters that `short_packed_chunk` can undo, by number."""


def data_elsewhere(dataset: h5py.Dataset) -> str | None:
    """Describe where a dataset's data are if not in its file, for the end of a sentence; else None."""
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
    return f"keeps its data outside the file ({'; '.join(listed) or 'nowhere'})"


def never_written(dataset: h5py.Dataset) -> str | None:
    """Describe how much of a dataset was never written, for the end of a sentence; None if complete or virtual."""
    if dataset.is_virtual or not dataset.size:
        return None
    if dataset.chunks is None:
        whole = dataset.id.get_storage_size() >= dataset.size * dataset.dtype.itemsize
        return None if whole else "was never written: it would be read as zeros"
    n_chunks = dataset.id.get_num_chunks()
    expected = math.prod(-(-size // chunk) for size, chunk in zip(dataset.shape, dataset.chunks, strict=True))
    if n_chunks >= expected:
        return None
    return f"has {n_chunks} of its {expected} chunks; the others were never written and would be read as zeros"


def short_chunk(dataset: h5py.Dataset) -> str | None:
    """Describe an unpacked chunk with too few bytes, for the end of a sentence, or None; see `short_packed_chunk`."""
    if dataset.chunks is None or filters(dataset):
        return None
    expected = _chunk_bytes(dataset)
    short: list[int] = []
    dataset.id.chunk_iter(lambda chunk: short.append(chunk.size) if chunk.size != expected else None)
    return f"has a chunk of {short[0]} bytes, expected {expected}" if short else None


def unknown_packing(dataset: h5py.Dataset) -> str | None:
    """Name a filter of a dataset that `short_packed_chunk` cannot undo, for the end of a sentence, or None."""
    unknown = [name for code, name in filters(dataset) if code not in FILTERS]
    return f"is packed by {unknown[0]}" if unknown else None


def short_packed_chunk(dataset: h5py.Dataset, start: int, stop: int) -> str | None:
    """Describe a chunk of rows ``start:stop`` that unpacks to too few bytes, for the end of a sentence, or None."""
    packing = filters(dataset)
    if dataset.chunks is None or not packing:
        return None
    expected = _chunk_bytes(dataset)
    first, *others = dataset.chunks
    rows = range(start - start % first, min(stop, len(dataset)), first)
    for place in product(rows, *map(range, [0] * len(others), dataset.shape[1:], others)):
        skipped, packed = dataset.id.read_direct_chunk(place)
        size = len(packed)
        for number, (code, _) in reversed(list(enumerate(packing))):
            if skipped >> number & 1:
                continue
            if code == FLETCHER32:
                packed, size = packed[:-4], size - 4
            elif code == DEFLATE:
                packed = zlib.decompressobj().decompress(packed, expected + 4)
                size = len(packed)
            elif code == LZF:
                size = _lzf_bytes(packed)
        if size != expected:
            return f"has a chunk that unpacks to {size} bytes, expected {expected}"
    return None


def _lzf_bytes(packed: bytes) -> int:
    """Return how many bytes a block in the LZF format unpacks to."""
    at = size = 0
    while at < len(packed):
        control, at = packed[at], at + 1
        if control < 32:  # control + 1 bytes follow uncompressed
            size, at = size + control + 1, at + control + 1
            continue
        length = control >> 5
        if length == 7 and at < len(packed):
            length, at = length + packed[at], at + 1
        size, at = size + length + 2, at + 1  # a repetition of earlier bytes
    return size


def _chunk_bytes(dataset: h5py.Dataset) -> int:
    """Return the bytes of a chunk in the file, where a string is stored as its length, a heap address and an index."""
    size: int = dataset.id.get_type().get_size()
    if h5py.check_vlen_dtype(dataset.dtype) or (h5py.check_string_dtype(dataset.dtype) and dataset.dtype.kind == "O"):
        size = 4 + dataset.file.id.get_create_plist().get_sizes()[0] + 4
    return math.prod(dataset.chunks) * size


def filters(dataset: h5py.Dataset) -> list[tuple[int, str]]:
    """Return the number and name of each filter that packs a dataset's chunks, in the order of packing."""
    properties = dataset.id.get_create_plist()
    entries = [properties.get_filter(number) for number in range(properties.get_nfilters())]
    return [(code, name.decode(errors="replace")) for code, _, _, name in entries]


def datasets(file: h5py.File) -> Iterator[str]:
    """Yield the name of each dataset in an HDF5 file once, at any depth, without following soft or external links.

    h5py's own visitors take time quadratic in the depth.
    """
    waiting: list[tuple[str, h5py.Group]] = [("", file)]
    addresses = {_address(file)}
    while waiting:
        above, group = waiting.pop()
        for name in group:
            if not isinstance(group.get(name, getlink=True), h5py.HardLink):
                continue
            member = group[name]
            if _address(member) in addresses:
                continue
            addresses.add(_address(member))
            if isinstance(member, h5py.Group):
                waiting.append((f"{above}{name}/", member))
            elif isinstance(member, h5py.Dataset):
                yield f"{above}{name}"


def _address(member: Any) -> tuple[int, int]:
    about = h5py.h5o.get_info(member.id)
    return about.fileno, about.addr
