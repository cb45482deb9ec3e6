"""Activations as users have them: arrays, tensors, stores, or paths of either."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from numbers import Integral, Real
from pathlib import Path
from typing import Any

import numpy as np
import torch

from sdlcore.data.memory import Activations, Arrays
from sdlcore.data.reading import ActivationStore, open_checked
from sdlcore.settings import Pair, checked

STORES = (".h5", ".hdf5")


def array(values: Any, name: str) -> np.ndarray:
    """Return an array, or a tensor from any device, as an array; the path of an .npy file as a memory map.

    Raises
    ------
    ValueError
        If it is something else.
    """
    if isinstance(values, torch.Tensor):
        values = values.detach().cpu()
        return np.asarray(values.float().numpy() if values.dtype == torch.bfloat16 else values.numpy())
    if isinstance(values, str | Path):
        if Path(values).suffix != ".npy":
            raise ValueError(
                f"{values}: expected an .npy file, which np.save writes, or an activation store ({', '.join(STORES)})"
            )
        try:
            return np.asarray(np.load(values, mmap_mode="r", allow_pickle=False))
        except FileNotFoundError as error:
            raise FileNotFoundError(f"{values}: no such file, given as {name}") from error
        except (ValueError, EOFError) as error:
            if "Python objects" in str(error):
                said = "holds Python objects, which are not loaded; save numbers, or names by .astype(str)"
                raise ValueError(f"{values}: {said}") from error
            raise ValueError(f"{values}: is no .npy file of numbers ({error})") from error
    if not isinstance(values, np.ndarray):
        instead = f"; give {name}.to_numpy()" if hasattr(values, "to_numpy") else ""
        raise ValueError(f"{name} is a {type(values).__name__}, expected an array, a tensor or a path{instead}")
    if isinstance(values, np.ma.MaskedArray):
        raise ValueError(f"{name} is a masked array, whose mask nothing here heeds; leave out what it masks")
    return values


@contextmanager
def activations(x: Any, target: Any = None, labels: Any = None) -> Iterator[Activations]:
    """Give activations to read: ``x`` is a store or its path, an array, a tensor, an .npy file, or a list of two.

    Raises
    ------
    ValueError
        If it is none of these, or comes with what it does not go with.
    """
    if is_store(x):
        for name, given in (("target", target), ("labels", labels)):
            if given is not None:
                where = x.path if isinstance(x, ActivationStore) else x
                raise ValueError(f"{where}: a store holds its {name} itself; leave {name} out")
        with nullcontext(x) if isinstance(x, ActivationStore) else open_checked(x) as store:
            yield store
    else:
        if is_pair(x):
            if any(isinstance(part, list | tuple | Real) for part in x):
                found = f"x is a {type(x).__name__} of {len(x)} rows or numbers, not an array"
                raise ValueError(f"{found}; give np.asarray(x), or two arrays for a crosscoder")
            if target is not None or len(x) != 2:
                raise ValueError(f"x has {len(x)} parts, expected one array, or two for a crosscoder and no target")
            x, target = x
        target = None if target is None else array(target, "target")
        numbers, names = class_numbers(labels)
        yield Arrays(array(x, "x"), target, numbers, names)


def class_numbers(labels: Any) -> tuple[np.ndarray | None, Sequence[str] | None]:
    """Return labels as numbers of the classes that occur, -1 for none, and the names of these classes.

    A class number is its own name. Numbers below zero, and empty or missing names, name no class.
    """
    if labels is None:
        return None, None
    import pandas as pd  # only here: few calls have labels

    values = labels.detach().cpu().numpy() if isinstance(labels, torch.Tensor) else labels
    if np.ndim(values) == 1:
        values = pd.Series(values).to_numpy()
    if np.ndim(values) != 1 or values.dtype.kind not in "iuO":
        kind = getattr(values, "dtype", type(values).__name__)
        expected = "expected whole numbers or names, one a sample"
        raise ValueError(f"labels are {kind} of shape {np.shape(values)}, {expected}{_remedy(values)}")
    if values.dtype.kind == "O":
        # whole numbers of which some are missing, too
        missing = pd.isna(values) | [isinstance(value, Integral) and value < 0 for value in values]
        values = values.astype(str)
        named = ~missing & (values != "")
    else:
        named = values >= 0
    classes, numbers = np.unique(values[named], return_inverse=True)
    found = np.full(len(values), -1)
    found[named] = numbers
    return found, [str(name) for name in classes]


def is_pair(x: Any) -> bool:
    """Tell whether an input is a list of two sites."""
    return isinstance(x, list | tuple)


def is_store(x: Any) -> bool:
    """Tell whether an input is an activation store, or the path of one."""
    return isinstance(x, ActivationStore) or (isinstance(x, str | Path) and Path(x).suffix in STORES)


def _remedy(labels: Any) -> str:
    """Return how labels of another shape or type become such, to end a sentence with."""
    if np.ndim(labels) == 2:
        return "; labels.ravel() gives one" if np.shape(labels)[1] == 1 else "; labels.argmax(1) does of one-hot rows"
    return "; labels.astype(int) gives these" if getattr(labels, "dtype", np.dtype("U")).kind in "fb" else ""


def pair_of(x: Any, target: Any, asked: Pair | None) -> Pair:
    """Return the pair that inputs are given for: one array, an array and a target, or a list of two.

    Raises
    ------
    ValueError
        If another pair is asked for.
    """
    asked = None if asked is None else checked("pair", Pair, asked)
    if isinstance(target, str) and not Path(target).suffix:
        raise ValueError(f"target is {target!r}, expected an array or a path; settings go by name, activation='topk'")
    if isinstance(x, tuple) and target is None and asked is None:
        meant = "fit(x[0]) for an autoencoder, fit(*x) for a transcoder, fit([*x]) for a crosscoder"
        raise ValueError(f"x is a tuple of {len(x)}, which does not say what it is for; call {meant}")
    given: Pair = "crosscoder" if is_pair(x) else "sae" if target is None else "transcoder"
    if asked is None or asked == given or is_store(x):
        return asked or given
    ways = {"sae": "fit(x)", "transcoder": "fit(x, target)", "crosscoder": "fit([x1, x2])"}
    raise ValueError(f"pair is {asked}, but what is given is for {given}; call {ways[asked]}")
