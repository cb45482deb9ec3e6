"""Convert and check users' activations and labels: arrays, tensors, stores, or paths."""

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from numbers import Integral, Real
from pathlib import Path
from typing import Any

import numpy as np
import torch

from sdlcore.data.batches import Batches, stored_batches
from sdlcore.data.memory import Activations, Arrays, check_floats
from sdlcore.data.pairs import input_target_more
from sdlcore.data.reading import ActivationStore
from sdlcore.data.side_by_side import SideBySide
from sdlcore.settings import Pair, checked
from sdlcore.storage.paths import user_path
from sdlcore.text import short_text

STORES = (".h5", ".hdf5")
FLOATS = (torch.float16, torch.bfloat16, torch.float32, torch.float64)


def floats(values: Any, name: str) -> np.ndarray:
    """Convert an array, a tensor or the path of an .npy file to an array of floating-point numbers.

    Raises
    ------
    ValueError
        If the type is not floating-point; ``name`` is the argument's name in the message.
    """
    return np.asarray(float_rows(values, name))


def float_rows(values: Any, name: str) -> np.ndarray:
    """Check and convert like `floats`, but map an .npy file into memory instead of reading it."""
    if isinstance(values, torch.Tensor):
        check_tensor(values, name)
    numbers = rows(values, name)
    check_floats(name, numbers)
    return numbers


def check_tensor(values: torch.Tensor, name: str) -> None:
    """Check that a tensor is floating-point; ValueError with its name if not."""
    if values.dtype not in FLOATS:
        how = "" if values.dtype.is_complex else f"; convert it by {name}.float()"
        raise ValueError(
            f"{name} is {values.dtype} of shape {tuple(values.shape)}, expected floating-point numbers (float16, "
            f"bfloat16, float32 or float64){how}"
        )


def array(values: Any, name: str) -> np.ndarray:
    """Convert an array, a tensor on any device, or the path of an .npy file to an array.

    The type of its numbers is not checked; see `floats`.

    Raises
    ------
    ValueError
        If it is something else.
    """
    return np.asarray(rows(values, name))


def rows(values: Any, name: str) -> np.ndarray:
    """Convert like `array`, but map an .npy file into memory: its rows are read when they are used."""
    if isinstance(values, torch.Tensor):
        values = values.detach()
        return np.asarray((values.float() if values.dtype == torch.bfloat16 else values).numpy(force=True))
    if isinstance(values, str | Path):
        values = user_path(values, name)
        if values.suffix != ".npy":
            expected = f"expected an .npy file as np.save writes it, or an activation store ({', '.join(STORES)})"
            raise ValueError(f"{values}: {expected}{_of_torch(values)}")
        try:
            return np.lib.format.open_memmap(values, mode="r")
        except FileNotFoundError as error:
            raise FileNotFoundError(f"{values}: no such file, given as {name}") from error
        except (EOFError, ValueError) as error:
            raise ValueError(f"{values}: is not an .npy file of numbers ({error})") from error
    if not isinstance(values, np.ndarray):
        way = next((way for way in ("to_numpy", "toarray") if hasattr(values, way)), None)
        instead = f"; give {name}.{way}()" if way else ""
        raise ValueError(f"{name} is a {type(values).__name__}, expected an array, a tensor or a path{instead}")
    if isinstance(values, np.ma.MaskedArray):
        raise ValueError(f"{name} is a masked array, but masks are not supported; remove the masked rows")
    return values


def _of_torch(path: Path) -> str:
    """Return how to convert a file of `torch.save`, for the end of a message; empty for other files."""
    if path.suffix not in (".pt", ".pth"):
        return ""
    to, name = str(path.with_suffix(".npy")), str(path)
    return f"; convert a saved tensor by np.save({to!r}, torch.load({name!r}, weights_only=True).float().numpy())"


@contextmanager
def activations(x: Any, target: Any = None, labels: Any = None) -> Iterator[Activations]:
    """Open activations: a store or its path, an array, a tensor or an .npy file, or a list of two or more of a kind.

    Raises
    ------
    ValueError
        If ``x`` has another type, or a target or labels are given that ``x`` already contains.
    """
    if is_store(x):
        for name, value in (("target", target), ("labels", labels)):
            if value is not None:
                where = x.path if isinstance(x, ActivationStore) else x
                raise ValueError(f"{where}: a store contains its own {name}; leave {name} out")
        with _opened(x) as store:
            yield store
    elif is_pair(x) and any(map(is_store, x)):
        with ExitStack() as opened:
            yield _side_by_side(opened, x, target, labels)
    else:
        names, parts = ["x", "target"], [x] if target is None else [x, target]
        if is_pair(x):
            if any(isinstance(part, list | tuple | Real) for part in x):
                message = f"x is a {type(x).__name__} of {len(x)} rows or numbers, not an array"
                raise ValueError(f"{message}; give np.asarray(x), or an array for each site of a crosscoder")
            if target is not None or len(x) < 2:
                raise ValueError(
                    f"x has {len(x)} parts, expected one array, or two or more for a crosscoder and no target"
                )
            names, parts = [f"x[{site}]" for site in range(len(x))], [*x]
        sites = [float_rows(part, name) for name, part in zip(names, parts, strict=False)]
        first, second, more = input_target_more(sites)
        numbers, class_names = class_numbers(labels)
        yield Arrays(first, second, numbers, class_names, more=more, names=names)


@contextmanager
def stored(x: Any, target: Any = None) -> Iterator[Batches]:
    """Open arrays, stores and files as batches; arguments and errors as of `activations`."""
    with activations(x, target) as samples:
        yield stored_batches(samples)


def _opened(x: Any) -> AbstractContextManager[ActivationStore]:
    return nullcontext(x) if isinstance(x, ActivationStore) else ActivationStore(user_path(x, "x"))


def _side_by_side(opened: ExitStack, x: Sequence[Any], target: Any, labels: Any) -> SideBySide:
    """Open a list of stores, which ``opened`` closes."""
    for name, value in (("target", target), ("labels", labels)):
        if value is not None:
            raise ValueError(f"x is a list of stores, which contain their own {name}; leave {name} out")
    if len(x) < 2 or not all(map(is_store, x)):
        kinds = ", ".join("a store" if is_store(part) else f"a {type(part).__name__}" for part in x)
        raise ValueError(f"x is a list of {kinds}; expected two or more stores, or an array for each site")
    return SideBySide([opened.enter_context(_opened(part)) for part in x])


def class_numbers(labels: Any) -> tuple[np.ndarray | None, Sequence[str] | None]:
    """Convert labels to indices of the classes that occur, -1 for no class, and the names of these classes.

    Labels are whole numbers or names, but not both. A number is its own name: the labels 7 and "7" mean the same class.
    Numbers below zero, and empty or missing names, mean no class.

    Raises
    ------
    ValueError
        If a label is neither a number nor a name, or numbers and names are mixed; the message gives an example.
    """
    if labels is None:
        return None, None
    values = array(labels, "labels") if isinstance(labels, torch.Tensor) else labels
    if isinstance(values, list | tuple):
        # as objects: if some labels are missing, numpy would round large whole numbers
        values = np.fromiter(values, dtype=object, count=len(values))
    elif isinstance(values, np.ndarray) and values.dtype.kind == "U":
        values = values.astype(object)
    elif np.ndim(values) == 1:
        values = np.asarray(values, None if isinstance(getattr(values, "dtype", None), np.dtype) else object)
    if np.ndim(values) != 1 or values.dtype.kind not in "iuO":
        kind = getattr(values, "dtype", type(values).__name__)
        expected = "expected whole numbers or names, one per sample"
        raise ValueError(f"labels are {kind} of shape {np.shape(values)}, {expected}{_remedy(labels)}")
    if values.dtype.kind == "O":
        # also covers whole numbers with missing values
        missing = np.array([*map(_is_missing, values)], dtype=bool)
        _check_labels(values, missing)
        missing |= np.array([isinstance(value, Integral) and value < 0 for value in values], dtype=bool)
        values = np.array([None if gone else _name(value) for value, gone in zip(values, missing, strict=True)], object)
        has_name = ~missing & (values != "")
    else:
        has_name = values >= 0
    classes, numbers = np.unique(values[has_name], return_inverse=True)
    indices = np.full(len(values), -1)
    indices[has_name] = numbers
    return indices, [str(name) for name in classes]


def _is_missing(value: Any) -> bool:
    """Return whether a label is None, NaN, or a missing value of pandas."""
    missing = value is None or type(value).__name__ in ("NAType", "NaTType")
    return missing or (isinstance(value, float | np.floating) and bool(np.isnan(value)))


def _name(value: Any) -> str:
    """Return a label as text. NumPy's conversion would drop trailing NULs, and misread members of an enum."""
    return str.__str__(value) if isinstance(value, str) else str(int(value))


def _check_labels(values: np.ndarray, missing: np.ndarray) -> None:
    """Check that labels are whole numbers or names, but not both."""
    first: dict[str, int] = {}
    for row in np.flatnonzero(~missing).tolist():
        value = values[row]
        kind = "name" if isinstance(value, str) else "number"
        if isinstance(value, bool | np.bool_) or not isinstance(value, str | Integral):
            raise ValueError(
                f"label {short_text(repr(value))} of sample {row} is a {type(value).__name__}, expected a whole "
                "number or a name"
            )
        first.setdefault(kind, row)
    if len(first) > 1:
        rows = sorted(first.values())
        both = " and ".join(f"{short_text(repr(values[row]))} (sample {row})" for row in rows)
        raise ValueError(f"labels are numbers and names, such as {both}; convert all of them to one kind")


def is_pair(x: Any) -> bool:
    """Return whether an input is a list or tuple of sites."""
    return isinstance(x, list | tuple)


def is_store(x: Any) -> bool:
    """Return whether an input is an activation store, or the path of one."""
    return isinstance(x, ActivationStore) or (isinstance(x, str | Path) and Path(x).suffix in STORES)


def _remedy(labels: Any) -> str:
    """Return how to convert labels of a wrong shape or type, for the end of a message."""
    if np.ndim(labels) == 2:
        return "; labels.argmax(1) does of one-hot rows"
    return "; labels.astype(int) gives these" if getattr(labels, "dtype", None) in (float, bool) else ""


def pair_of(x: Any, target: Any, pair: Pair | None) -> Pair:
    """Return the pair that the inputs imply: one array, an array and a target, or a list with one for each site.

    Raises
    ------
    ValueError
        If ``pair`` is a different pair.
    """
    pair = None if pair is None else checked("pair", Pair, pair)
    if isinstance(target, str) and not Path(target).suffix:
        raise ValueError(f"target is {target!r}, expected an array or a path; settings go by name, activation='topk'")
    if isinstance(x, tuple) and target is None and pair is None:
        calls = "fit(x[0]) for an autoencoder, fit(*x) for a transcoder, fit([*x]) for a crosscoder"
        raise ValueError(f"x is a tuple of {len(x)}, which is ambiguous; call {calls}")
    implied_pair: Pair = "crosscoder" if is_pair(x) else "sae" if target is None else "transcoder"
    if pair is None or pair == implied_pair or is_store(x):
        return pair or implied_pair
    ways = {"sae": "fit(x)", "transcoder": "fit(x, target)", "crosscoder": "fit([x1, x2])"}
    raise ValueError(f"pair is {pair}, but the inputs are for pair {implied_pair}; call {ways[pair]}")
