"""Combine several stores (shards) under an index file that reads as one store."""

import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path

import h5py
import numpy as np

from sdlcore.data.checksums import append_checksums
from sdlcore.data.layout import begin
from sdlcore.data.reading import ActivationStore
from sdlcore.errors import StoreError
from sdlcore.settings import Json
from sdlcore.storage.files import atomic_path


def unite(paths: Sequence[str | Path], index_path: str | Path, provenance: Mapping[str, Json]) -> None:
    """Write an index file that reads as one store with the samples of all shards, in order.

    No samples are copied. The index refers to the shards by relative paths, so a folder with both can be moved. The
    index stores the shards' checksums, and its own checksum is computed from theirs.

    Parameters
    ----------
    paths
        At least one finished shard; none may be an index, or contain ground-truth features.
    index_path
        File to make or replace.
    provenance
        How the index was created, stored as JSON.

    Raises
    ------
    StoreError
        If there is no shard, or if a shard is missing, is an index, contains features, or disagrees with the first
        shard in columns, precisions, dimensions or class names.
    """
    index_path = Path(index_path)
    if not paths:
        raise StoreError(f"{index_path}: the list of shards to combine is empty")
    with ExitStack() as stack:
        shards = [stack.enter_context(ActivationStore(path)) for path in paths]
        for shard in shards:
            _check(shard, shards[0])
        index_path.parent.mkdir(parents=True, exist_ok=True)
        names = [os.path.relpath(shard.path, index_path.parent) for shard in shards]
        with atomic_path(index_path) as part:
            with h5py.File(part, "w") as file:
                begin(file, shards[0].class_names())
                file.attrs["provenance"] = json.dumps(dict(provenance), sort_keys=True)
                for column in shards[0].columns():
                    _unite_column(file, column, shards, names)
                group = file.create_group("shards")
                group.attrs["chunk_rows"] = shards[0].chunk_rows
                group.create_dataset("file", data=names, dtype=h5py.string_dtype())
                group.create_dataset("rows", data=[shard.rows for shard in shards])
                checksums = [str(shard.checksum) for shard in shards]
                group.create_dataset("checksum", data=checksums, dtype=h5py.string_dtype())
                file.attrs["checksum"] = hashlib.sha256("\n".join(checksums).encode()).hexdigest()
            append_checksums(part)


def _check(shard: ActivationStore, first: ActivationStore) -> None:
    if shard.shards:
        raise StoreError(f"{shard.path}: is an index of shards itself; give its shards instead")
    if shard.features() is not None:
        raise StoreError(f"{shard.path}: contains ground-truth features, which an index cannot combine")
    for what, value, expected in (
        ("columns", shard.columns(), first.columns()),
        ("dimensions", shard.widths, first.widths),
        ("class names", shard.class_names(), first.class_names()),
    ):
        if value != expected:
            raise StoreError(f"{shard.path}: its {what} are {value}, expected {expected} as in {first.path}")


def _unite_column(file: h5py.File, column: str, shards: Sequence[ActivationStore], names: Sequence[str]) -> None:
    datasets = [shard.dataset(column) for shard in shards]
    rows, width, dtype = sum(len(dataset) for dataset in datasets), datasets[0].shape[1:], datasets[0].dtype
    layout = h5py.VirtualLayout((rows, *width), dtype)
    layout.dcpl.set_obj_track_times(False)  # otherwise equal indices would differ in their times
    start = 0
    for dataset, name in zip(datasets, names, strict=True):
        # HDF5 replaces some letters after a percent sign
        source = h5py.VirtualSource(name.replace("%", "%%"), column, dataset.shape, dtype)
        layout[start : start + len(dataset)] = source
        start += len(dataset)
    # programs that read the index directly should not mistake a missing shard for zeros
    missing = (
        None if dtype.hasobject else np.nan if dtype.kind == "f" else np.iinfo(dtype).max if dtype.kind == "u" else -1
    )
    *groups, name = column.split("/")
    parent = file.require_group("/".join(groups)) if groups else file
    united = parent.create_virtual_dataset(name, layout, fillvalue=missing)
    for key, value in datasets[0].attrs.items():
        united.attrs[key] = value
