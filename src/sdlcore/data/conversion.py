"""Convert and check users' activations and labels: arrays, tensors, stores, or paths."""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from numbers import Integral
from pathlib import Path
from typing import Any

import numpy as np
import torch

from sdlcore.data.arrays import Activations, Arrays, SideBySide
from sdlcore.data.reading import ActivationStore
from sdlcore.settings import Pair, checked
from sdlcore.storage.files import user_path
from sdlcore.text import short_text

STORES = (".h5", ".hdf5")


def array(values: Any, name: str) -> np.ndarray:
    """Convert an array, a tensor on any device, or the path of an .npy file, which is mapped into memory, to an array.

    ValueError for anything else; ``name`` is the argument's name in the message.
    """
    if isinstance(values, torch.Tensor):
        values = values.detach()
        return np.asarray((values.float() if values.dtype == torch.bfloat16 else values).numpy(force=True))
    if isinstance(values, str | Path):
        path = user_path(values, name)
        if path.suffix != ".npy":
            raise ValueError(f"{path}: expected an .npy file of np.save, or an activation store ({', '.join(STORES)})")
        try:
            return np.lib.format.open_memmap(path, mode="r")
        except (EOFError, ValueError) as error:  # numpy's messages name no file
            raise ValueError(f"{path}: is not an .npy file of numbers ({error})") from error
    if not isinstance(values, np.ndarray) or isinstance(values, np.ma.MaskedArray):
        how = next((f"; give {name}.{way}()" for way in ("to_numpy", "toarray") if hasattr(values, way)), "")
        raise ValueError(f"{name} is a {type(values).__name__}, expected an array, a tensor or a path{how}")
    return values


def floats(values: Any, name: str) -> np.ndarray:
    """Convert like `array`; ValueError if the numbers are not floating-point."""
    numbers = array(values, name)
    if numbers.dtype not in (np.float16, np.float32, np.float64):
        raise ValueError(
            f"{name} is {numbers.dtype} of shape {numbers.shape}, expected floating-point numbers (float16, float32 or "
            "float64); convert it to float32"
        )
    return numbers


def is_pair(x: Any) -> bool:
    """Return whether an input is a list or tuple of sites."""
    return isinstance(x, list | tuple)


def is_store(x: Any) -> bool:
    """Return whether an input is an activation store, or the path of one."""
    return isinstance(x, ActivationStore) or (isinstance(x, str | Path) and Path(x).suffix in STORES)


@contextmanager
def activations(x: Any, target: Any = None, labels: Any = None) -> Iterator[Activations]:
    """Open activations: a store or its path, an array, a tensor, an .npy file, or a list of these by site."""
    parts = [*x] if is_pair(x) else [x]
    if is_pair(x) and (target is not None or len(x) < 2):
        raise ValueError(f"x has {len(x)} parts, expected one array, or two or more for a crosscoder and no target")
    if not any(map(is_store, parts)):
        names = [f"x[{site}]" for site in range(len(parts))] if is_pair(x) else ["x", "target"]
        parts += [] if target is None else [target]
        numbers, class_names = class_numbers(labels)
        sites = [floats(part, name) for part, name in zip(parts, names, strict=False)]
        arrays = Arrays(*sites, labels=numbers, class_names=class_names, names=names)
        if not arrays.rows:
            raise ValueError("x contains no samples, expected one or more")
        yield arrays
        return
    path = getattr(parts[0], "path", parts[0])
    for name, value in (("target", target), ("labels", labels)):
        if value is not None:
            raise ValueError(f"{path}: a store contains its own {name}; leave {name} out")
    with ExitStack() as opened:
        stores = [
            part if isinstance(part, ActivationStore) else opened.enter_context(ActivationStore(user_path(part, "x")))
            for part in parts
        ]
        yield SideBySide(stores) if is_pair(x) else stores[0]


def class_numbers(labels: Any) -> tuple[np.ndarray | None, Sequence[str] | None]:
    """Convert labels to indices of the classes that occur, -1 for no class, and the names of these classes.

    Labels are whole numbers or names. A number is its own name: the labels 7 and "7" mean the same class. Numbers below
    zero, and empty or missing names, mean no class. ValueError for a label that is neither.
    """
    if labels is None:
        return None, None
    if isinstance(labels, torch.Tensor):
        labels = array(labels, "labels")
    # a NumPy array or a column of pandas has a type; a list may hold numbers and names
    values = np.asarray(labels, dtype=None if hasattr(labels, "dtype") else object)
    if values.ndim != 1 or values.dtype.kind not in "iuUO":
        how = {1: "; labels.astype(int) gives these", 2: "; labels.argmax(1) does of one-hot rows"}
        raise ValueError(
            f"labels are {values.dtype} of shape {values.shape}, expected whole numbers or names, one per "
            f"sample{how.get(values.ndim, '')}"
        )
    if values.dtype.kind in "iu":
        classes, numbers = np.unique(values[values >= 0], return_inverse=True)
        indices = np.full(len(values), -1)
        indices[values >= 0] = numbers
        return indices, [str(number) for number in classes]
    found = [_class_name(row, value) for row, value in enumerate(values)]
    names = sorted({name for name in found if name})
    place = {name: number for number, name in enumerate(names)}
    return np.array([place.get(name, -1) for name in found]), names


def _class_name(row: int, value: Any) -> str:
    """Return the name of a label; an empty one for no class."""
    if isinstance(value, str):
        return str(value)
    if value is None or type(value).__name__ in ("NAType", "NaTType") or value != value:
        return ""  # None, NaN and the missing values of pandas
    if isinstance(value, bool | np.bool_) or not isinstance(value, Integral):
        kind = f"label {short_text(repr(value))} of sample {row} is a {type(value).__name__}"
        raise ValueError(f"{kind}, expected a whole number or a name")
    return str(int(value)) if int(value) >= 0 else ""


def pair_of(x: Any, target: Any, pair: Pair | None) -> Pair:
    """Return the pair that the inputs imply: one array, an array and a target, or a list with one for each site.

    A store implies no pair. ValueError if the inputs imply another pair than ``pair``.
    """
    pair = None if pair is None else checked("pair", Pair, pair)
    if isinstance(x, tuple) and target is None and pair is None:
        calls = "fit(x[0]) for an autoencoder, fit(*x) for a transcoder, fit([*x]) for a crosscoder"
        raise ValueError(f"x is a tuple of {len(x)}, which is ambiguous; call {calls}")
    implied_pair: Pair = "crosscoder" if is_pair(x) else "sae" if target is None else "transcoder"
    if pair is None or pair == implied_pair or is_store(x):
        return pair or implied_pair
    ways = {"sae": "fit(x)", "transcoder": "fit(x, target)", "crosscoder": "fit([x1, x2])"}
    raise ValueError(f"pair is {pair}, but the inputs are for pair {implied_pair}; call {ways[pair]}")
