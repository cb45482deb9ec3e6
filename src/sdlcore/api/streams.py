"""A user's own stream of batches: a DataLoader, an iterable, or a function of the step."""

import inspect
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch

from sdlcore.api.inputs import floats, is_pair
from sdlcore.api.sources import digest_of_arrays
from sdlcore.data.batches import TrainingRows, read_pair
from sdlcore.data.memory import Activations, Arrays
from sdlcore.data.pairs import input_target_more, site_column, site_columns
from sdlcore.data.reading import ActivationStore
from sdlcore.run import RunConfig
from sdlcore.settings import Json, Pair, checked
from sdlcore.training.read_ahead import NoMoreBatchesError

SAMPLE_ROWS = 2**16
"""Samples from the first batches that normalise, whiten and initialisation from samples use. The pipeline's streams of
activations use as many."""
NOT_RECORDED = "not recorded"
_END = object()


class _Reader(Protocol):
    """Gives the batch of a step."""

    kind: str
    restarts: bool
    passes: int
    """How often the batches began again after their end."""

    def __call__(self, step: int) -> Any: ...


class Stream:
    """Batches in their given order, checked and converted to float32.

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
        If ``target`` is given, if there is no batch, or if the first is neither an array, a tensor nor a pair.
    """

    path = Path("x")
    rows = None
    unused = ("batch_size",)

    def __init__(self, x: Any, target: Any = None) -> None:
        if target is not None:
            raise ValueError(
                "x gives batches, which hold their targets themselves: pairs (x, target); leave target out"
            )
        self._x, self._reader = x, _reader_of(x)
        self._batches: dict[int, Arrays] = {}
        self.paired = False
        """Whether batches are B x 2 x n_p: 2 B samples, each with its neighbour beside it."""
        first = self._read(0)
        self.widths, self.batch_size = first.widths, first.rows
        self._first_batch = digest_of_arrays(*first.sites)

    @property
    def restarts(self) -> bool:
        """Whether batches can be read again from the first one on."""
        return self._reader.restarts

    @property
    def recorded(self) -> bool:
        """Whether the digest depends on the samples: a function returns the same batch for the same step, while others
        may shuffle."""
        return isinstance(self._reader, _OfStep)

    def pair_of(self, settings: Mapping[str, Any]) -> Pair:
        """Return the pair in the settings; without one, sae for single batches and transcoder for pairs."""
        pair = settings.get("pair") or ("sae" if len(self.widths) == 1 else "transcoder")
        refuse_more(len(self.widths), pair, "batch 0 of x")
        return checked("pair", Pair, pair)

    @property
    def digest(self) -> Json:
        """The batches' entry in provenance: kind, type, number, and a digest of a function's first batch."""
        entry: dict[str, Json] = {"kind": self._reader.kind, "type": qualified_name(self._x)}
        dataset = getattr(self._x, "dataset", None)
        if isinstance(self._x, torch.utils.data.DataLoader):
            entry["dataset"] = qualified_name(dataset)
        if (length := _length(self._x)) is not None:
            entry["batches"] = length
        content = {"first_batch": self._first_batch} if self.recorded else {"content": NOT_RECORDED}
        n_p, n_r, more = input_target_more(self.widths)
        further = {site_column(site): width for site, width in enumerate(more, start=2)}
        return {**entry, "n_p": n_p, "n_r": n_r, **further, **content}

    def activations_made_by(self) -> Json:
        """Return None: batches do not say what made them."""
        return None

    def first_samples(self, rows: int) -> np.ndarray:
        """Return at most so many samples of x_p from the first batch."""
        return self._read(0).read("input", 0, rows)

    def stored(self, why: str) -> Activations:
        """Raise `ValueError`, since only one batch is known at a time."""
        raise ValueError(f"{why}, but x gives batches; give an array, a tensor or a store")

    def training_rows(self, config: RunConfig, seed: int) -> TrainingRows:
        """Return the batches and the sample for a training. ``seed`` is not used: batches keep their own order."""
        self._check_settings(config)
        batches = partial(self._batch, config.model.pair, config.training.accumulate)
        return TrainingRows(self.widths, batches, partial(self._sample, config.training.steps))

    def _check_settings(self, config: RunConfig) -> None:
        """Raise `ValueError` if a training with these settings would need other batches than there are.

        Batches must be pairs of neighbours where the loss compares these, and only there.
        """
        if config.loss.contrast and not self.paired:
            raise ValueError(
                "contrast compares neighbouring tokens, but batches of x do not say which samples are neighbours; give "
                "batches of pairs, B x 2 x n_p"
            )
        if self.paired and not config.loss.contrast:
            raise ValueError("x gives pairs of neighbours (B x 2 x n_p), which only contrast uses; give B x n_p")

    def _batch(self, pair: Pair, accumulate: int, step: int) -> tuple[np.ndarray, np.ndarray]:
        batch = self._read(step)
        for before in [one for one in self._batches if one < step]:
            del self._batches[before]
        if batch.rows % accumulate:
            raise ValueError(f"batch {step} of x has {batch.rows} samples, which accumulate = {accumulate} must divide")
        return read_pair(batch, pair, 0, batch.rows)

    def _sample(self, steps: int) -> Arrays:
        """Return the samples of the first batches: one pass, ``steps`` batches, or `SAMPLE_ROWS` rows at most."""
        parts: list[Arrays] = []
        for step in range(steps):
            try:
                batch = self._read(step)
            except NoMoreBatchesError:
                break
            if self._reader.passes or sum(one.rows for one in parts) >= SAMPLE_ROWS:
                break
            parts.append(batch)
        return arrays_of([np.concatenate([one.read(name) for one in parts]) for name in site_columns(len(self.widths))])

    def _read(self, step: int) -> Arrays:
        """Return a batch, and keep it until training reaches a later batch."""
        if self._batches and step < min(self._batches):  # begun anew, perhaps in another order
            self._batches.clear()
        if step not in self._batches:
            self._batches[step] = self._checked(self._reader(step), step)
        return self._batches[step]

    def _checked(self, batch: Any, step: int) -> Arrays:
        x, *rest = columns_of(batch, f"batch {step} of x")
        paired = np.ndim(x) == 3 and np.shape(x)[1] == 2
        if step and paired != self.paired:
            raise ValueError(f"batch {step} of x has shape {tuple(x.shape)}; either all batches are pairs, or none")
        self.paired = paired
        if paired:
            x, *rest = (part.reshape(-1, part.shape[-1]) for part in (x, *rest))
        try:
            names = ("target", *(f"site {site}" for site in range(2, 1 + len(rest))))
            further = [_copy(floats(part, name)) for part, name in zip(rest, names, strict=False)]
            arrays = arrays_of([_copy(floats(x, "x")), *further])
        except ValueError as error:
            hint = ""
            if np.ndim(x) == 1:
                hint = "; a DataLoader makes batches of single samples: torch.utils.data.DataLoader(x, batch_size=1024)"
            raise ValueError(f"batch {step}: {error}{hint}") from error
        if step and arrays.widths != self.widths:
            shapes = [" and ".join(map(str, widths)) for widths in (arrays.widths, self.widths)]
            raise ValueError(f"batch {step} of x has {shapes[0]} dimensions, but the first has {shapes[1]}")
        return arrays


class _OfStep:
    """A function of the step."""

    kind = "function of the step"
    restarts = True
    passes = 0

    def __init__(self, function: Callable[[int], Any]) -> None:
        self._function = function

    def __call__(self, step: int) -> Any:
        return self._function(step)


class _Passes:
    """An iterable, read from its beginning, and again whenever it ends. An iterator is read once."""

    def __init__(self, start: Callable[[], Iterator[Any]], kind: str, restarts: bool) -> None:
        self.kind, self.restarts, self.passes = kind, restarts, 0
        self._start = start
        self._pass, self._next = start(), 0

    def __call__(self, step: int) -> Any:
        if step < self._next:
            if not self.restarts:
                raise ValueError(f"x ({self.kind}) gives batch {step} only once; {ANEW}")
            self._pass, self._next, self.passes = self._start(), 0, 0
        while True:
            batch = self._following()
            self._next += 1
            if self._next > step:
                return batch

    def _following(self) -> Any:
        batch = next(self._pass, _END)
        if batch is not _END:
            return batch
        if not self._next:
            raise ValueError(f"x ({self.kind}) gives no batch")
        if not self.restarts:
            raise NoMoreBatchesError
        self._pass, self.passes = self._start(), self.passes + 1
        batch = next(self._pass, _END)
        if batch is _END:
            raise ValueError(f"x ({self.kind}) gives no batch when it begins anew after {self._next} batches; {ANEW}")
        return batch


ANEW = "give a DataLoader, a generator function (without calling it) or a function of the step, which can begin anew"


def is_stream(x: Any) -> bool:
    """Tell whether an input gives batches, by its type."""
    if isinstance(x, np.ndarray | torch.Tensor | str | bytes | Path | list | tuple | Mapping | ActivationStore):
        return False
    if any(hasattr(x, name) for name in ("ndim", "__array__", "to_numpy", "toarray")):  # of another library's arrays
        return False
    return callable(x) or isinstance(x, Iterable | torch.utils.data.Dataset)


def columns_of(batch: Any, name: str) -> Sequence[Any]:
    """Return the sites of a batch as loaders give them: an array or a tensor, or a list of one for each site."""
    if not is_pair(batch):
        return (batch,)
    if not batch:
        raise ValueError(f"{name} has no parts, expected an array or a tensor, or a list with one for each site")
    return tuple(batch)


def refuse_more(n_sites: int, pair: str, name: str) -> None:
    """Refuse three sites or more, unless the pair is crosscoder: a loader may also give labels or weights."""
    if n_sites > 2 and pair != "crosscoder":
        raise ValueError(
            f"{name} has {n_sites} parts, expected an array or a tensor, or a pair (x, target); set pair to crosscoder "
            "if each is a site"
        )


def arrays_of(sites: Sequence[np.ndarray]) -> Arrays:
    """Return samples in memory from their sites."""
    x, target, more = input_target_more(sites)
    return Arrays(x, target, more=more)


def qualified_name(one: Any) -> str:
    """Return module and name of a function or a type, such as torch.optim.adam.Adam; of the type for other objects."""
    if isinstance(one, partial):
        return qualified_name(one.func)
    named = one if inspect.isroutine(one) or inspect.isclass(one) else type(one)
    return f"{named.__module__ or 'builtins'}.{named.__qualname__}"


def _copy(values: np.ndarray) -> np.ndarray:
    """Return a copy, since whoever gives batches may fill the same memory again while this one waits."""
    return values.astype(np.float32 if values.dtype == np.float16 else values.dtype)


def _reader_of(x: Any) -> _Reader:
    if inspect.isgeneratorfunction(x) and not inspect.signature(x).parameters:
        return _Passes(x, "generator function", restarts=True)
    if isinstance(x, Iterator):
        return _Passes(lambda: x, "iterator", restarts=False)
    if isinstance(x, torch.utils.data.DataLoader):
        return _Passes(partial(iter, x), "DataLoader", restarts=True)
    if isinstance(x, Iterable | torch.utils.data.Dataset):
        return _Passes(partial(iter, x), "iterable", restarts=True)
    return _OfStep(x)


def _length(x: Any) -> int | None:
    """Return how many batches there are, if that is known."""
    try:
        return len(x)
    except (TypeError, NotImplementedError):  # it has no length, or a DataLoader's dataset has none
        return None
