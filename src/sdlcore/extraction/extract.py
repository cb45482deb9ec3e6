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
from sdlcore.device import Device, choose_device
from sdlcore.errors import SourceError
from sdlcore.extraction.config import DATASET, DROP, OUTLIER_NORM, Drop, TextOptions, TokensOf, fitting_length
from sdlcore.extraction.engine import Call, Items, device_of, prefix_of, rows_by, token_inputs
from sdlcore.extraction.filling import Inputs, ItemProgress, StorePlan, fill_stores, item_plans
from sdlcore.extraction.hooks import Point, is_transformers, point_at
from sdlcore.extraction.language import TOO_SHORT, text_inputs, text_plans
from sdlcore.extraction.models import load_any, load_vision, model_facts, precision_of, tokenizer_of
from sdlcore.extraction.places import place_of
from sdlcore.extraction.text import SUFFIXES, opened_text
from sdlcore.extraction.tokens import TokenisedText
from sdlcore.identity import ENTRY, identity, log_other_computer, provenance, require_same
from sdlcore.settings import BatchSize, Json, Precision, Total, checked
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
        A tokenizer of transformers for text, or its name; None for the model's own.
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
    max_rows, batch_size = checked("max_tokens", Total | None, max_tokens), checked("batch_size", BatchSize, batch_size)
    if where.suffix in STORES:
        groups, files = [tuple(places)], [where]
    else:
        where.mkdir(parents=True, exist_ok=True)
        files = [where / f"{'+'.join(group).replace(':', '_')}.h5" for group in groups]
    kind = _kind_of(inputs, tokenizer, processor)
    model = _model_of(model, kind, dtype, device)
    points = [{site_column(site): point_at(model, place) for site, place in enumerate(group)} for group in groups]
    if kind == "images":
        reading = _images(model, inputs, tokens, processor, batch_size, workers, max_unreadable)
    elif kind == "text":
        bos, drop = checked("bos", bool | None, bos), checked("drop", Drop, drop)
        length = fitting_length(context_length, getattr(model, "config", None))
        tokenizer = tokenizer_of(model, tokenizer)
        text = TokenisedText(opened_text(inputs, text_options), tokenizer, length, batch_size, bos, roles)
        reading = _text(model, text, tokens, drop, checked("outlier_norm", float, outlier_norm))
        if max_rows is None and text.name.startswith(DATASET):
            raise ValueError(f"{text.name}: set max_tokens, the number of rows to extract from a data set")
    else:
        reading = _ready(model, inputs, tokens)
    settings = {"rows": tokens, "max_tokens": max_rows, "batch_size": batch_size, **reading.settings}
    digests = {"model": model_facts(model), **reading.digests}
    facts = [_facts(model, digests, group, settings, store_dtype) for group in groups]
    stores = [_open_finished(path, store_facts) for path, store_facts in zip(files, facts, strict=True)]
    if missing := [number for number, store in enumerate(stores) if store is None]:
        plans = zip(missing, reading.plans([points[number] for number in missing]), strict=True)
        planned = {files[number]: plan._replace(facts={**facts[number], **plan.facts}) for number, plan in plans}
        with ExitStack() as stack:
            bar = stack.enter_context(tqdm(total=max_rows or reading.items, disable=None if progress else True))

            def show(origin: Any, rows: int) -> None:
                bar.update((origin.next if reading.items and not max_rows else rows) - bar.n)

            fill_stores(stack, model, reading.inputs, planned, max_rows, store_dtype, show)
    stores = [store or ActivationStore(path) for store, path in zip(stores, files, strict=True)]
    return stores[0] if files == [where] else stores


class _Reading(NamedTuple):
    """How a model reads one kind of inputs."""

    inputs: Inputs
    digests: Mapping[str, Any]
    """What identifies the inputs."""
    plans: Callable[[Sequence[Mapping[str, Point]]], list[StorePlan]]
    """Returns the plan of a store for each group of places (column -> place)."""
    settings: Mapping[str, Json] = {}
    """Settings that apply to this kind only."""
    items: int | None = None
    """Number of items, if it is known."""


def _facts(
    model: Any, digests: Mapping[str, Any], at: Sequence[str], settings: Mapping[str, Json], store_dtype: str
) -> dict[str, Json]:
    """Return the provenance of a store of the places ``at``, with its identity."""
    source = {"at": list(at), **settings}
    return provenance(
        source=source,
        where=place_of(at) if is_transformers(model) else None,
        tokens=settings["max_tokens"],
        model=digests["model"],
        **{ENTRY: identity("activations", {**source, "store_dtype": store_dtype}, inputs=digests)},
        device=device_of(model).type,
        threads=torch.get_num_threads(),
        precision={"forward": precision_of(model), "stored": store_dtype},
    )


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


def _text(model: Any, text: TokenisedText, tokens: TokensOf, drop: tuple[str, ...], outlier_norm: float) -> _Reading:
    if tokens == "patches":
        raise ValueError("tokens is patches, but inputs are text; take all, last, mean or cls")
    if tokens != "all" and text.roles is not None:
        raise ValueError(f"roles chooses tokens, but tokens is {tokens}, a row for each document; leave roles out")
    digests = {"text": text.text.facts, "tokenizer": text.vocabulary}
    roles = None if text.roles is None else list(text.roles)
    settings: dict[str, Json] = {"context_length": text.context_length, "opening": text.opening, "roles": roles}
    if tokens == "all":
        settings |= {"drop": list(drop), "outlier_norm": outlier_norm}
        inputs, plans = text_inputs(model, text), partial(text_plans, model, text, drop, outlier_norm)
        return _Reading(inputs, digests, plans, settings)
    document = text.text.facts.get("document", "number of the document in the list")
    facts: dict[str, Json] = {"text": text.text.facts, "references": f"document: {document}"}
    inputs = Inputs(text.name, partial(_document_calls, model, text), rows_by(tokens), TOO_SHORT)
    return _Reading(inputs, digests, partial(item_plans, facts, "document", tokens), settings)


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


def _images(
    model: Any, folder: Any, tokens: TokensOf, processor: Any, batch_size: int, workers: int, max_unreadable: float
) -> _Reading:
    from sdlcore.extraction.images import image_inputs, list_images, transform_of

    listing = list_images(user_path(folder, "inputs"), "inputs", by_class=False)
    transform = transform_of(model, processor)
    # text that changes with the preprocessing
    settings = processor.to_dict() if hasattr(processor, "to_dict") else processor or transform
    digests = {"images": listing.digest, "processor": getattr(settings, "__qualname__", None) or str(settings)}
    facts = {
        "image_folder": str(listing.root),
        "references": "path: of the image, relative to the folder; patch: index of the row among its patches",
    }
    order = np.arange(len(listing.paths))
    inputs = image_inputs(model, listing, order, transform, tokens, batch_size, workers, max_unreadable)
    paths, labels = np.array(listing.paths, dtype=object), listing.labels if listing.classes else None
    plans = partial(
        item_plans, facts, "path", tokens, names=paths, labels=labels, class_names=listing.class_names or None
    )
    return _Reading(inputs, digests, plans, items=len(order))


def _ready(model: Any, inputs: Any, tokens: TokensOf) -> _Reading:
    if not isinstance(inputs, Iterable):
        raise ValueError(
            f"inputs is a {type(inputs).__name__}, expected text, a folder of images, or batches of tensors"
        )
    coming = iter(inputs)
    first = next(coming, None)
    if first is None:
        raise ValueError("inputs gives no batch")
    batches = chain([first], coming) if coming is inputs else inputs  # an iterator can be read once
    facts = {"references": "item: number of the input; position or patch: index of the row in it"}
    rows = rows_by(tokens, prefix_of(model))
    read = Inputs("inputs", partial(_ready_calls, batches), rows, "give more batches, or lower max_tokens")
    return _Reading(read, {"first_batch": _digest(first)}, partial(item_plans, facts, "item", tokens))


def _ready_calls(inputs: Iterable[Any], progress: ItemProgress) -> Iterator[Call]:
    """Yield the calls of ready inputs: a tensor, a tuple of arguments, or keywords each."""
    items_before = 0
    for batch in inputs:
        first = next(iter(batch.values())) if isinstance(batch, Mapping) else batch
        first = first[0] if isinstance(first, tuple | list) else first
        if not isinstance(first, torch.Tensor):
            raise SourceError(f"inputs gives {type(first).__name__}, expected batches of tensors, as a DataLoader does")
        if items_before >= progress.next:
            yield Call(batch, Items(list(range(items_before, items_before + len(first))), items_before + len(first)))
        items_before += len(first)


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
