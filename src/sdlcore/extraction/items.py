"""Rows of items that a model reads one by one: images, documents, or inputs that are ready.

An item gives one row, or a row for each of its tokens or patches.
"""

from collections.abc import Iterable, Iterator, Mapping
from typing import Annotated, Any, Literal, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from sdlcore.data.writing import ResumableWriter
from sdlcore.errors import SourceError
from sdlcore.extraction import engine
from sdlcore.extraction.engine import Batch, Call, Chosen, Filling, device_of
from sdlcore.extraction.folders import Skipped
from sdlcore.extraction.hooks import ids_for, is_transformers
from sdlcore.extraction.tokens import TokenisedDocument
from sdlcore.settings import FromList, Json, Settings

TokensOf = Literal["all", "last", "mean", "cls", "patches"]
WITHIN = {"all": "position", "patches": "patch"}
"""Reference for the index of a row in its item, by `TokensOf`; the others give one row for each item."""
PREFIXES = ("cls_token", "class_token", "class_embedding", "register_tokens", "reg_token", "dist_token")
"""Parameters of vision transformers that are tokens before the patches."""


class Items(NamedTuple):
    """The items of one pass."""

    indices: list[int]
    """Number of each item."""
    next: int
    """Number of the item that the next pass begins with."""
    skipped: tuple[Skipped, ...] = ()
    """Items that could not be read so far."""
    lengths: Tensor | None = None
    """Number of tokens of each item, where items are padded."""


class Progress(Settings):
    """Progress of filling a store with items."""

    next: int = 0
    """Number of the item that the next pass begins with."""
    skipped: Annotated[tuple[Annotated[tuple[str, str], FromList], ...], FromList] = ()
    """Path and reason of each item that could not be read so far."""


class ItemRows(Filling):
    """Fill a store with the rows of all items.

    Parameters
    ----------
    writer, most
        As for `Filling`.
    name
        Reference that names the item of a row.
    names
        Value of this reference for each item; None for the item's number.
    within
        Reference for the index of a row in its item, such as patch; None where an item has one row.
    labels
        Class of each item.
    skipped
        Items that were skipped before the first pass; None for items that are never skipped.
    """

    progress: Progress

    def __init__(
        self,
        writer: ResumableWriter,
        most: int | None,
        name: str,
        names: np.ndarray | None = None,
        within: str | None = None,
        labels: np.ndarray | None = None,
        skipped: Iterable[Skipped] | None = None,
    ) -> None:
        super().__init__(writer, Progress(skipped=tuple(skipped or ())), most)
        self._name, self._names, self._within, self._labels = name, names, within, labels
        self._lists_skipped = skipped is not None

    def choose(self, batch: Batch, most: int | None) -> Chosen:
        items: Items = batch.tokens
        rows = len(next(iter(batch.values.values())))
        each = rows // len(items.indices)
        item_N = np.repeat(np.asarray(items.indices, dtype=np.int64), each)[:most]
        references = {self._name: item_N.astype(np.int32) if self._names is None else self._names[item_N]}
        if self._within is not None:
            references[self._within] = np.tile(np.arange(each, dtype=np.int32), len(items.indices))[:most]
        self.progress = Progress(next=items.next, skipped=items.skipped)
        return Chosen(np.arange(len(item_N)), references, None if self._labels is None else self._labels[item_N])

    @property
    def next(self) -> int:
        return self.progress.next

    def facts(self) -> dict[str, Json]:
        skipped = [Skipped(*entry)._asdict() for entry in self.progress.skipped]
        return {"skipped": skipped} if self._lists_skipped else {}


def rows_by(tokens: TokensOf, prefix: int = 0) -> engine.Rows:
    """Return the function from activations at a place, B x T x D or B x D, to rows.

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
    """Return the number of tokens before the patches in a vision transformer: class token and registers.

    They are found by the names of parameters in transformers, open_clip and timm (`PREFIXES`); without one, there are
    none.
    """
    tokens = {name: parameter for name, parameter in model.named_parameters() if name.split(".")[-1] in PREFIXES}
    return sum(parameter.shape[-2] if parameter.ndim == 3 else 1 for parameter in tokens.values())


def ready_calls(inputs: Iterable[Any], start: int = 0) -> Iterator[Call]:
    """Yield the calls of ready inputs from item ``start`` on: a tensor, a tuple of arguments, or keywords each."""
    seen = 0
    for batch in inputs:
        first = next(iter(batch.values())) if isinstance(batch, Mapping) else batch
        first = first[0] if isinstance(first, tuple | list) else first
        if not isinstance(first, Tensor):
            raise SourceError(f"inputs gives {type(first).__name__}, expected batches of tensors, as a DataLoader does")
        if seen >= start:
            yield Call(batch, Items(list(range(seen, seen + len(first))), seen + len(first)))
        seen += len(first)


def document_calls(
    model: nn.Module,
    documents: Iterable[TokenisedDocument],
    batch_size: int,
    length: int,
    opening: int | None,
    pad: int,
) -> Iterator[Call]:
    """Yield calls of documents, cut to ``length`` tokens, and padded at their end.

    Parameters
    ----------
    documents
        Tokenised documents; empty ones are skipped.
    batch_size
        Documents in one pass.
    length
        Largest number of tokens.
    opening
        Id of the bos token if documents begin with it, otherwise None.
    pad
        Id for padding, which the attention mask hides.
    """
    device = device_of(model)
    begin = [] if opening is None else [opening]
    several: list[tuple[TokenisedDocument, np.ndarray]] = []

    def call() -> Call:
        lengths = torch.tensor([len(ids) for _, ids in several], device=device)
        token = np.full((len(several), int(lengths.max())), pad, dtype=np.int32)
        for row, (_, ids) in zip(token, several, strict=True):
            row[: len(ids)] = ids
        ids_BT = ids_for(model, token)
        mask = (torch.arange(token.shape[1], device=device) < lengths[:, None]).long()
        inputs = {"input_ids": ids_BT, "attention_mask": mask} if is_transformers(model) else ids_BT
        items = Items([document.number for document, _ in several], several[-1][0].place + 1, (), lengths)
        return Call(inputs, items)

    for document in documents:
        if document.start or not len(document.ids):  # the rest of a long document, or an empty one
            continue
        several.append((document, np.array([*begin, *document.ids[: length - len(begin)]], dtype=np.int32)))
        if len(several) == batch_size:
            yield call()
            several.clear()
    if several:
        yield call()
