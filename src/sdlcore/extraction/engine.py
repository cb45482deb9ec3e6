"""Run a model over batches of inputs, and write the activations at several places as rows of stores.

A `Call` contains the inputs of one pass: packed contexts, or items such as images. `activations` runs the model in
evaluation mode, up to the deepest place, and turns the activations at each place into rows. `fill` gives these rows to
the stores, and a `Filling` chooses the rows that its store takes.
"""

import logging
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing
from functools import partial
from typing import Annotated, Any, Literal, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from sdlcore.data.pairs import in_order, input_target_more
from sdlcore.data.writing import ResumableWriter
from sdlcore.errors import SourceError
from sdlcore.extraction.hooks import Point, ids_for, is_transformers, without_dropout
from sdlcore.extraction.tokens import Tokens, stack_batches
from sdlcore.settings import FromList, Json, Settings

log = logging.getLogger(__name__)

COMMIT_BATCHES = 16
"""Number of batches between commits, which survive a kill."""
TokensOf = Literal["all", "last", "mean", "cls", "patches"]
WITHIN = {"all": "position", "patches": "patch"}
"""Reference for the index of a row in its item, by `TokensOf`; the others give one row for each item."""
PREFIXES = ("cls_token", "class_token", "class_embedding", "register_tokens", "reg_token", "dist_token")
"""Parameters of vision transformers that are tokens before the patches."""


class Call(NamedTuple):
    """The inputs of one pass of a model."""

    inputs: Any
    """A tensor, a tuple of arguments, or a mapping of keywords; None if no item of the batch could be read."""
    origin: Any
    """`Tokens` or `Items`, which the engine returns with the rows. Its ``next`` is where the next call begins."""


class Items(NamedTuple):
    """The items of one pass: images, documents, or inputs that are ready."""

    indices: list[int]
    """Number of each item."""
    next: int
    """Number of the item that the next pass begins with."""
    skipped: tuple[tuple[str, str], ...] = ()
    """Path and reason of each item that could not be read so far."""
    lengths: Tensor | None = None
    """Number of tokens of each item, where items are padded."""


class Batch(NamedTuple):
    """The activations from one pass."""

    tokens: Any
    """`Call.origin`."""
    values: dict[Any, np.ndarray]
    """N x D activations at each place."""
    norms: dict[Any, np.ndarray]
    """N norms of the activations at each place, before rounding."""


Rows = Callable[[Tensor, Any], Tensor]
"""Turns the activations at a place into N x D rows, given the origin of their call."""


class _Enough(Exception):
    """Signal that a pass has reached the last place and can stop."""


def activations(
    model: nn.Module, points: Mapping[Any, Point], calls: Iterable[Call], rows: Rows, dtype: str = "float16"
) -> Generator[Batch, None, None]:
    """Yield the activations at several places for each call, as rows of precision ``dtype``.

    NumPy lacks bfloat16, so rows for a store in bfloat16 are float32. Close the generator, since its hooks stay in the
    model until it ends. SourceError if a pass of the model never reaches one of the places.
    """
    precision = torch.float32 if dtype == "bfloat16" else getattr(torch, dtype)
    device = device_of(model)
    batch: Batch

    def see(name: Any, x: Tensor) -> None:
        x_ND = rows(x, batch.tokens)
        # copied, since the model may change its activations in place
        batch.values[name] = x_ND.to(precision, copy=True).cpu().numpy()
        batch.norms[name] = norms_of(x_ND).cpu().numpy()
        if len(batch.values) == len(points):
            raise _Enough

    with ExitStack() as hooks:
        for name, point in points.items():
            hooks.callback(point.watch(partial(see, name)).remove)
        for inputs, origin in calls:
            batch = Batch(origin, {}, {})
            if inputs is not None:
                _run(model, _to_device(inputs, device))
                if missing := points.keys() - batch.values:
                    names = ", ".join(map(str, missing))
                    raise SourceError(f"no pass of the model reaches {names}; choose another place")
            yield batch


def _run(model: nn.Module, inputs: Any) -> None:
    with torch.inference_mode(), without_dropout(model):
        try:
            if isinstance(inputs, Mapping):
                model(**inputs)
            else:
                model(*(inputs if isinstance(inputs, tuple | list) else (inputs,)))
        except _Enough:
            pass


def device_of(model: nn.Module) -> torch.device:
    """Return the device of a model's parameters; the CPU for a model without any."""
    return next((parameter.device for parameter in model.parameters()), torch.device("cpu"))


def norms_of(x: Tensor) -> Tensor:
    """Return the norms of rows, in float32. Torch computes norms of float64 in no lower precision."""
    return torch.linalg.vector_norm(x, dim=-1, dtype=torch.promote_types(x.dtype, torch.float32)).float()


def _to_device(inputs: Any, device: torch.device) -> Any:
    if isinstance(inputs, Tensor):
        return inputs.to(device)
    if isinstance(inputs, Mapping):
        return {name: _to_device(part, device) for name, part in inputs.items()}
    return type(inputs)(_to_device(part, device) for part in inputs) if isinstance(inputs, tuple | list) else inputs


def rows_by(tokens: TokensOf, prefix: int = 0) -> Rows:
    """Return the function from the activations of items at a place, B x T x D or B x D, to rows.

    Feature maps of convolutions, B x D x H x W, count as B x (H W) x D.

    Parameters
    ----------
    tokens
        all: a row for each token; patches: for each token after the first ``prefix``; cls: the first token; last: the
        last token; mean: the mean over tokens. At a place with one row for each item, B x D, this row.
    prefix
        Number of tokens before the patches.
    """

    def rows(x: Tensor, items: Items) -> Tensor:
        if x.ndim == 4:
            x = x.flatten(2).mT
        if len(x) != len(items.indices) or x.ndim not in (2, 3) or (x.ndim == 2 and tokens == "patches"):
            raise SourceError(
                f"a place has activations of shape {tuple(x.shape)}, expected {len(items.indices)} items x tokens x "
                f"dimension for tokens = {tokens!r}; take another module, or another value of tokens"
            )
        if x.ndim == 2 or tokens == "cls":
            return x if x.ndim == 2 else x[:, 0]
        if tokens == "last":
            return x[:, -1] if items.lengths is None else x[torch.arange(len(x)), items.lengths - 1]
        if tokens == "mean":
            return x.mean(1) if items.lengths is None else _masked_mean(x, items.lengths)
        return x[:, prefix if tokens == "patches" else 0 :].flatten(0, 1)

    return rows


def _masked_mean(x: Tensor, lengths: Tensor) -> Tensor:
    mask = torch.arange(x.shape[1], device=x.device) < lengths.to(x.device)[:, None]
    return (x * mask[..., None]).sum(1) / mask.sum(1, keepdim=True)


def prefix_of(model: nn.Module) -> int:
    """Return the number of tokens before the patches in a vision transformer, such as its class token (`PREFIXES`)."""
    tokens = {name: parameter for name, parameter in model.named_parameters() if name.split(".")[-1] in PREFIXES}
    return sum(parameter.shape[-2] if parameter.ndim == 3 else 1 for parameter in tokens.values())


def token_rows(x: Tensor, tokens: Tokens) -> Tensor:
    """Return a row for each token of packed contexts from B x T x D activations, which some modules flatten."""
    shape = tokens.token.shape
    if x.ndim == 3 and x.shape[:2] == shape:
        return x.flatten(0, 1)
    if x.ndim == 2 and len(x) == shape[0] * shape[1]:
        return x
    raise SourceError(f"a place has activations of shape {tuple(x.shape)}, expected a row for each of {shape} tokens")


def token_inputs(model: nn.Module, token: np.ndarray, **keywords: Any) -> Any:
    """Return the inputs of a pass over token ids (B x T); only models of transformers receive ``keywords``."""
    ids_BT = ids_for(model, token)
    if not is_transformers(model):
        return ids_BT
    # a TransformerBridge of TransformerLens has all attributes of a model of transformers, but names the ids input
    return {"input" if hasattr(model, "run_with_hooks") else "input_ids": ids_BT, **keywords}


def read_contexts(
    model: nn.Module, points: Mapping[Any, Point], contexts: Iterable[Tokens], contexts_per_batch: int
) -> Generator[Batch, None, None]:
    """Yield the activations at places for each batch of contexts, float16: a row for each of the B x T tokens."""
    return activations(model, points, context_calls(model, stack_batches(contexts, contexts_per_batch)), token_rows)


def context_calls(model: nn.Module, batches: Iterable[Tokens]) -> Iterator[Call]:
    """Yield a call for each batch of packed contexts (B x T)."""
    keywords = {"use_cache": False} if hasattr(getattr(model, "config", None), "use_cache") else {}
    for tokens in batches:
        yield Call(token_inputs(model, tokens.token, **keywords), tokens)


class Chosen(NamedTuple):
    """The rows of a batch that a store takes."""

    progress: Settings
    """Progress after the batch."""
    indices: np.ndarray
    references: Mapping[str, np.ndarray]
    """Name -> where each of these rows comes from."""
    labels: np.ndarray | None = None


Choose = Callable[[Any, Batch, int | None], Chosen]
"""Chooses rows of a batch, given the progress before it and the largest number of rows."""


class Filling:
    """A store that is filled with rows of batches, from its last commit on.

    ``points`` are the places of its columns. ``max_rows`` is the number of rows, or None for all. ``begin`` is the
    progress of a store without rows. Progress is saved with each commit. Its ``next`` is where the next batch begins,
    as in `Call.origin`, and its ``facts()`` are counts for the provenance of the finished store.
    """

    progress: Any

    def __init__(
        self, writer: ResumableWriter, points: Mapping[str, Point], max_rows: int | None, begin: Any, choose: Choose
    ) -> None:
        self.writer, self.points, self.max_rows = writer, points, max_rows
        self.progress = writer.state(begin)
        self._choose, self._batches = choose, 0

    @property
    def is_full(self) -> bool:
        return self.max_rows is not None and self.writer.rows >= self.max_rows

    def take(self, batch: Batch) -> None:
        """Append the rows of a batch that the store takes, and commit now and then."""
        before = self.writer.rows
        left = None if self.max_rows is None else self.max_rows - before
        self.progress, indices, references, labels = self._choose(self.progress, batch, left)
        if len(indices):
            values = {name: x[indices] for name, x in batch.values.items()}
            x, target, more = input_target_more(in_order(values))
            self.writer.append(x, target, labels=labels, references=references, more=more)
        self._batches += 1
        if self._batches % COMMIT_BATCHES == 0 or self.is_full:
            self.writer.commit(self.progress)
        if self.max_rows and before * 10 // self.max_rows < self.writer.rows * 10 // self.max_rows:
            log.info("%d of %d rows", self.writer.rows, self.max_rows)

    def finish(self, inputs: str, remedy: str) -> None:
        """Add counts to the provenance. SourceError with a remedy if ``inputs``, a name, gave too few rows, or none."""
        if not (self.writer.rows if self.max_rows is None else self.is_full):
            wanted = "" if self.max_rows is None else f" of {self.max_rows}"
            raise SourceError(f"{inputs}: ends after {self.writer.rows}{wanted} rows; {remedy}")
        self.writer.provenance |= self.progress.facts()


def fill(
    model: nn.Module,
    fillings: Sequence[Filling],
    calls: Callable[[Any], Iterator[Call]],
    rows: Rows,
    dtype: str,
    show: Callable[[Any], None] = lambda origin: None,
) -> None:
    """Fill stores in one pass of the model over its inputs, which begins at the store that continues first.

    ``calls`` returns the inputs after a store's progress. Each store takes the batches from its ``progress.next`` on,
    as rows of precision ``dtype``. ``show`` is called with `Call.origin` after each batch.
    """
    unfinished = [filling for filling in fillings if not filling.is_full]
    if not unfinished:
        return
    progress = min((filling.progress for filling in unfinished), key=lambda progress: progress.next)
    at = progress.next
    points = {(key, name): point for key, each in enumerate(fillings) for name, point in each.points.items()}
    with closing(activations(model, points, calls(progress), rows, dtype)) as batches:
        for origin, *parts in batches:
            for key, filling in enumerate(fillings):
                if filling.progress.next == at and not filling.is_full:
                    own = [{name: x for (store, name), x in part.items() if store == key} for part in parts]
                    filling.take(Batch(origin, *own))
            at = origin.next
            show(origin)
            if all(filling.is_full for filling in fillings):
                break
    for filling in unfinished:
        filling.writer.commit(filling.progress)


class ItemProgress(Settings):
    """Progress of filling a store with items."""

    next: int = 0
    """Number of the item that the next pass begins with."""
    skipped: Annotated[tuple[Annotated[tuple[str, str], FromList], ...], FromList] = ()
    """Path and reason of each item that could not be read so far."""

    def facts(self) -> dict[str, Json]:
        return {"skipped": [{"path": path, "reason": reason} for path, reason in self.skipped]}


def item_rows(
    name: str, names: np.ndarray | None = None, within: str | None = None, labels: np.ndarray | None = None
) -> Choose:
    """Return the function that chooses the rows of all items.

    ``name`` is the reference that names the item of a row, and ``names`` its value for each item, or None for the
    item's number. ``within`` is the reference for the index of a row in its item, such as patch, or None where an item
    has one row. ``labels`` are the classes of the items.
    """

    def choose(_: ItemProgress, batch: Batch, max_rows: int | None) -> Chosen:
        items: Items = batch.tokens
        rows = len(next(iter(batch.values.values()), ()))
        each = rows // max(1, len(items.indices))
        item_N = np.repeat(np.asarray(items.indices, dtype=np.int64), each)[:max_rows]
        references = {name: item_N.astype(np.int32) if names is None else names[item_N]}
        if within is not None:
            references[within] = np.tile(np.arange(each, dtype=np.int32), len(items.indices))[:max_rows]
        progress = ItemProgress(next=items.next, skipped=items.skipped)
        return Chosen(progress, np.arange(len(item_N)), references, None if labels is None else labels[item_N])

    return choose
