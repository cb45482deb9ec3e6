"""Activations of any model as a store: `sdlcore.extract`."""

import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from functools import partial
from itertools import chain, islice
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import nn
from tqdm.auto import tqdm

from sdlcore.data.conversion import STORES
from sdlcore.data.pairs import site_column
from sdlcore.data.reading import ActivationStore
from sdlcore.data.writing import resume_store
from sdlcore.device import Device, choose_device
from sdlcore.errors import SourceError
from sdlcore.extraction.config import DATASET, DROP, OUTLIER_NORM, Drop, TextOptions, fitting_length
from sdlcore.extraction.engine import (
    WITHIN,
    Call,
    Choose,
    Filling,
    ItemProgress,
    Items,
    Rows,
    TokensOf,
    device_of,
    fill,
    item_rows,
    prefix_of,
    rows_by,
    token_inputs,
    token_rows,
)
from sdlcore.extraction.hooks import Point, is_transformers, point_at
from sdlcore.extraction.language import token_calls, token_stores
from sdlcore.extraction.models import load_any, load_vision, model_facts, precision_of, tokenizer_of
from sdlcore.extraction.places import place_of
from sdlcore.extraction.text import SUFFIXES, opened_text
from sdlcore.extraction.tokens import TokenisedText
from sdlcore.identity import ENTRY, identity, log_other_computer, provenance, require_same
from sdlcore.settings import Batch, Json, Precision, Settings, Total, checked
from sdlcore.storage.files import user_path


def extract(
    model: Any,
    inputs: Any,
    *,
    at: str | Sequence[str | Sequence[str]],
    out: str | Path,
    tokens: TokensOf = "all",
    max_tokens: int | None = None,
    batch_size: int = 16,
    tokenizer: Any = None,
    processor: Any = None,
    context_length: int | None = None,
    bos: bool | None = None,
    roles: str | Sequence[str] | None = None,
    drop: tuple[str, ...] = DROP,
    outlier_norm: float = OUTLIER_NORM,
    text_options: TextOptions | Mapping[str, Any] | None = None,
    max_unreadable: float = 0.01,
    workers: int = 0,
    dtype: Precision | None = None,
    store_dtype: str = "float16",
    device: Device = "auto",
    progress: bool = True,
) -> Any:
    """Write activations of a model to a store, and open it.

    Forward hooks read the activations, in passes that stop at the deepest place, in evaluation mode. If the call is cut
    off, the same call resumes it with the same bits; the store appears at its path when it is whole. A finished store
    is opened if model, inputs and settings agree, and never overwritten.

    Parameters
    ----------
    model
        Any `torch.nn.Module`, such as a model of transformers, open_clip, timm, or of your own; or a name: a folder or
        OWNER/NAME at the hub for transformers, a ``.gguf`` file, ``open_clip:ARCHITECTURE:PRETRAINED`` (its image
        tower), ``timm:MODEL``.
    inputs
        *Text*: documents (strings), chats (lists of messages), a data set of `datasets`, or a name: a file, a folder or
        ``dataset:OWNER/NAME``. A file's documents are shuffled. *Images*: a folder, with or without a folder for each
        class; every format that Pillow reads. *Ready inputs*: an iterable of batches in a fixed order, such as a
        DataLoader; each is a tensor, a tuple of arguments, or a mapping of keywords.
    at
        Paths of modules, such as ``encoder.3`` or ``model.layers.12``, whose output is read; ``PATH:input`` for what
        enters a module. Decoders of transformers also have names of TransformerLens, counted from 0: ``resid_pre.12``,
        ``attn_out.12``, ``resid_mid.12``, ``mlp_in.12``, ``mlp_out.12``, ``resid_post.12``. One pass reads all places.
    out
        A file (.h5) with the places as its sites, in this order; or a folder for a store of each place, or of each
        tuple of places, such as ``at=[("mlp_in.3", "mlp_out.3"), ("mlp_in.7", "mlp_out.7")]``.
    tokens
        The rows of an input: ``all`` tokens; ``patches``, the tokens after class token and registers; the ``cls``
        token, i.e. the first; the ``last``; or the ``mean``. Text with ``all`` is packed into contexts; otherwise each
        document gives a row, cut to ``context_length`` tokens.
    max_tokens
        Rows of the store; None for all inputs. Tokens that ``drop`` excludes do not count.
    batch_size
        Contexts, documents or images in a pass.
    tokenizer
        A tokenizer of transformers, for text; None for the model's own.
    processor
        A function from a picture to a tensor (torchvision's transforms) or an image processor of transformers, for
        images; None for the preprocessing that a model of transformers, open_clip or timm was trained with.
    context_length
        Tokens that the model reads at once; None for 128, or the model's maximum if it is lower.
    bos
        Whether contexts begin with the bos token; None if they do where the tokenizer begins texts with it.
    roles
        A role in chats, such as ``"assistant"``, or several, whose tokens become rows; None for all.
    drop
        Tokens of contexts that get no row: ``first_position``, ``separator`` (between documents) and ``outlier``.
    outlier_norm
        Outliers have a norm above this multiple of the median.
    text_options
        How to read a file, e.g. ``{"column": "body"}``.
    max_unreadable
        Largest share of images that may be unreadable. They are skipped, and listed in the store's provenance.
    workers
        Processes that decode images; 0 for this process.
    dtype
        Precision of the forward pass of a model given by name; float32 if None.
    store_dtype
        Precision of the rows: float16, bfloat16 or float32.
    device
        Where a model given by name runs.
    progress
        Show a bar.

    Returns
    -------
    The opened store, or a list of stores, in the order of ``at``, if ``out`` is a folder. Use a store in ``with``, or
    call ``close``. References locate each row: ``document``, ``position`` and ``token`` in text, ``path`` and ``patch``
    in images, ``item`` and ``position`` in ready inputs. ``provenance`` names model, inputs, places and settings.

    Raises
    ------
    ValueError
        If a setting is wrong, which the message names; or if ``out`` holds other activations.
    SourceError
        If the inputs or the model cannot be read, the model lacks a place, or the text is too short.
    """
    groups = [(one,) if isinstance(one, str) else tuple(one) for one in ([at] if isinstance(at, str) else at)]
    places = [place for group in groups for place in group]
    where = user_path(out, "out")
    if not places or len(set(places)) < len(places):
        raise ValueError(f"at must be different paths of modules, one at least, found {places}")
    checked("tokens", TokensOf, tokens)
    max_rows, batch_size = checked("max_tokens", Total | None, max_tokens), checked("batch_size", Batch, batch_size)
    if where.suffix in STORES:
        groups, files = [tuple(places)], [where]
    else:
        where.mkdir(parents=True, exist_ok=True)
        files = [where / f"{'+'.join(group).replace(':', '_')}.h5" for group in groups]
    kind = _kind_of(inputs, tokenizer, processor)
    model = _model_of(model, kind, dtype, device)
    points = [{site_column(site): point_at(model, place) for site, place in enumerate(group)} for group in groups]
    call = _Call(model, groups, points, tokens, max_rows, batch_size, store_dtype)
    if kind == "images":
        work = _images(call, inputs, processor, workers, max_unreadable)
    elif kind == "text":
        bos, drop = checked("bos", bool | None, bos), checked("drop", Drop, drop)
        length = fitting_length(context_length, getattr(model, "config", None))
        tokenizer = tokenizer or tokenizer_of(model)
        text = TokenisedText(opened_text(inputs, text_options), tokenizer, length, batch_size, bos, roles)
        work = _text(call, text, drop, checked("outlier_norm", float, outlier_norm))
    else:
        work = _ready(call, inputs)
    stores = _open_stores(call, files, work, progress)
    return stores[0] if files == [where] else stores


class _Call(NamedTuple):
    """The settings of a call of `extract` that apply to all kinds of inputs."""

    model: Any
    groups: list[tuple[str, ...]]
    """The places of each store."""
    points: list[dict[str, Point]]
    """Column -> place, for each store."""
    tokens: TokensOf
    max_rows: int | None
    batch_size: int
    store_dtype: str

    def facts(self, inputs: Mapping[str, Any], settings: Mapping[str, Any], **more: Any) -> list[dict[str, Json]]:
        """Return the provenance of each store, with its identity.

        ``inputs`` are digests of the inputs, ``settings`` apply to their kind only, and ``more`` is further provenance.
        """
        inputs = {"model": model_facts(self.model), **inputs}
        facts = []
        for group in self.groups:
            source = {"at": list(group), "rows": self.tokens, "max_tokens": self.max_rows}
            source |= {"batch_size": self.batch_size, **settings}
            run = identity("activations", source | {"store_dtype": self.store_dtype}, inputs=inputs)
            entries = {
                "source": source,
                "where": place_of(group) if is_transformers(self.model) else None,
                "tokens": self.max_rows,
                "model": inputs["model"],
                ENTRY: run,
                **more,
                "device": device_of(self.model).type,
                "threads": torch.get_num_threads(),
                "precision": {"forward": precision_of(self.model), "stored": self.store_dtype},
            }
            facts.append(provenance(**entries))
        return facts


class _Work(NamedTuple):
    """How to fill the stores of a call."""

    facts: Sequence[Mapping[str, Json]]
    """Provenance of each store."""
    calls: Callable[[Any], Iterator[Call]]
    """Returns the inputs after a store's progress."""
    rows: Rows
    choose: Sequence[Choose]
    """Chooses the rows of each store."""
    begin: Settings = ItemProgress()
    """Progress of a store without rows."""
    class_names: list[str] | None = None
    items: int | None = None
    """Number of items, if it is known."""
    check: Callable[[Any], None] = lambda progress: None
    """Called with the progress of each store at the end."""
    remedy: str = "give more inputs"
    """Advice if the inputs give too few rows."""


def _open_stores(call: _Call, files: Sequence[Path], work: _Work, progress: bool) -> list[ActivationStore]:
    """Open the stores at these paths; one pass over the inputs fills the missing ones."""
    finished = [_open_finished(path, facts) for path, facts in zip(files, work.facts, strict=True)]
    missing = [number for number, store in enumerate(finished) if store is None]
    if missing:
        with ExitStack() as stack:
            bar = stack.enter_context(tqdm(total=call.max_rows or work.items, disable=None if progress else True))
            fillings = []
            for number in missing:
                opened = resume_store(files[number], work.facts[number], call.store_dtype, work.class_names)
                writer, points = stack.enter_context(opened), call.points[number]
                fillings.append(Filling(writer, points, call.max_rows, work.begin, work.choose[number]))

            def show(origin: Any) -> None:
                bar.update((origin.next if work.items and not call.max_rows else fillings[0].writer.rows) - bar.n)

            fill(call.model, fillings, work.calls, work.rows, call.store_dtype, show)
            for filling in fillings:
                work.check(filling.progress)
                filling.finish("inputs", f"{work.remedy}, or lower max_tokens")
    return [store or ActivationStore(path) for store, path in zip(finished, files, strict=True)]


def _open_finished(path: Path, facts: Mapping[str, Any]) -> ActivationStore | None:
    """Open a finished store that holds these activations; None without one, ValueError for another one."""
    if not path.exists():
        return None
    store = ActivationStore(path)
    try:
        require_same(path, store.provenance, facts)
    except ValueError:
        store.close()
        raise
    log_other_computer(path, store.provenance, facts)
    return store


def _kind_of(inputs: Any, tokenizer: Any, processor: Any) -> str:
    """Return whether inputs are text, images or ready."""
    if processor is not None:
        return "images"
    if tokenizer is not None or hasattr(inputs, "column_names"):
        return "text"
    if isinstance(inputs, str | Path):
        path = Path(inputs).expanduser()
        is_text = not path.is_dir() or any(file.suffix in SUFFIXES for file in path.rglob("*"))
        return "text" if is_text else "images"
    first = next(iter(inputs), None) if isinstance(inputs, list | tuple) else None
    return "text" if isinstance(first, str | list) else "ready"


def _model_of(model: Any, kind: str, dtype: Any, device: Device) -> Any:
    dtype = checked("dtype", Precision | None, dtype)
    if not isinstance(model, str | Path):
        if dtype is not None:
            raise ValueError(f"dtype is {dtype}, but model is a loaded model, which has its own; leave dtype out")
        if not isinstance(model, nn.Module):
            raise ValueError(f"model is a {type(model).__name__}, expected a torch.nn.Module or a name")
        return model
    where = choose_device(device)
    if kind == "images":
        return load_vision(str(model), dtype or "float32", str(where))
    return load_any(str(model), dtype or "float32", "AutoModel").to(where)


def _text(call: _Call, text: TokenisedText, drop: tuple[str, ...], outlier_norm: float) -> _Work:
    if call.max_rows is None and text.name.startswith(DATASET):
        raise ValueError(f"{text.name}: max_tokens is missing, the number of rows to extract from a streamed data set")
    if call.tokens == "patches":
        raise ValueError("tokens is patches, but inputs are text; take all, last, mean or cls")
    if call.tokens != "all" and text.roles is not None:
        raise ValueError(f"roles chooses tokens, but tokens is {call.tokens}, a row for each document; leave roles out")
    roles = None if text.roles is None else list(text.roles)
    settings: dict[str, Json] = {"context_length": text.context_length, "opening": text.opening, "roles": roles}
    inputs = {"text": text.text.facts, "tokenizer": text.vocabulary}
    if call.tokens == "all":
        settings |= {"drop": list(drop), "outlier_norm": outlier_norm}
        facts = call.facts(inputs, settings)
        stores = token_stores(call.model, text, call.points, facts, drop, outlier_norm, call.store_dtype)
        choose, calls = [store.choose for store in stores], partial(token_calls, call.model, text)
        store_facts, remedy = [store.facts for store in stores], "give more text, lower context_length"
        return _Work(store_facts, calls, token_rows, choose, stores[0].begin(), remedy=remedy)
    document = text.text.facts.get("document", "number of the document in the list")
    facts = call.facts(inputs, settings, text=text.text.facts, references=f"document: {document}")
    calls = partial(_document_calls, call.model, text)
    return _Work(facts, calls, rows_by(call.tokens), [item_rows("document")] * len(facts))


def _document_calls(model: nn.Module, text: TokenisedText, progress: ItemProgress) -> Iterator[Call]:
    """Yield calls of documents, cut to the length of a context, and padded at their end."""
    begin = [] if text.opening is None else [text.opening]
    room = text.context_length - len(begin)
    documents = (document for document in text.documents(progress.next) if len(document.ids))
    while several := list(islice(documents, text.contexts_per_batch)):
        ids = [np.array([*begin, *document.ids[:room]], dtype=np.int32) for document in several]
        lengths = torch.tensor([len(each) for each in ids], device=device_of(model))
        token = np.full((len(several), int(lengths.max())), text.separator, dtype=np.int32)
        for row, each in zip(token, ids, strict=True):
            row[: len(each)] = each
        mask = (torch.arange(token.shape[1], device=lengths.device) < lengths[:, None]).long()
        items = Items([document.number for document in several], several[-1].place + 1, (), lengths)
        yield Call(token_inputs(model, token, attention_mask=mask), items)


def _images(call: _Call, folder: Any, processor: Any, workers: int, max_unreadable: float) -> _Work:
    from sdlcore.extraction.images import check_unreadable, image_calls, list_images, transform_of

    listing = list_images(user_path(folder, "inputs"), "inputs", by_class=False)
    transform = transform_of(call.model, processor)
    # text that changes with the preprocessing
    settings = processor.to_dict() if hasattr(processor, "to_dict") else processor or transform
    described = getattr(settings, "__qualname__", None) or str(settings)
    facts = call.facts(
        {"images": listing.digest, "processor": described},
        {},
        image_folder=str(listing.root),
        references="path: of the image, relative to the folder; patch: index of the row among its patches",
    )
    names, labels = np.array(listing.paths, dtype=object), listing.labels if listing.classes else None
    return _Work(
        facts,
        partial(image_calls, call.model, listing, np.arange(len(names)), transform, call.batch_size, workers),
        rows_by(call.tokens, prefix_of(call.model)),
        [item_rows("path", names, WITHIN.get(call.tokens), labels)] * len(facts),
        class_names=listing.class_names or None,
        items=len(names),
        check=lambda progress: check_unreadable(listing, progress, max_unreadable),
    )


def _ready(call: _Call, inputs: Any) -> _Work:
    if not isinstance(inputs, Iterable):
        raise ValueError(
            f"inputs is a {type(inputs).__name__}, expected text, a folder of images, or batches of tensors"
        )
    coming = iter(inputs)
    first = next(coming, None)
    if first is None:
        raise ValueError("inputs gives no batch")
    batches = chain([first], coming) if coming is inputs else inputs  # an iterator can be read once
    references = "item: number of the input; position or patch: index of the row in it"
    facts = call.facts({"first_batch": _digest(first)}, {}, references=references)
    rows, choose = rows_by(call.tokens, prefix_of(call.model)), item_rows("item", within=WITHIN.get(call.tokens))
    return _Work(facts, partial(_ready_calls, batches), rows, [choose] * len(facts))


def _ready_calls(inputs: Iterable[Any], progress: ItemProgress) -> Iterator[Call]:
    """Yield the calls of ready inputs: a tensor, a tuple of arguments, or keywords each."""
    seen = 0
    for batch in inputs:
        first = next(iter(batch.values())) if isinstance(batch, Mapping) else batch
        first = first[0] if isinstance(first, tuple | list) else first
        if not isinstance(first, torch.Tensor):
            raise SourceError(f"inputs gives {type(first).__name__}, expected batches of tensors, as a DataLoader does")
        if seen >= progress.next:
            yield Call(batch, Items(list(range(seen, seen + len(first))), seen + len(first)))
        seen += len(first)


def _digest(batch: Any) -> str:
    parts = (
        list(batch.values()) if isinstance(batch, Mapping) else batch if isinstance(batch, tuple | list) else [batch]
    )
    total = hashlib.sha256()
    for part in parts:
        if isinstance(part, torch.Tensor):
            total.update(f"{part.dtype} {tuple(part.shape)}".encode())
            total.update(part.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data)
    return total.hexdigest()
