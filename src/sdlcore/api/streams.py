"""Batches that a user gives, or that a recipe describes: DataLoaders, iterables, functions of the step, JSON files."""

import inspect
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch

from sdlcore.api.inputs import floats, is_pair, stored
from sdlcore.data.batches import Batches, Request, TrainingRows, read_pair
from sdlcore.data.memory import Arrays
from sdlcore.data.pairs import all_sites, input_target_more, site_column, site_columns
from sdlcore.data.reading import ActivationStore, is_of_language_model
from sdlcore.device import Device, choose_device
from sdlcore.errors import SourceError, printable_cause
from sdlcore.settings import Json
from sdlcore.storage.files import sha256_of
from sdlcore.training.read_ahead import NoMoreBatchesError

SAMPLE_ROWS = 2**16
"""Samples from the first batches that normalise, whiten and initialisation from samples use. The pipeline's streams of
activations use as many."""
ANEW = "give a DataLoader, a generator function (without calling it) or a function of the step, which can begin anew"
_END = object()


@contextmanager
def open_batches(x: Any, target: Any = None, folder: Path | None = None, device: Device = "auto") -> Iterator[Batches]:
    """Open data of any kind that `sdlcore.fit` takes.

    Parameters
    ----------
    x, target
        As in `sdlcore.fit`; or the path of a recipe (.json).
    folder, device
        As in `recipe_batches`.
    """
    if isinstance(x, Batches):
        yield x
    elif is_stream(x):
        yield given_batches(x, target)
    elif _is_recipe(x):
        with recipe_batches(Path(x), folder or Path(x).parent, device) as batches:
            yield batches
    else:
        with stored(x, target) as batches:
            yield batches


def gives_batches(x: Any) -> bool:
    """Tell whether an input gives batches itself, instead of samples that are read in random order."""
    return isinstance(x, Batches) or is_stream(x) or _is_recipe(x)


def _is_recipe(x: Any) -> bool:
    return isinstance(x, str | Path) and Path(x).suffix == ".json"


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
        If ``target`` is given, if there is no batch, or if the first is neither an array, a tensor nor a pair.
    """
    if target is not None:
        raise ValueError("x gives batches, which hold their targets themselves: pairs (x, target); leave target out")
    kind = _kind(x)
    given = _Given(x if kind == FUNCTION else _Passes(x, kind))
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
        restarts=kind != ITERATOR,
        recorded=recorded,
    )


FUNCTION, ITERATOR = "function of the step", "iterator"


def _kind(x: Any) -> str:
    if inspect.isgeneratorfunction(x) and not inspect.signature(x).parameters:
        return "generator function"
    if isinstance(x, Iterator):
        return ITERATOR
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


class _Given:
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
            try:
                batch = self.read(step)
            except NoMoreBatchesError:
                break
            is_whole_pass = isinstance(self._batch, _Passes) and self._batch.passes
            if is_whole_pass or sum(part.rows for part in parts) >= SAMPLE_ROWS:
                break
            parts.append(batch)
        columns = site_columns(len(parts[0].widths))
        return _arrays([np.concatenate([part.read(name) for part in parts]) for name in columns])

    def read(self, step: int) -> Arrays:
        """Return the samples of a batch."""
        if self._kept and step < min(self._kept):  # begun anew, perhaps in another order
            self._kept.clear()
        if step not in self._kept:
            self._kept[step] = self._checked(self._batch(step), step)
        return self._kept[step]

    def _checked(self, batch: Any, step: int) -> Arrays:
        x, *rest = _sites_of(batch, f"batch {step} of x")
        paired = np.ndim(x) == 3 and np.shape(x)[1] == 2
        if step and paired != self._paired:
            raise ValueError(f"batch {step} of x has shape {tuple(x.shape)}; either all batches are pairs, or none")
        self._paired = paired
        if paired:
            x, *rest = (part.reshape(-1, part.shape[-1]) for part in (x, *rest))
        try:
            names = ("x", "target", *(f"site {site}" for site in range(2, 1 + len(rest))))
            arrays = _arrays([_copy(floats(part, name)) for part, name in zip((x, *rest), names, strict=False)])
        except ValueError as error:
            hint = ""
            if np.ndim(x) == 1:
                hint = "; a DataLoader makes batches of single samples: torch.utils.data.DataLoader(x, batch_size=1024)"
            raise ValueError(f"batch {step}: {error}{hint}") from error
        self._widths = self._widths or arrays.widths
        if arrays.widths != self._widths:
            shapes = [" and ".join(map(str, widths)) for widths in (arrays.widths, self._widths)]
            raise ValueError(f"batch {step} of x has {shapes[0]} dimensions, but the first has {shapes[1]}")
        return arrays


class _Passes:
    """An iterable as a function of the step: read from its beginning, and again whenever it ends.

    An iterator is read once.
    """

    def __init__(self, x: Any, kind: str) -> None:
        self._start: Callable[[], Iterator[Any]] = x if inspect.isgeneratorfunction(x) else partial(iter, x)
        self._kind, self._next = kind, 0
        self._batches = self._endless()

    def __call__(self, step: int) -> Any:
        if step < self._next:
            if self._kind == ITERATOR:
                raise ValueError(f"x ({self._kind}) gives batch {step} only once; {ANEW}")
            self._batches, self._next = self._endless(), 0
        batch = next(islice(self._batches, step - self._next, None), _END)
        if batch is _END:
            raise NoMoreBatchesError
        self._next = step + 1
        return batch

    def _endless(self) -> Iterator[Any]:
        self.passes = 0
        while True:
            batch = _END
            for batch in self._start():
                yield batch
            if batch is _END:
                raise ValueError(f"x ({self._kind}) gives no batch in pass {self.passes}; {ANEW}")
            if self._kind == ITERATOR:
                return
            self.passes += 1


def _sites_of(batch: Any, name: str) -> Sequence[Any]:
    """Return the sites of a batch as loaders give them: an array or a tensor, or a list of one for each site."""
    if not is_pair(batch):
        return (batch,)
    if not batch:
        raise ValueError(f"{name} has no parts, expected an array or a tensor, or a list with one for each site")
    return tuple(batch)


def _arrays(sites: Sequence[np.ndarray]) -> Arrays:
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


Opening = Callable[[Path, Request, Path, torch.device], AbstractContextManager[TrainingRows]]
"""Opens a recipe's rows, given path, pair, batch size, order, folder, device, and whether batches consist of pairs of
neighbouring tokens."""


@contextmanager
def recipe_batches(path: Path, folder: Path, device: Device = "auto") -> Iterator[Batches]:
    """Open samples that are computed during a training.

    Parameters
    ----------
    path
        A JSON file that describes the samples, of a synthetic bench or of a language model.
    folder
        Folder of the run, where the stream of a language model records its place in the text.
    device
        Device of the language model.

    Raises
    ------
    SourceError
        If the file cannot be read.
    """
    try:
        recipe: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        widths = all_sites(recipe["n_p"], recipe["n_r"], recipe.get("more", ()))
        provenance, open_rows = recipe["provenance"], _opening(recipe["format"])
    except (OSError, ValueError, LookupError, TypeError) as error:
        raise SourceError(f"{path}: expected a recipe of samples ({error})") from printable_cause(error)

    with ExitStack() as opened:

        def begin(request: Request) -> TrainingRows:
            return opened.enter_context(open_rows(path, request, folder, choose_device(device)))

        origin = provenance if is_of_language_model(provenance) else None
        yield Batches(path, widths, begin, lambda: sha256_of(path), lambda: origin)


def _opening(name: str) -> Opening:
    from sdlcore.benches import synth

    if name == synth.FORMAT:
        return synth.open_synth_stream
    from sdlcore.extraction.stream import open_language_stream

    return open_language_stream
