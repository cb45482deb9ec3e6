"""Batches from a user's DataLoader, iterable, generator function or function of the step."""

import inspect
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch

from sdlcore.data.arrays import Arrays
from sdlcore.data.batches import Batches, Request, TrainingRows, read_pair
from sdlcore.data.conversion import floats, is_pair
from sdlcore.data.pairs import input_target_more, site_column, site_columns
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

    Parameters
    ----------
    x
        A torch DataLoader or another iterable of batches, a generator function without arguments, or a function of the
        step. A batch is an array or a tensor, B x n_p, or a list of them: (x, target), or one for each site. Batches of
        pairs of neighbouring tokens, for ``contrast``, are B x 2 x n_p.
    target
        Must be None: the batches hold it.

    Raises
    ------
    ValueError
        If ``target`` is given, ``x`` can be read only once, or there is no batch of arrays or tensors.
    """
    if target is not None:
        raise ValueError("x gives batches, which hold their targets themselves: pairs (x, target); leave target out")
    kind = _kind(x)
    given = _GivenBatches(x if kind == FUNCTION else _Passes(x))
    first = given.read(0)
    # a function returns the same batch for the same step, while others may shuffle
    recorded = kind == FUNCTION
    content = {"first_batch": first.digest()} if recorded else {"content": "not recorded"}
    entry = {"kind": kind, "type": qualified_name(x), **_size_of(x), **_widths(first.widths), **content}
    return Batches(
        Path("x"),
        first.widths,
        given.begin,
        lambda: entry,
        pair="sae" if len(first.widths) == 1 else "transcoder",
        batch_size=first.rows,
        recorded=recorded,
    )


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


def _size_of(x: Any) -> dict[str, Json]:
    """Return the data set of a DataLoader, and the number of batches if it is known, for provenance."""
    is_loader = isinstance(x, torch.utils.data.DataLoader)
    entry: dict[str, Json] = {"dataset": qualified_name(x.dataset)} if is_loader else {}
    try:
        return {**entry, "batches": len(x)}
    except (TypeError, NotImplementedError):  # without a length, as a DataLoader of a dataset without one
        return entry


def _widths(widths: Sequence[int]) -> dict[str, Json]:
    n_p, n_r, more = input_target_more(widths)
    return {"n_p": n_p, "n_r": n_r, **{site_column(site): width for site, width in enumerate(more, start=2)}}


class _GivenBatches:
    """Batches by step. A batch is kept until a later one is read for training."""

    def __init__(self, batch: Callable[[int], Any]) -> None:
        self._batch = batch
        self._kept: dict[int, Arrays] = {}
        self._widths: tuple[int, ...] = ()
        self._paired = False
        """Whether batches are B x 2 x n_p: 2 B samples, each with its neighbour beside it."""

    def begin(self, request: Request) -> TrainingRows:
        if request.neighbours and not self._paired:
            raise ValueError(
                "contrast compares neighbouring tokens, but batches of x do not say which samples are neighbours; give "
                "batches of pairs, B x 2 x n_p"
            )
        if self._paired and not request.neighbours:
            raise ValueError("x gives pairs of neighbours (B x 2 x n_p), which only contrast uses; give B x n_p")

        def batch(step: int) -> tuple[np.ndarray, np.ndarray]:
            samples = self.read(step)
            for before in [kept for kept in self._kept if kept < step]:
                del self._kept[before]
            return read_pair(samples, request.pair, 0, samples.rows)

        return TrainingRows(self.read(0).widths, batch, partial(self._sample, request.steps))

    def _sample(self, steps: int) -> Arrays:
        """Return the samples of the first batches: one pass, ``steps`` batches, or `SAMPLE_ROWS` rows at most."""
        parts: list[Arrays] = []
        for step in range(steps):
            batch = self.read(step)
            is_whole_pass = isinstance(self._batch, _Passes) and self._batch.passes
            if is_whole_pass or sum(part.rows for part in parts) >= SAMPLE_ROWS:
                break
            parts.append(batch)
        columns = site_columns(len(parts[0].widths))
        return Arrays(*(np.concatenate([part.read(name) for part in parts]) for name in columns))

    def read(self, step: int) -> Arrays:
        """Return the samples of a batch."""
        if self._kept and step < min(self._kept):  # begun anew, perhaps in another order
            self._kept.clear()
        if step not in self._kept:
            self._kept[step] = self._check(self._batch(step), step)
        return self._kept[step]

    def _check(self, batch: Any, step: int) -> Arrays:
        sites = [*batch] if is_pair(batch) else [batch]
        paired = np.ndim(sites[0]) == 3 and np.shape(sites[0])[1] == 2
        if step and paired != self._paired:
            raise ValueError(f"batch {step} of x has shape {np.shape(sites[0])}; either all batches are pairs, or none")
        self._paired = paired
        if paired:
            sites = [part.reshape(-1, part.shape[-1]) for part in sites]
        names = ["x", "target", *(f"site {site}" for site in range(2, len(sites)))]
        try:
            arrays = Arrays(*(_copy(floats(part, name)) for part, name in zip(sites, names, strict=False)))
        except ValueError as error:
            hint = ""
            if np.ndim(sites[0]) == 1:
                hint = "; a DataLoader makes batches of single samples: torch.utils.data.DataLoader(x, batch_size=1024)"
            raise ValueError(f"batch {step}: {error}{hint}") from error
        self._widths = self._widths or arrays.widths
        if arrays.widths != self._widths:
            shapes = [" and ".join(map(str, widths)) for widths in (arrays.widths, self._widths)]
            raise ValueError(f"batch {step} of x has {shapes[0]} dimensions, but the first has {shapes[1]}")
        return arrays


class _Passes:
    """An iterable as a function of the step: read from its beginning, and again whenever it ends."""

    def __init__(self, x: Any) -> None:
        self._start: Callable[[], Iterator[Any]] = x if inspect.isgeneratorfunction(x) else partial(iter, x)
        self._next = 0
        self._batches = self._endless()

    def __call__(self, step: int) -> Any:
        if step < self._next:
            self._batches, self._next = self._endless(), 0
        batch = next(islice(self._batches, step - self._next, None))
        self._next = step + 1
        return batch

    def _endless(self) -> Iterator[Any]:
        self.passes = 0
        while True:
            empty = True
            for batch in self._start():
                yield batch
                empty = False
            if empty:
                raise ValueError(f"x gives no batch in pass {self.passes}; give an iterable that can begin anew")
            self.passes += 1


def qualified_name(one: Any) -> str:
    """Return module and name of a function or a type, such as torch.optim.adam.Adam; of the type for other objects."""
    if isinstance(one, partial):
        return qualified_name(one.func)
    named = one if inspect.isroutine(one) or inspect.isclass(one) else type(one)
    return f"{named.__module__ or 'builtins'}.{named.__qualname__}"


def _copy(values: np.ndarray) -> np.ndarray:
    """Return a copy, since whoever gives batches may fill the same memory again while this one waits."""
    return values.astype(np.float32 if values.dtype == np.float16 else values.dtype)
