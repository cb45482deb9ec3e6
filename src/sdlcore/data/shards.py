"""Unite stores that several processes wrote in one store."""

import hashlib
import os
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path

from sdlcore.data.reading import ActivationStore
from sdlcore.data.stored_form import new_file, write_header, write_texts
from sdlcore.errors import StoreError
from sdlcore.settings import Json
from sdlcore.storage.files import atomic_path


def unite(paths: Sequence[str | Path], index_path: str | Path, provenance: Mapping[str, Json]) -> None:
    """Write an index file that reads as one store with the samples of all shards, in order.

    No samples are copied. The index refers to the shards by relative paths, so a folder with the index and its shards
    can be moved. The index stores the shards' checksums, and its own checksum is computed from theirs.

    Parameters
    ----------
    paths
        At least one finished shard; none may be an index, or contain ground-truth features.
    index_path
        File to make or replace.
    provenance
        Facts about how the index was created, by name; stored as JSON.

    Raises
    ------
    StoreError
        If a shard is missing, is an index, contains features, or disagrees with the first shard in columns, precisions,
        dimensions or class names.
    """
    index_path = Path(index_path)
    with ExitStack() as stack:
        shards = [stack.enter_context(ActivationStore(path)) for path in paths]
        for shard in shards:
            if shard.shards:
                raise StoreError(f"{shard.path}: is an index; give the paths of its shards")
            if shard.features() is not None:
                raise StoreError(f"{shard.path}: contains ground-truth features, which an index cannot join")
            for what, value, expected in (
                ("columns", shard.columns(), shards[0].columns()),
                ("dimensions", shard.widths, shards[0].widths),
                ("class names", shard.class_names(), shards[0].class_names()),
            ):
                if value != expected:
                    raise StoreError(f"{shard.path}: its {what} are {value}, expected {expected} as in {paths[0]}")
        checksums = [shard.checksum for shard in shards]
        with atomic_path(index_path) as part, new_file(part) as file:
            write_header(file, provenance, hashlib.sha256("\n".join(checksums).encode()).hexdigest())
            write_texts(file, "shards/file", [os.path.relpath(shard.path, index_path.parent) for shard in shards])
            write_texts(file, "shards/checksum", checksums)
