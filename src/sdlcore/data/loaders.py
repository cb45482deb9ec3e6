"""Batches from a user's DataLoader, iterable, generator function or function of the step."""

import inspect
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import partial
from itertools import islice
from operator import length_hint
from pathlib import Path
from typing import Any

import numpy as np
import torch

from sdlcore.data.arrays import Arrays
from sdlcore.data.batches import Batches, Request, TrainingRows, read_pair
from sdlcore.data.conversion import floats, is_pair
from sdlcore.data.pairs import site_columns
from sdlcore.data.reading import ActivationStore
from sdlcore.settings import Json

SAMPLE_ROWS = 2**16
"""Samples from the first batches that normalise, whiten and initialisation from samples use. The pipeline's streams of
activations use as many."""
FUNCTION = "function of the step"


def is_stream(x: Any) -> bool:
    """Tell whether an input gives batches, by its type."""
    if isinstance(x, np.ndarray | torch.Tensor | str | bytes | Path | list | tuple | Mapping | ActivationStore):
        return False
    if any(hasattr(x, name) for name in ("ndim", "__array__", "to_numpy", "toarray")):  # of another library's arrays
        return False
    return callable(x) or isinstance(x, Iterable | torch.utils.data.Dataset)


def given_batches(x: Any, target: Any = None) -> Batches:
    """Return batches in their given order, checked and converted to float32.

    ``x`` is a torch DataLoader or another iterable of batches, a generator function without arguments, or a function of
    the step. A batch is an array or a tensor, B x n_p, or a list of them: (x, target), or one for each site. ValueError
    for a ``target``, since the batches hold it.
    """
    if target is not None:
        raise ValueError("x gives batches, which hold their targets themselves: pairs (x, target); leave target out")
    reader = _Reader(x)
    first = reader.read(0)
    # a function returns the same batch for the same step, while others may shuffle
    recorded = reader.kind == FUNCTION
    described = _described(x, reader.kind, first, recorded)

    def begin(request: Request) -> TrainingRows:
        if request.neighbours:
            raise ValueError(
                "contrast compares neighbouring tokens, but batches of x do not say which samples are neighbours; give "
                "a store of sdl.extract"
            )
        if request.pair == "sae" and len(first.widths) > 2:
            raise ValueError(
                f"x gives batches of {len(first.widths)} sites, but an autoencoder reads one; set pair to crosscoder, "
                "or give batches of one site"
            )

        def batch(step: int) -> tuple[np.ndarray, np.ndarray]:
            samples = reader.read(step)
            reader.forget(step)
            return read_pair(samples, request.pair, 0, samples.rows)

        return TrainingRows(first.widths, batch, partial(reader.sample, request.steps))

    return Batches(
        Path("x"),
        first.widths,
        begin,
        lambda: described,
        batch_size=first.rows,
        pair="sae" if len(first.widths) == 1 else "transcoder",
        recorded=recorded,
    )


def _described(x: Any, kind: str, first: Arrays, recorded: bool) -> Json:
    """Return what identifies batches in provenance."""
    named = x.dataset if isinstance(x, torch.utils.data.DataLoader) else x
    length = {"batches": batches} if (batches := length_hint(x)) else {}  # of a function, and of some loaders, unknown
    content = {"first_batch": first.digest()} if recorded else {"content": "not recorded"}
    return {"kind": kind, "type": _qualified_name(named), "widths": list(first.widths), **length, **content}


class _Reader:
    """Reads batches by their step. They stay in memory until `forget`, since `sample` reads the first ones, too."""

    def __init__(self, x: Any) -> None:
        self._x, self.kind = x, _kind(x)
        self._recent: dict[int, Arrays] = {}
        self._passes = 0
        """Number of finished passes over an iterable."""
        self._next = 0
        self._batches = self._endless()
        self._widths: tuple[int, ...] = ()

    def read(self, step: int) -> Arrays:
        """Return the samples of a batch."""
        if self._recent and step < min(self._recent):  # begun anew, perhaps in another order
            self._recent.clear()
        if step not in self._recent:
            self._recent[step] = self._checked(self._x(step) if self.kind == FUNCTION else self._of_pass(step), step)
        return self._recent[step]

    def forget(self, step: int) -> None:
        """Forget the batches before a step."""
        self._recent = {number: batch for number, batch in self._recent.items() if number >= step}

    def sample(self, steps: int) -> Arrays:
        """Return the samples of the first batches: one pass, ``steps`` batches, or `SAMPLE_ROWS` rows at most."""
        parts: list[Arrays] = []
        for step in range(steps):
            batch = self.read(step)
            if self._passes or sum(part.rows for part in parts) >= SAMPLE_ROWS:
                break
            parts.append(batch)
        columns = site_columns(len(self._widths))
        return Arrays(*(np.concatenate([part.read(name) for part in parts]) for name in columns))

    def _of_pass(self, step: int) -> Any:
        """Return a batch of an iterable, which is read from its beginning, and again whenever it ends."""
        if step < self._next:
            self._batches, self._next = self._endless(), 0
        batch = next(islice(self._batches, step - self._next, None))
        self._next = step + 1
        return batch

    def _endless(self) -> Iterator[Any]:
        self._passes = 0
        while True:
            empty = True
            for batch in self._x() if inspect.isgeneratorfunction(self._x) else self._x:
                yield batch
                empty = False
            if empty:
                raise ValueError(f"x gives no batch in pass {self._passes}; give an iterable that can begin anew")
            self._passes += 1

    def _checked(self, batch: Any, step: int) -> Arrays:
        sites: Sequence[Any] = batch if is_pair(batch) else [batch]
        names = ["x", "target", *(f"site {site}" for site in range(2, len(sites)))]
        try:
            arrays = Arrays(*(_copy(floats(part, name)) for part, name in zip(sites, names, strict=False)))
        except ValueError as error:
            raise ValueError(f"batch {step}: {error}") from error
        self._widths = self._widths or arrays.widths
        if arrays.widths != self._widths:
            found, expected = (" and ".join(map(str, widths)) for widths in (arrays.widths, self._widths))
            raise ValueError(f"batch {step} of x has {found} dimensions, but the first has {expected}")
        return arrays


def _kind(x: Any) -> str:
    if inspect.isgeneratorfunction(x) and not inspect.signature(x).parameters:
        return "generator function"
    if isinstance(x, Iterator):
        raise ValueError(
            "x is an iterator, which can be read only once; give a DataLoader, a generator function (without calling "
            "it) or a function of the step"
        )
    if isinstance(x, torch.utils.data.DataLoader):
        return "DataLoader"
    return "iterable" if isinstance(x, Iterable | torch.utils.data.Dataset) else FUNCTION


def _qualified_name(value: Any) -> str:
    """Return module and name of a function or a type, such as torch.optim.adam.Adam; of the type for other objects."""
    if isinstance(value, partial):
        return _qualified_name(value.func)
    named = value if inspect.isroutine(value) or inspect.isclass(value) else type(value)
    return f"{named.__module__ or 'builtins'}.{named.__qualname__}"


def _copy(values: np.ndarray) -> np.ndarray:
    """Return a copy, since whoever gives batches may fill the same memory again while this one waits."""
    return values.astype(np.float32 if values.dtype == np.float16 else values.dtype)
