"""Copy activations from arrays in files to activation stores."""

import json
import logging
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from functools import partial
from pathlib import Path

import numpy as np

from sdlcore.data.stored_form import to_stored
from sdlcore.data.writing import Progress, resume_store
from sdlcore.errors import SourceError
from sdlcore.identity import provenance
from sdlcore.random_streams import stream
from sdlcore.settings import Json
from sdlcore.sources.files.arrays import Array, open_array
from sdlcore.sources.files.settings import FileSource
from sdlcore.storage.files import sha256_of
from sdlcore.storage.parsing import parsing

log = logging.getLogger(__name__)

BLOCK_ROWS = 4096
ACTIVATIONS = "f", 2, "floating-point numbers, samples x dimension"
LABELS = "iuU", 1, "integers or texts, one for each sample"
"""Kinds of types, the rank, and a description of arrays."""
MOST_CLASSES = 2**16
"""Largest number of classes without a list of names; more are probably no classes."""


def write_file_stores(source: FileSource, train_path: str | Path, test_path: str | Path) -> None:
    """Write the arrays of a source to a training and an evaluation store, in blocks; repeat the call to resume.

    The reference ``row`` is the index of a sample in its file.

    Raises
    ------
    SourceError
        If an array is missing, or has a wrong rank, type or length; the message names file and array.
    StoreError
        If a row is not finite, or does not fit into the precision of the store; the message names file and row.
    """
    with ExitStack() as stack:
        train, test = _open_both(stack, source)
        names = _number_classes(source, train, test)
        rows, share = train["input"].shape[0], source.test_share
        files = {path: sha256_of(path) for path in source.files}
        if source.test_input is None and not 0 < int(share * rows) < rows:
            raise SourceError(f"{source.input}: test_share {share} of {rows} rows leaves no row to train or to test on")

        def chosen(split: str, start: int, stop: int) -> np.ndarray:
            if source.test_input is not None:
                return np.ones(stop - start, dtype=bool)
            return held_out(start, stop, share) == (split == "test")

        for split, path, arrays in (("train", train_path, train), ("test", test_path, test)):
            facts = provenance(source=source.to_dict(), split=split, files=files, references="row: in its file, from 0")
            _write(path, arrays, partial(chosen, split), facts, source.dtype, names)


def _write(
    path: str | Path,
    arrays: Mapping[str, Array],
    chosen: Callable[[int, int], np.ndarray],
    facts: Mapping[str, Json],
    dtype: str,
    class_names: list[str] | None,
) -> None:
    rows = arrays["input"].shape[0]
    with resume_store(path, facts, dtype, class_names) as writer:
        for start in range(writer.state(Progress()).next, rows, BLOCK_ROWS):
            stop = min(start + BLOCK_ROWS, rows)
            block = {column: array.read(start, stop) for column, array in arrays.items()}
            for column in block.keys() - {"labels"}:
                to_stored(arrays[column].name, block[column], dtype, start)  # an error names the row in its file
            places = np.flatnonzero(chosen(start, stop))
            if len(places):
                columns = {column: values[places] for column, values in block.items()}
                sites = columns["input"], columns.get("target")
                writer.append(*sites, labels=columns.get("labels"), references={"row": start + places})
            writer.commit(Progress(next=stop))
            if start * 10 // rows < stop * 10 // rows:
                log.info("%s: %d of %d rows read", facts["split"], stop, rows)


def held_out(start: int, stop: int, share: float) -> np.ndarray:
    """Return which rows of a block ``start:stop`` are held out: a fixed random choice, ``share`` of all rows."""
    chosen = np.zeros(stop - start, dtype=bool)
    count = int(share * stop) - int(share * start)
    chosen[stream(0, "held out", start).permutation(stop - start)[:count]] = True
    return chosen


def file_shapes(source: FileSource) -> tuple[tuple[int, int], tuple[int, int]]:
    """Return a source's numbers of training and evaluation samples, and the dimensions of input and target.

    The target's dimension is 0 if there is no target. Only headers are read, so that a plan fails before its jobs do.
    SourceError if an array is missing, or has a wrong rank, type or length; the message names file and array.
    """
    with ExitStack() as stack:
        train, test = _open_both(stack, source)
        rows, width = train["input"].shape
        test_rows = int(source.test_share * rows) if test is train else test["input"].shape[0]
        target_width = train["target"].shape[1] if "target" in train else 0
        return (rows - test_rows * (test is train), test_rows), (width, target_width)


def read_class_names(path: str | Path) -> list[str]:
    """Read class names from a text file with a name per line, or from a JSON list."""
    with parsing(path, "class names"), Path(path).open(encoding="utf-8") as file:
        # not splitlines, which also splits at characters that may occur in a name
        names = json.load(file) if Path(path).suffix == ".json" else [line.removesuffix("\n") for line in file]
    if not isinstance(names, list) or not names or not all(isinstance(name, str) for name in names):
        raise SourceError(f"{path}: expected class names, one per line or a JSON list of strings")
    return names


def _rows(values: np.ndarray, start: int, stop: int) -> np.ndarray:
    return values[start:stop]


def _number_classes(source: FileSource, train: dict[str, Array], test: dict[str, Array]) -> list[str] | None:
    """Replace the labels of both by indices of classes, -1 for no class, and return the names of the classes."""
    if "labels" not in train:
        return None
    both = [arrays["labels"] for arrays in (train, test)]
    labels = {array.name: array.read(0, array.shape[0]) for array in both}
    names = None if source.class_names is None else read_class_names(source.class_names)
    if train["labels"].dtype.kind == "U":
        names = sorted({str(name) for values in labels.values() for name in np.unique(values)} - {""})
        labels = {key: np.where(x == "", -1, np.searchsorted(names, x)) for key, x in labels.items()}
    largest = MOST_CLASSES - 1 if names is None else len(names) - 1
    for name, values in labels.items():
        if (wrong := (values < -1) | (values > largest)).any():
            row = int(np.argmax(wrong))
            raise SourceError(
                f"{name}: row {row} contains {values[row]}, expected a class from 0 to {largest}, or -1 for none"
            )
    for arrays in (train, test):
        arrays["labels"] = arrays["labels"]._replace(read=partial(_rows, labels[arrays["labels"].name]))
    return names or [str(label) for label in range(max(int(values.max()) for values in labels.values()) + 1)]


def _open_both(stack: ExitStack, source: FileSource) -> tuple[dict[str, Array], dict[str, Array]]:
    """Return a source's training and evaluation arrays, which are the same arrays if rows are held out."""
    train = _open(stack, source, "")
    test = train if source.test_input is None else _open(stack, source, "test_")
    if source.class_names is not None and train["labels"].dtype.kind == "U":
        raise SourceError(f"{train['labels'].name}: contains names, so leave out class_names, which is for numbers")
    for column, array in test.items():
        other = train[column]
        kinds = {array.dtype.kind == "U", other.dtype.kind == "U"}
        if array.shape[1:] != other.shape[1:] or len(kinds) > 1:
            raise SourceError(
                f"{array.name}: contains {array.dtype} of shape {array.shape}, but {other.name} {other.dtype} of "
                f"shape {other.shape}"
            )
    return train, test


def _open(stack: ExitStack, source: FileSource, prefix: str) -> dict[str, Array]:
    arrays = {}
    for column in ("input", "target", "labels"):
        reference = getattr(source, prefix + column)
        if reference is None:
            continue
        array = stack.enter_context(open_array(reference))
        kinds, rank, needed = ACTIVATIONS if column != "labels" else LABELS
        if array.dtype.kind not in kinds or len(array.shape) != rank or 0 in array.shape:
            turned = "; save the result of .ravel()" if rank == 1 and array.shape[1:] == (1,) else ""
            found = f"contains {array.dtype} of shape {array.shape}"
            raise SourceError(f"{reference}: {found}, but {column} needs {needed}{turned}")
        arrays[column] = array
    rows = {array.name: array.shape[0] for array in arrays.values()}
    if len(set(rows.values())) > 1:
        counts = ", ".join(f"{name} has {count}" for name, count in rows.items())
        raise SourceError(f"arrays of the same samples differ in rows: {counts}")
    return arrays
