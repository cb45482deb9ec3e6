"""Copy activations from arrays in files to activation stores."""

import json
import logging
import math
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from pathlib import Path

import numpy as np

from sdlcore.data.layout import check_values
from sdlcore.data.resumable import Progress, resume_store
from sdlcore.errors import SourceError
from sdlcore.identity import provenance
from sdlcore.random_streams import stream
from sdlcore.settings import Json
from sdlcore.sources.files.arrays import Array, open_array
from sdlcore.sources.files.settings import FileSource, parse_array
from sdlcore.storage.files import sha256_of
from sdlcore.storage.parsing import in_a_sentence

log = logging.getLogger(__name__)

BLOCK_ROWS = 4096
COUNTED_ROWS = 2**20
MOST_UNNAMED = 2**16
"""Largest number of classes without names; larger labels are probably not classes."""
MOST_NUMBERS = 2**30
"""Largest block in memory, in numbers; wider arrays are probably dimension x samples."""


def write_file_stores(source: FileSource, train_path: str | Path, test_path: str | Path) -> None:
    """Write the arrays of a source to a training and an evaluation store, in blocks; repeat the call to resume.

    The reference ``row`` is the index of a sample in its file.

    Raises
    ------
    SourceError
        If an array is missing, has a wrong rank, type or length, or is not finite; the message names file and array.
    """
    names = None if source.class_names is None else read_class_names(source.class_names)
    with ExitStack() as stack:
        train_arrays, test_arrays = _open_both(stack, source)
        if "labels" in train_arrays:
            both = [arrays["labels"] for arrays in (train_arrays, test_arrays)]
            if both[0].kind == "U":
                names = _names(both)
                train_arrays, test_arrays = (
                    {**arrays, "labels": _numbers(arrays["labels"], names)} for arrays in (train_arrays, test_arrays)
                )
            elif names is None:
                names = _numbered(both)
        parts: list[tuple[str, str | Path, Mapping[str, Array], Callable[[int, int], np.ndarray]]]
        if source.test_input is None:
            rows, share = train_arrays["input"].shape[0], source.test_share
            if not 0 < int(share * rows) < rows:
                raise SourceError(
                    f"{source.input}: test_share {share} of {rows} rows leaves no row to train or to test on"
                )
            parts = [
                ("train", train_path, train_arrays, lambda start, stop: ~held_out(start, stop, share)),
                ("test", test_path, train_arrays, lambda start, stop: held_out(start, stop, share)),
            ]
        else:
            parts = [("train", train_path, train_arrays, _all), ("test", test_path, test_arrays, _all)]
        files = {path: sha256_of(path) for path in source.files}
        _check_apart(source, files)
        for split, path, arrays, chosen in parts:
            facts = provenance(source=source.to_dict(), split=split, files=files, references="row: in its file, from 0")
            _write(path, arrays, chosen, facts, source.dtype, names)


def _check_apart(source: FileSource, files: Mapping[str, str]) -> None:
    """Raise `SourceError` if the evaluation file is the training file, a link to it or a copy of it."""
    if source.test_input is None:
        return
    train, test = parse_array(source.input), parse_array(source.test_input)
    # a missing key means the only array
    if files[train.path] == files[test.path] and (train.key == test.key or None in (train.key, test.key)):
        raise SourceError(
            f"{source.test_input}: contains the same samples as {source.input}; leave test_input out and set "
            "test_share to hold out samples"
        )


def count_classes(source: FileSource) -> int | None:
    """Count the classes among the labels of a source's training arrays; None without labels.

    The arrays are also checked as in `write_file_stores`, so that a plan fails before its jobs do.

    Raises
    ------
    SourceError
        If an array is missing, or has a wrong rank, type or length; the message names file and array.
    """
    with ExitStack() as stack:
        train_arrays, _ = _open_both(stack, source)
        if "labels" not in train_arrays:
            return None
        labels, label_values = train_arrays["labels"], set[int | str]()
        for start in range(0, labels.shape[0], COUNTED_ROWS):
            label_values.update(np.unique(labels.read(start, min(start + COUNTED_ROWS, labels.shape[0]))).tolist())
        return len(label_values - {-1, ""})


def file_shapes(source: FileSource) -> tuple[tuple[int, int], tuple[int, int]]:
    """Return a source's numbers of training and evaluation samples, and the dimensions of input and target.

    The target's dimension is 0 if there is no target. Only headers are read.

    Raises
    ------
    SourceError
        As in `count_classes`.
    """
    with ExitStack() as stack:
        train_arrays, test_arrays = _open_both(stack, source)
        rows, width = train_arrays["input"].shape
        test = int(source.test_share * rows) if source.test_input is None else test_arrays["input"].shape[0]
        target_width = train_arrays["target"].shape[1] if "target" in train_arrays else 0
        return (rows - test * (test_arrays is train_arrays), test), (width, target_width)


def held_out(start: int, stop: int, share: float) -> np.ndarray:
    """Return which rows of a block ``start:stop`` are held out: a fixed random choice, ``share`` of all rows."""
    chosen = np.zeros(stop - start, dtype=bool)
    count = int(share * stop) - int(share * start)
    chosen[stream(0, "held out", start).permutation(stop - start)[:count]] = True
    return chosen


def read_class_names(path: str | Path) -> list[str]:
    """Read class names from a text file with a name per line, or from a JSON list."""
    with in_a_sentence(f"{path}: class names cannot be read", path), Path(path).open(encoding="utf-8") as file:
        # not splitlines, which also splits at characters that may occur in a name
        names = json.load(file) if Path(path).suffix == ".json" else [line.removesuffix("\n") for line in file]
    if not isinstance(names, list) or not names or not all(isinstance(name, str) for name in names):
        raise SourceError(f"{path}: expected class names, one per line or a JSON list of strings")
    return names


def _numbered(labels: list[Array]) -> list[str]:
    """Return the numbers from 0 to the largest label as class names."""
    largest = -1
    for array in labels:
        for start in range(0, array.shape[0], BLOCK_ROWS):
            values = array.read(start, min(start + BLOCK_ROWS, array.shape[0]))
            _check_labels(array, values, None, start)
            largest = max(largest, int(values.max()))
    return [str(label) for label in range(largest + 1)]


def _names(labels: list[Array]) -> list[str]:
    """Return the sorted names among labels; an empty name means no class."""
    names = set[str]()
    for array in labels:
        for start in range(0, array.shape[0], BLOCK_ROWS):
            names.update(np.unique(array.read(start, min(start + BLOCK_ROWS, array.shape[0]))).tolist())
        if len(names) > MOST_UNNAMED:
            many = f"contains more than {MOST_UNNAMED} classes"
            raise SourceError(f"{array.name}: {many}; expected class names, not a name for each sample")
    return sorted(names - {""})


def _numbers(labels: Array, names: list[str]) -> Array:
    """Convert labels from names to indices into ``names``, -1 for no class."""

    def read(start: int, stop: int) -> np.ndarray:
        values = labels.read(start, stop)
        return np.where(values == "", -1, np.searchsorted(names, values))

    return labels._replace(kind="i", read=read)


def _all(start: int, stop: int) -> np.ndarray:
    return np.ones(stop - start, dtype=bool)


def _open_both(stack: ExitStack, source: FileSource) -> tuple[dict[str, Array], dict[str, Array]]:
    """Return a source's training and evaluation arrays, which are the same arrays if rows are held out."""
    train_arrays = _open(stack, source, "")
    test_arrays = train_arrays if source.test_input is None else _open(stack, source, "test_")
    if source.class_names is not None and "labels" in train_arrays and train_arrays["labels"].kind == "U":
        raise SourceError(
            f"{train_arrays['labels'].name}: contains names, so leave out class_names, which is for numbers"
        )
    for column, array in test_arrays.items():
        train = train_arrays[column]
        if column == "labels" and (array.kind == "U") != (train.kind == "U"):
            raise SourceError(f"{array.name}: contains {array.dtype}, but {train.name} contains {train.dtype}")
        if array.shape[1:] != train.shape[1:]:
            raise SourceError(
                f"{array.name}: has rows of shape {array.shape[1:]}, but {train.name} has {train.shape[1:]}"
            )
    return train_arrays, test_arrays


def _open(stack: ExitStack, source: FileSource, prefix: str) -> dict[str, Array]:
    arrays = {}
    for column in ("input", "target", "labels"):
        reference = getattr(source, prefix + column)
        if reference is None:
            continue
        array = stack.enter_context(open_array(reference))
        expected, rank = ("integers or texts", 1) if column == "labels" else ("floating-point numbers", 2)
        if array.kind not in ("iuU" if column == "labels" else "f"):
            raise SourceError(f"{reference}: contains {array.dtype}, but {column} needs {expected}; convert it")
        if len(array.shape) != rank or 0 in array.shape:
            needed = "samples x dimension" if rank == 2 else "one for each sample"
            column_of_one = rank == 1 and array.shape[1:] == (1,)
            turned = f", shape ({array.shape[0]},); save the result of .ravel()" if column_of_one else ""
            raise SourceError(f"{reference}: has shape {array.shape}, but {column} needs {needed}{turned}")
        if min(BLOCK_ROWS, array.shape[0]) * math.prod(array.shape[1:]) > MOST_NUMBERS:
            raise SourceError(
                f"{reference}: has shape {array.shape}, too wide for {column}: samples x dimension; transpose it"
            )
        arrays[column] = array
    rows = {array.name: array.shape[0] for array in arrays.values()}
    if len(set(rows.values())) > 1:
        counts = ", ".join(f"{name} has {count}" for name, count in rows.items())
        raise SourceError(f"arrays of the same samples differ in rows: {counts}")
    return arrays


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
            for column, values in block.items():
                if column == "labels":
                    _check_labels(arrays[column], values, class_names, start)
                else:
                    check_values(arrays[column].name, values, dtype, start)
            places = np.flatnonzero(chosen(start, stop))
            if len(places):
                columns = {column: values[places] for column, values in block.items()}
                writer.append(columns["input"], columns.get("target"), columns.get("labels"), {"row": start + places})
            writer.commit(Progress(next=stop))
            if start * 10 // rows < stop * 10 // rows:
                log.info("%s: %d of %d rows read", facts["split"], stop, rows)


def _check_labels(array: Array, values: np.ndarray, class_names: list[str] | None, start: int) -> None:
    classes = MOST_UNNAMED if class_names is None else len(class_names)
    wrong = (values < -1) | (values.astype(np.int64) >= classes) if values.dtype.kind == "i" else values >= classes
    if wrong.any():
        row = int(np.argmax(wrong))
        named = f" to {classes - 1}" + ("" if class_names is None else " as in class_names")
        raise SourceError(
            f"{array.name}: row {start + row} contains {int(values[row])}, expected a class from 0{named}, or -1"
        )
