"""Array files, plain, random or crafted, read by the stores of a source of kind `file`.

Accepted files must read back as a plain reader's values, rounded to the store's type.
"""

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch

from sdlcore.data.reading import ActivationStore
from sdlcore.errors import SourceError, StoreError
from sdlcore.sources.files.extraction import write_file_stores
from sdlcore.sources.files.settings import FileSource
from tests.fuzz import array_files
from tests.fuzz.cases import ACCEPTED, Case, Fault, choose, damage, refusal

Reader = Callable[[], np.ndarray]


class Made(NamedTuple):
    """An array in a file."""

    what: str
    path: Path
    key: str | None
    """The array's name in the file."""
    plain: Reader | None
    """Reads it with the format's own library; None if it must be rejected."""
    plain_is_fine: bool
    """Whether rejecting it would be wrong."""

    @property
    def reference(self) -> str:
        return str(self.path) if self.key is None else f"{self.path}#{self.key}"


def make(rng: np.random.Generator, folder: Path) -> Case:
    """Make a file with an array, sometimes damaged or with labels, and read it into stores."""
    array = Made(*choose(rng, *array_files.MAKERS)(rng, folder))
    if array.path.is_file() and rng.random() < 0.25:
        done = damage(rng, array.path)
        array = array._replace(what=f"{array.what}, {done}", plain_is_fine=False)
    dtype = choose(rng, "float32", "float32", "float16", "bfloat16")
    settings = {"input": array.reference, "dtype": dtype, "test_share": 0.5}
    what = f"{array.what}, into {dtype}"
    if rng.random() < 0.2:
        label_what, labels = array_files.labels(rng, folder)
        settings |= labels
        what += f", labels {label_what}"
    return Case(what, lambda: _check(settings, array, folder))


def _check(settings: dict[str, str | float], array: Made, folder: Path) -> str:
    paths = folder / "stores" / "train.h5", folder / "stores" / "test.h5"
    try:
        write_file_stores(FileSource(**settings), *paths)  # type: ignore[arg-type]
    except (SourceError, StoreError) as error:
        names = [Path(str(settings[key])).name.split("#")[0] for key in settings if key not in ("dtype", "test_share")]
        if array.plain_is_fine and "labels" not in settings and _fits(array, str(settings["dtype"])):
            raise Fault(f"a plain array is refused: {error}") from error
        return refusal(error, [*names, *(ascii(name).strip("'") for name in names)])
    if array.plain is None:
        raise Fault("was accepted, though it has no values of its own")
    try:
        plain = array.plain()
    except Exception as error:
        raise Fault(f"was accepted, though a plain reader refuses it ({type(error).__name__}: {error})") from error
    expected = _rounded(plain, str(settings["dtype"]))
    actual = np.full_like(expected, np.nan)
    times = np.zeros(len(expected), dtype=int)
    for path in paths:
        with ActivationStore(path) as store:
            rows = store.read("references/row")
            actual[rows] = store.read("input")
            np.add.at(times, rows, 1)
    if not (times == 1).all():
        raise Fault(f"rows are in the stores {sorted(set(times.tolist()))} times")
    if actual.tobytes() != expected.tobytes():
        row = int(np.argmax((actual != expected).any(axis=1)))
        raise Fault(f"row {row} reads {actual[row].tolist()}, a plain reader has {expected[row].tolist()}")
    if not np.isfinite(actual).all():
        raise Fault("holds NaN or infinity")
    for axis, what in ((1, "row"), (0, "column")):
        if (expected == 0).all(axis).sum() > (plain == 0).all(axis).sum():
            raise Fault(f"a {what} vanished in the store's type")
    return ACCEPTED


def _rounded(values: np.ndarray, dtype: str) -> np.ndarray:
    tensor = torch.from_numpy(np.ascontiguousarray(values.astype(np.float64)))
    exactly = tensor.to(torch.float16 if dtype == "float16" else torch.float32)
    if dtype == "bfloat16":
        exactly = exactly.to(torch.bfloat16)
    return exactly.to(torch.float32).numpy()


def _fits(array: Made, dtype: str) -> bool:
    """Return whether values are finite, enough to hold some out, and neither too large nor too small for a type."""
    assert array.plain is not None
    values = array.plain()
    if len(values) < 2 or not np.isfinite(values).all():
        return False
    rounded = _rounded(values, dtype)
    return bool(np.isfinite(rounded).all() and ((rounded == 0) == (values == 0)).all())
