"""Run a model over batches of inputs, and write the activations at several places as rows of stores.

The engine knows neither texts nor images. Inputs give `Call`s, and a function that turns the activations at a place
into rows. The engine runs the model in evaluation mode, up to the deepest place; a `Filling` chooses the rows of a
store, and resumes after an interruption.
"""

import logging
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from sdlcore.data.pairs import in_order, input_target_more
from sdlcore.data.writing import ResumableWriter
from sdlcore.errors import SourceError
from sdlcore.extraction.hooks import Point, first_tensor, without_dropout
from sdlcore.settings import Json

log = logging.getLogger(__name__)

COMMIT_BATCHES = 16
"""Number of batches between commits, which survive a kill."""


class Call(NamedTuple):
    """The inputs of one pass of a model."""

    inputs: Any
    """A tensor, a tuple of arguments, or a mapping of keywords."""
    origin: Any
    """Where the rows of this pass come from; the engine returns it with them. Its ``next`` is where the next call
    begins."""


class Batch(NamedTuple):
    """The activations from one pass."""

    tokens: Any
    """`Call.origin`: for contexts, their tokens (B x T)."""
    values: dict[Any, np.ndarray]
    """N x D activations at each place, on the CPU."""
    norms: dict[Any, np.ndarray]
    """N norms of the activations at each place, before rounding."""

    def part(self, key: Any, columns: Iterable[str]) -> "Batch":
        """Return the activations at the places (key, column) of a store, by column."""
        names = list(columns)
        values, norms = ({name: parts[key, name] for name in names} for parts in self[1:])
        return Batch(self.tokens, values, norms)


class _OnDevice(NamedTuple):
    """A `Batch` whose tensors may still be on their way to the CPU."""

    tokens: Any
    values: dict[Any, Tensor]
    norms: dict[Any, Tensor]


Rows = Callable[[Tensor, Any], Tensor]
"""Turns the activations at a place into N x D rows, given the origin of their call."""


class _Enough(Exception):
    """Signal that a pass has reached the last place and can stop."""


def activations(
    model: nn.Module,
    points: Mapping[Any, Point],
    calls: Iterable[Call],
    rows: Rows,
    dtype: torch.dtype = torch.float16,
) -> Generator[Batch, None, None]:
    """Yield the activations at several places for each call.

    Close the generator, since its hooks stay in the model until it ends.

    Parameters
    ----------
    model
        Any module.
    points
        Name -> place.
    calls
        Inputs, on any device.
    rows
        Turns activations into rows.
    dtype
        Precision of the rows.

    Raises
    ------
    SourceError
        If a pass of the model never reaches one of the places.
    """
    batch: _OnDevice
    waiting: set[Any] = set()

    def see(name: Any, x: Tensor) -> None:
        x_ND = rows(x, batch.tokens)
        # copied, since the model may change its activations in place; from a GPU into pinned memory
        batch.values[name] = x_ND.to(dtype, copy=True).to("cpu", non_blocking=True)
        batch.norms[name] = norms_of(x_ND).to("cpu", non_blocking=True)
        waiting.discard(name)
        if not waiting:
            raise _Enough

    def before(name: Any, _: Any, arguments: tuple[Any, ...], keywords: Mapping[str, Any]) -> None:
        see(name, first_tensor(arguments, keywords)[1])

    def after(name: Any, _: Any, __: Any, output: Any) -> None:
        see(name, output if isinstance(output, Tensor) else output[0])

    device = device_of(model)
    # a GPU computes the next batch while the previous batch is written; on a CPU that would only cost memory
    ahead = 1 if device.type == "cuda" else 0
    flying: deque[tuple[_OnDevice, torch.cuda.Event | None]] = deque()
    with ExitStack() as hooks:
        for name, (module, side) in points.items():
            if side == "input":
                hook = module.register_forward_pre_hook(partial(before, name), with_kwargs=True)
            else:
                hook = module.register_forward_hook(partial(after, name))
            hooks.callback(hook.remove)
        for inputs, origin in calls:
            batch = _OnDevice(origin, {}, {})
            waiting.update(points)
            _run(model, _on(inputs, device))
            if waiting:
                raise SourceError(f"no pass of the model reaches {', '.join(map(str, waiting))}; choose another place")
            event = torch.cuda.Event() if ahead else None
            if event is not None:
                event.record()
            flying.append((batch, event))
            if len(flying) > ahead:
                yield _landed(*flying.popleft())
        while flying:
            yield _landed(*flying.popleft())


def _run(model: nn.Module, inputs: Any) -> None:
    with torch.inference_mode(), without_dropout(model):
        try:
            if isinstance(inputs, Mapping):
                model(**inputs)
            else:
                model(*(inputs if isinstance(inputs, tuple | list) else (inputs,)))
        except _Enough:
            pass


def _landed(batch: _OnDevice, event: torch.cuda.Event | None) -> Batch:
    """Wait for the copies of a batch, and return it as arrays."""
    if event is not None:
        event.synchronize()
    values, norms = ({name: x.numpy() for name, x in parts.items()} for parts in batch[1:])
    return Batch(batch.tokens, values, norms)


def device_of(model: nn.Module) -> torch.device:
    """Return the device of a model's parameters; the CPU for a model without any."""
    return next((parameter.device for parameter in model.parameters()), torch.device("cpu"))


def norms_of(x: Tensor) -> Tensor:
    """Return the norms of rows, in float32. Torch computes norms of float64 in no lower precision."""
    return torch.linalg.vector_norm(x, dim=-1, dtype=torch.promote_types(x.dtype, torch.float32)).float()


def _on(inputs: Any, device: torch.device) -> Any:
    if isinstance(inputs, Tensor):
        return inputs.to(device, non_blocking=True)
    if isinstance(inputs, Mapping):
        return {name: _on(part, device) for name, part in inputs.items()}
    return type(inputs)(_on(part, device) for part in inputs) if isinstance(inputs, tuple | list) else inputs


class Chosen(NamedTuple):
    """The rows of a batch that a store takes."""

    indices: np.ndarray
    references: Mapping[str, np.ndarray]
    """Name -> where each of these rows comes from."""
    labels: np.ndarray | None = None


class Filling(ABC):
    """Fill a store with rows of batches, from its last commit on. A subclass chooses the rows.

    Parameters
    ----------
    writer
        Writer of the store.
    progress
        Where the first batch begins, and counts: settings that are saved with each commit. A store that was begun
        continues from the progress of its last commit.
    most
        Largest number of rows; None for all.
    """

    def __init__(self, writer: ResumableWriter, progress: Any, most: int | None) -> None:
        self._writer, self._most, self._batches = writer, most, 0
        self.progress = writer.state(progress)

    @property
    @abstractmethod
    def next(self) -> Any:
        """Place where the next batch begins, in the form of `Call.origin.next`."""

    @abstractmethod
    def choose(self, batch: Batch, most: int | None) -> Chosen:
        """Return at most so many rows of a batch, and advance ``progress``."""

    @abstractmethod
    def facts(self) -> dict[str, Json]:
        """Return counts for the provenance of the finished store."""

    @property
    def rows(self) -> int:
        """Rows in the store."""
        return self._writer.rows

    @property
    def is_full(self) -> bool:
        return self._most is not None and self.rows >= self._most

    def take(self, batch: Batch) -> None:
        """Append the rows of a batch that the store takes, and commit now and then."""
        before = self.rows
        chosen = self.choose(batch, None if self._most is None else self._most - before)
        if len(chosen.indices):
            values = {name: x[chosen.indices] for name, x in batch.values.items()}
            x, target, more = input_target_more(in_order(values))
            self._writer.append(x, target, labels=chosen.labels, references=chosen.references, more=more)
        self._batches += 1
        if self._batches % COMMIT_BATCHES == 0 or self.is_full:
            self.commit()
        if self._most and before * 10 // self._most < self.rows * 10 // self._most:
            log.info("%d of %d rows", self.rows, self._most)

    def commit(self) -> None:
        """Save all rows so far, and the progress."""
        self._writer.commit(self.progress)

    def finish(self) -> bool:
        """Commit the last rows and their counts if the store is complete, and return whether it is.

        Without a requested number of rows, a single row is enough.
        """
        if not self.is_full:
            if self._most is not None or not self.rows:
                return False
            self.commit()
        self._writer.provenance |= self.facts()
        return True


def fill(
    model: nn.Module,
    groups: Sequence[Mapping[str, Point]],
    fillings: Sequence[Filling],
    calls: Callable[[Any], Iterator[Call]],
    rows: Rows,
    dtype: str,
    show: Callable[[Any], None] | None = None,
) -> None:
    """Fill stores in one pass of the model, which begins at the store that continues first.

    Parameters
    ----------
    model
        The model.
    groups
        Column -> place, for each store.
    fillings
        The stores. Each takes the batches from its ``next`` on.
    calls
        Returns the inputs from a place on.
    rows
        Turns activations into rows.
    dtype
        Precision of the rows.
    show
        Called with `Call.origin` after each batch.
    """
    if all(filling.is_full for filling in fillings):
        return
    at = min(filling.next for filling in fillings if not filling.is_full)
    points = {(key, column): point for key, group in enumerate(groups) for column, point in group.items()}
    with closing(activations(model, points, calls(at), rows, getattr(torch, dtype))) as batches:
        for batch in batches:
            for key, filling in enumerate(fillings):
                if filling.next == at and not filling.is_full:
                    filling.take(batch.part(key, groups[key]))
            at = batch.tokens.next
            if show is not None:
                show(batch.tokens)
            if all(filling.is_full for filling in fillings):
                break
