"""Writing activation stores that go on after an interruption, from where they were committed last.

The unfinished store lies beside the one to be as ``.<name>.partial.h5``. It holds, besides columns, what every commit
said: how many rows there were, and where the source stood. A kill brings the file back to the last commit (see `undo`).
What is there then must be what was committed, byte for byte (see `block_sums`); anything else is removed.
"""

import hashlib
import json
import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Any, NamedTuple

import h5py
import numpy as np

from sdlcore.data.layout import (
    CHECKSUM_ROWS,
    VERSION,
    Checksum,
    StoreError,
    check_dtype,
    read_stored,
)
from sdlcore.data.underflow import Underflow
from sdlcore.data.undo import FileInUseError, UndoFile
from sdlcore.data.writing import BlockWriter
from sdlcore.storage.files import naming_a_full_disk

log = logging.getLogger(__name__)


class _Commit(NamedTuple):
    """What an unfinished store can be gone on with from."""

    rows: int
    state: dict[str, Any]
    checksums: dict[str, Checksum]
    underflow: dict[str, Underflow]


class ResumableWriter(BlockWriter):
    """Appends blocks of samples to a store that survives interruptions; see `resume_store`.

    Attributes
    ----------
    rows
        Samples written so far, in earlier attempts too.
    state
        What the last commit was given, as JSON gives it back; empty before the first.
    provenance
        What makes the store; what is known only at the end can be added until then.
    """

    def __init__(
        self,
        file: h5py.File,
        path: Path,
        dtype: str,
        provenance: Mapping[str, Any],
        class_names: Sequence[str] | None,
        storage: UndoFile,
    ) -> None:
        super().__init__(file, path, dtype, provenance, class_names)
        self.state: dict[str, Any] = {}
        self._storage = storage
        self._unfinished = file["unfinished"]

    def commit(self, state: Mapping[str, Any]) -> None:
        """Make sure that a kill loses nothing of what was appended before.

        Parameters
        ----------
        state
            Plain JSON values that say where the source stands; the next attempt finds them as `state`.
        """
        columns = list(self._checksums)
        underflow = {name: found.to_json() for name, found in self._underflow.items()}
        said = {"rows": self.rows, "columns": columns, "underflow": underflow, "state": dict(state)}
        record = json.dumps(said, allow_nan=False)
        for name, checksum in self._checksums.items():
            if name not in self._unfinished["checksums"]:
                self._unfinished["checksums"].create_dataset(
                    name, (0, 32), np.uint8, maxshape=(None, 32), chunks=(128, 32)
                )
            stored = self._unfinished["checksums"][name]
            _extend(stored, [np.frombuffer(digest, np.uint8) for digest in checksum.whole[len(stored) :]])
        _extend(self._unfinished["commits"], [record])
        self._file.flush()
        self._storage.commit()
        self.state = json.loads(record)["state"]

    def go_on_from(self, commit: _Commit) -> None:
        """Take over what an earlier attempt committed; the file is as it was then."""
        self.rows, self.state, self._checksums, self._underflow = commit

    def finish(self) -> None:
        del self._unfinished, self._file["unfinished"]
        super().finish()


@contextmanager
def resume_store(
    path: str | Path,
    provenance: Mapping[str, Any],
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
        File to make or replace.
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
        If ``dtype`` is not known, another process is writing the same store, or it ends without a sample or with a
        dimension that vanishes in its precision (`sdlcore.data.underflow`).
    """
    path = Path(path)
    dtype = check_dtype(dtype)
    path.parent.mkdir(parents=True, exist_ok=True)
    names = None if class_names is None else list(class_names)
    identity = _digest(json.dumps([VERSION, dtype, names, provenance], sort_keys=True))
    try:
        storage = UndoFile(path.with_name(f".{path.stem}.partial{path.suffix}"))
    except FileInUseError as error:
        raise StoreError(f"{path}: another process is writing this store; let it end, or stop it") from error
    with naming_a_full_disk(path), closing(storage):
        commit = _found(storage, identity, path)
        if commit is None and storage.size:
            storage.clear()
        file = h5py.File(storage, "w" if commit is None else "r+")
        try:
            if commit is None:
                file.create_group("unfinished").attrs["identity"] = identity
                file.create_group("unfinished/checksums")
                file.create_dataset("unfinished/commits", (0,), h5py.string_dtype(), maxshape=(None,), chunks=(64,))
            writer = ResumableWriter(file, path, dtype, provenance, names, storage)
            if commit is not None:
                writer.go_on_from(commit)
                log.info("%s: going on from row %d", path, commit.rows)
            yield writer
            writer.finish()
        except BaseException:
            with suppress(Exception):  # the file goes back to its last commit in any case
                file.close()
            raise
        file.close()
        storage.move_to(path)


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def _extend(dataset: h5py.Dataset, values: Sequence[Any]) -> None:
    if values:
        before = len(dataset)
        dataset.resize(before + len(values), axis=0)
        dataset[before:] = values


def _found(storage: UndoFile, identity: str, path: Path) -> _Commit | None:
    """Return the last commit, or None, having said why not where there is an unfinished store."""
    if not storage.size:
        return None
    commit = None
    if storage.damage is not None:
        reason = f"is damaged: {storage.damage}"
    else:
        with h5py.File(storage, "r") as file:
            if file["unfinished"].attrs["identity"] != identity:
                reason = "was begun with other settings, inputs or code"
            else:
                commit = _last_commit(file)
    if commit is None:
        log.warning("%s: the unfinished store %s; it is removed, and the store begun anew", path, reason)
    return commit


def _last_commit(file: h5py.File) -> _Commit:
    record = json.loads(read_stored(file["unfinished/commits"], -1)[0])
    rows, checksums = record["rows"], {}
    for name in record["columns"]:
        whole = file[f"unfinished/checksums/{name}"][: rows // CHECKSUM_ROWS]
        checksums[name] = Checksum([digest.tobytes() for digest in whole])
        checksums[name].update(read_stored(file[name], rows - rows % CHECKSUM_ROWS, rows))
    underflow = {name: Underflow.from_json(found) for name, found in record["underflow"].items()}
    return _Commit(rows, record["state"], checksums, underflow)
