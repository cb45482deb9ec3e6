"""Copy activations from arrays in files to activation stores."""

import json
import logging
import math
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path

import numpy as np

from sdlcore.data.layout import decode, encode
from sdlcore.data.resumable import Progress, resume_store
from sdlcore.data.underflow import UnderflowError, described, vanishing_row
from sdlcore.errors import SourceError
from sdlcore.random_streams import stream
from sdlcore.settings import Json
from sdlcore.sources.files.arrays import Array, open_array
from sdlcore.sources.files.settings import FileSource, parse_array
from sdlcore.sources.folders import NO_FILE, is_regular
from sdlcore.storage.files import provenance, sha256_of
from sdlcore.storage.parsing import in_a_sentence

log = logging.getLogger(__name__)

BLOCK_ROWS = 4096
COUNTED_ROWS = 2**20
MOST_UNNAMED = 2**16
"""Classes without names: larger labels are numbers of something else, most likely."""
MOST_NUMBERS = 2**30
"""Numbers of a block that may be in memory: wider arrays are dimension x samples, most likely."""


def write_stores(source: FileSource, train_path: str | Path, test_path: str | Path) -> None:
    """Write the arrays of a source to a training and an evaluation store, block by block; the same settings go on.

    References are ``row``, counted from 0 in the file that a sample comes from.

    Raises
    ------
    SourceError
        Naming the file, the array and what is wrong: missing, of another rank or type, of unequal lengths, not finite.
    """
    names = None if source.class_names is None else read_class_names(source.class_names)
    with ExitStack() as stack:
        given, tested = _open_both(stack, source)
        if "labels" in given:
            both = [arrays["labels"] for arrays in (given, tested)]
            if both[0].kind == "U":
                names = _names(both)
                given, tested = ({**arrays, "labels": _numbers(arrays["labels"], names)} for arrays in (given, tested))
            elif names is None:
                names = _numbered(both)
        parts: list[tuple[str, str | Path, Mapping[str, Array], Callable[[int, int], np.ndarray]]]
        if source.test_input is None:
            rows, share = given["input"].shape[0], source.test_share
            if not 0 < int(share * rows) < rows:
                raise SourceError(f"{source.input}: a share of {share} of its {rows} rows leaves one side without any")
            parts = [
                ("train", train_path, given, lambda start, stop: ~held_out(start, stop, share)),
                ("test", test_path, given, lambda start, stop: held_out(start, stop, share)),
            ]
        else:
            parts = [("train", train_path, given, _all), ("test", test_path, tested, _all)]
        files = {path: sha256_of(path) for path in source.files}
        _check_apart(source, files)
        for split, path, arrays, chosen in parts:
            facts = provenance(
                __file__, source=asdict(source), split=split, files=files, references="row: in its file, from 0"
            )
            try:
                _write(path, arrays, chosen, facts, source.dtype, names)
            except UnderflowError as error:
                raise SourceError(f"{arrays[error.column].name}: {error.problem}") from error


def _check_apart(source: FileSource, files: Mapping[str, str]) -> None:
    """Refuse samples for evaluation that are those of training, by whatever name: a link, a copy."""
    if source.test_input is None:
        return
    train, test = parse_array(source.input), parse_array(source.test_input)
    # without a key, it is the only array
    if files[train.path] == files[test.path] and (train.key == test.key or None in (train.key, test.key)):
        raise SourceError(
            f"{source.test_input}: holds what {source.input} does; leave test_input out and set test_share, which "
            "training does not see"
        )


def count_classes(source: FileSource) -> int | None:
    """Return how many classes the labels of a source's training arrays name, None where it has none.

    What `write_stores` reads first is looked at as well, so that a plan can refuse what a job would.

    Raises
    ------
    SourceError
        Naming the file, the array and what is wrong: missing, of another rank or type, of unequal lengths.
    """
    with ExitStack() as stack:
        given, _ = _open_both(stack, source)
        if "labels" not in given:
            return None
        labels, found = given["labels"], set[int | str]()
        for start in range(0, labels.shape[0], COUNTED_ROWS):
            found.update(np.unique(labels.read(start, min(start + COUNTED_ROWS, labels.shape[0]))).tolist())
        return len(found - {-1, ""})


def shapes(source: FileSource) -> tuple[tuple[int, int], tuple[int, int]]:
    """Return how many samples a source has for training and for evaluation, and the dimensions of input and target.

    Without a target, that is 0. Only headers are read.

    Raises
    ------
    SourceError
        As `count_classes` does.
    """
    with ExitStack() as stack:
        given, tested = _open_both(stack, source)
        rows, width = given["input"].shape
        test = int(source.test_share * rows) if source.test_input is None else tested["input"].shape[0]
        return (rows - test * (tested is given), test), (width, given["target"].shape[1] if "target" in given else 0)


def held_out(start: int, stop: int, share: float) -> np.ndarray:
    """Return which of the rows ``start:stop``, a block, are held out: the same ones always, ``share`` of all blocks."""
    chosen = np.zeros(stop - start, dtype=bool)
    count = int(share * stop) - int(share * start)
    chosen[stream(0, "held out", start).permutation(stop - start)[:count]] = True
    return chosen


def read_class_names(path: str | Path) -> list[str]:
    """Return the names in a text file, a line each, or in a JSON file with a list."""
    if not is_regular(path):  # reading a pipe would wait for somebody to write
        raise SourceError(f"{path}: class names cannot be read ({NO_FILE})")
    with in_a_sentence(f"{path}: class names cannot be read", path), Path(path).open(encoding="utf-8") as file:
        # not splitlines, which also ends lines at characters that may stand in a name
        names = json.load(file) if Path(path).suffix == ".json" else [line.removesuffix("\n") for line in file]
    if not isinstance(names, list) or not names or not all(isinstance(name, str) for name in names):
        raise SourceError(f"{path}: expected class names, a line each or a JSON list of texts")
    for number, name in enumerate(names):
        if "\0" in name or any("\ud800" <= letter <= "\udfff" for letter in name):
            raise SourceError(f"{path}: class {number} is called {name!r:.60}, which HDF5 cannot hold; rename it")
    return names


def _numbered(labels: list[Array]) -> list[str]:
    """Return the labels themselves as names of classes, up to the largest."""
    largest = -1
    for array in labels:
        for start in range(0, array.shape[0], BLOCK_ROWS):
            values = array.read(start, min(start + BLOCK_ROWS, array.shape[0]))
            _check_labels(array, values, None, start)
            largest = max(largest, int(values.max()))
    return [str(label) for label in range(largest + 1)]


def _names(labels: list[Array]) -> list[str]:
    """Return the classes that labels name, in the order of the alphabet; an empty name is none."""
    found = set[str]()
    for array in labels:
        for start in range(0, array.shape[0], BLOCK_ROWS):
            found.update(np.unique(array.read(start, min(start + BLOCK_ROWS, array.shape[0]))).tolist())
        if len(found) > MOST_UNNAMED:
            raise SourceError(f"{array.name}: names more than {MOST_UNNAMED} classes, as a label of each sample would")
    return sorted(found - {""})


def _numbers(labels: Array, names: list[str]) -> Array:
    """Return labels that are names as the numbers of these names, -1 for none."""

    def read(start: int, stop: int) -> np.ndarray:
        values = labels.read(start, stop)
        return np.where(values == "", -1, np.searchsorted(names, values))

    return labels._replace(kind="i", read=read)


def _all(start: int, stop: int) -> np.ndarray:
    return np.ones(stop - start, dtype=bool)


def _open_both(stack: ExitStack, source: FileSource) -> tuple[dict[str, Array], dict[str, Array]]:
    """Return the arrays of a source, and those for evaluation, which are the same where none are named."""
    given = _open(stack, source, "")
    tested = given if source.test_input is None else _open(stack, source, "test_")
    if source.class_names is not None and "labels" in given and given["labels"].kind == "U":
        raise SourceError(f"{given['labels'].name}: holds names, so leave class_names out; it names numbers")
    for column, array in tested.items():
        if column == "labels" and (array.kind == "U") != (given[column].kind == "U"):
            raise SourceError(
                f"{array.name}: holds {array.dtype}, but {given[column].name} holds {given[column].dtype}"
            )
        if array.shape[1:] != given[column].shape[1:]:
            raise SourceError(
                f"{array.name}: has rows of shape {array.shape[1:]}, but {given[column].name} has "
                f"{given[column].shape[1:]}"
            )
    return given, tested


def _open(stack: ExitStack, source: FileSource, prefix: str) -> dict[str, Array]:
    arrays = {}
    for column in ("input", "target", "labels"):
        reference = getattr(source, prefix + column)
        if reference is None:
            continue
        array = stack.enter_context(open_array(reference))
        wanted, rank = ("integers or texts", 1) if column == "labels" else ("floating-point numbers", 2)
        if array.kind not in ("iuU" if column == "labels" else "f"):
            raise SourceError(f"{reference}: holds {array.dtype}, but {column} needs {wanted}; convert it")
        if len(array.shape) != rank or 0 in array.shape:
            needed = "samples x dimension" if rank == 2 else "one for each sample"
            column_of_one = rank == 1 and array.shape[1:] == (1,)
            turned = f", shape ({array.shape[0]},); save it as .ravel() gives it" if column_of_one else ""
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
                    _check_activations(arrays[column], values, dtype, start)
            kept = np.flatnonzero(chosen(start, stop))
            if len(kept):
                columns = {column: values[kept] for column, values in block.items()}
                writer.append(**columns, references={"row": start + kept})
            writer.commit(Progress(stop))
            if start * 10 // rows < stop * 10 // rows:
                log.info("%s: %d of %d rows read", facts["split"], stop, rows)


def _check_activations(array: Array, values: np.ndarray, dtype: str, start: int) -> None:
    finite = np.isfinite(values).all(axis=1)
    if not finite.all():
        row = start + int(np.argmin(finite))
        raise SourceError(f"{array.name}: row {row} holds NaN or infinity; leave such rows out")
    with np.errstate(over="ignore"):
        stored = decode(encode(values, dtype), dtype)
    fitting = np.isfinite(stored).all(axis=1)
    if not fitting.all():
        row = int(np.argmin(fitting))
        largest = float(np.abs(values[row].astype(np.float64)).max())
        raise SourceError(
            f"{array.name}: row {start + row} holds {largest:g}, too large for {dtype}; set another dtype"
        )
    lost = vanishing_row(values, stored)
    if lost is not None:
        raise SourceError(f"{array.name}: {described(start + lost, values[lost], dtype)}")


def _check_labels(array: Array, values: np.ndarray, class_names: list[str] | None, start: int) -> None:
    classes = MOST_UNNAMED if class_names is None else len(class_names)
    wrong = (values < -1) | (values.astype(np.int64) >= classes) if values.dtype.kind == "i" else values >= classes
    if wrong.any():
        row = int(np.argmax(wrong))
        named = f" to {classes - 1}" if class_names is None else f", of which class_names has {classes}"
        raise SourceError(
            f"{array.name}: row {start + row} holds {int(values[row])}, expected a class counted from 0{named}, or -1"
        )
