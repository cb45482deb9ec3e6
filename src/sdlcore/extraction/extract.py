"""Activations of any model as a store: `sdlcore.extract`."""

import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import nn
from tqdm.auto import tqdm

from sdlcore.data.conversion import STORES
from sdlcore.data.pairs import site_column
from sdlcore.data.reading import ActivationStore
from sdlcore.data.writing import ResumableWriter, resume_store
from sdlcore.device import Device
from sdlcore.device import device_of as named_device
from sdlcore.errors import SourceError
from sdlcore.extraction.architectures import Paths, read_paths
from sdlcore.extraction.config import Drop, Reading, TextOptions, fitting_length
from sdlcore.extraction.corpus import opened_text
from sdlcore.extraction.engine import device_of, fill
from sdlcore.extraction.hooks import Point, is_transformers, point_at
from sdlcore.extraction.items import WITHIN, ItemRows, TokensOf, document_calls, prefix_of, ready_calls, rows_by
from sdlcore.extraction.models import load_any, load_tokenizer, model_facts, precision_of
from sdlcore.extraction.places import place_of
from sdlcore.extraction.tokens import TokenisedText
from sdlcore.identity import ENTRY, identity, log_other_computer, provenance, require_same
from sdlcore.settings import Batch, Json, Precision, Total, checked
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
    roles: Sequence[str] | None = None,
    drop: tuple[str, ...] = Reading().drop,
    outlier_norm: float = Reading().outlier_norm,
    text_options: TextOptions | Mapping[str, Any] | None = None,
    paths: Paths | Mapping[str, str] | None = None,
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
        A file (.h5), in which the places are the sites, in this order; or a folder for a store of each place, or of
        each tuple of places, such as ``at=[("mlp_in.3", "mlp_out.3"), ("mlp_in.7", "mlp_out.7")]``.
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
        Roles in chats, such as ``["assistant"]``, whose tokens become rows; None for all.
    drop
        Tokens of contexts that get no row: ``first_position``, ``separator`` (between documents) and ``outlier``.
    outlier_norm
        Outliers have a norm above this multiple of the median.
    text_options
        How to read a file, e.g. ``{"column": "body"}``.
    paths
        Where the modules of a decoder of an unknown architecture are (`sdlcore.extraction.architectures.Paths`).
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
    call = _Call(
        tokens=tokens,
        most=checked("max_tokens", Total | None, max_tokens),
        batch_size=checked("batch_size", Batch, batch_size),
        store_dtype=store_dtype,
        progress=progress,
    )
    if where.suffix in STORES:
        groups, files = [tuple(places)], [where]
    else:
        where.mkdir(parents=True, exist_ok=True)
        files = [where / f"{'+'.join(group).replace(':', '_')}.h5" for group in groups]
    kind = _kind_of(inputs, tokenizer, processor)
    name = str(user_path(model, "model")) if isinstance(model, str | Path) else getattr(model, "name_or_path", "")
    model = _model_of(model, kind, dtype, device)
    known_paths = read_paths(paths)
    points = {place: point_at(model, place, known_paths) for place in places}
    if kind == "images":
        stores = _images(call, model, points, groups, files, inputs, processor, workers, max_unreadable)
    elif kind == "text":
        positions = getattr(getattr(model, "config", None), "max_position_embeddings", None)
        reading = Reading(
            fitting_length(context_length, positions),
            call.batch_size,
            checked("drop", Drop, drop),
            checked("outlier_norm", float, outlier_norm),
            precision_of(model),
            store_dtype,
        )
        text = TokenisedText(
            opened_text(inputs, text_options),
            tokenizer or _tokenizer_of(model, name),
            checked("bos", bool | None, bos),
            None if roles is None else tuple(roles),
        )
        stores = _text(call, model, points, groups, files, text, reading)
    else:
        stores = _ready(call, model, points, groups, files, inputs)
    return stores[0] if files == [where] else stores


class _Call(NamedTuple):
    """Settings of a call that all kinds of inputs share."""

    tokens: TokensOf
    most: int | None
    batch_size: int
    store_dtype: str
    progress: bool


Groups = Sequence[Sequence[str]]
"""The places of each store."""


def _kind_of(inputs: Any, tokenizer: Any, processor: Any) -> str:
    """Return whether inputs are text, images or ready."""
    if processor is not None:
        return "images"
    if tokenizer is not None or hasattr(inputs, "column_names"):
        return "text"
    if isinstance(inputs, str | Path):
        from sdlcore.extraction.text import SUFFIXES

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
    where = named_device(device)
    if kind == "images":
        from sdlcore.extraction.vision import load_vision

        return load_vision(str(model), dtype or "float32", str(where))[0]
    return load_any(str(model), dtype or "float32", "AutoModel").to(where)


def _tokenizer_of(model: Any, name: str) -> Any:
    if (own := getattr(model, "tokenizer", None)) is not None:  # of TransformerLens
        return own
    if not name:
        raise ValueError(
            f"{type(model).__name__}: the model does not record where it was loaded from; give its tokenizer"
        )
    return load_tokenizer(name, local=False)


def _columns(group: Sequence[str], points: Mapping[str, Point]) -> dict[str, Point]:
    return {site_column(number): points[place] for number, place in enumerate(group)}


def _facts(call: _Call, model: Any, group: Sequence[str], inputs: Mapping[str, Any], **more: Json) -> dict[str, Json]:
    """Return the provenance of a store, with its identity. ``more`` are settings."""
    digests = {"model": model_facts(model), **inputs}
    settings = {"at": list(group), "rows": call.tokens, "max_tokens": call.most, "batch_size": call.batch_size, **more}
    run = identity("activations", settings | {"store_dtype": call.store_dtype}, inputs=digests)
    where = place_of(group) if is_transformers(model) else None
    return {"source": settings, "where": where, "tokens": call.most, "model": digests["model"], ENTRY: run}


def _opened(path: Path, facts: Mapping[str, Any]) -> ActivationStore | None:
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


def _text(
    call: _Call,
    model: Any,
    points: Mapping[str, Point],
    groups: Groups,
    files: Sequence[Path],
    text: TokenisedText,
    reading: Reading,
) -> list[ActivationStore]:
    from sdlcore.extraction.language import facts_of, prepare, write_all

    if call.most is None and str(text.name).startswith("dataset:"):
        raise ValueError(f"{text.name}: max_tokens is missing, the number of rows to extract from a streamed data set")
    settings: dict[str, Json] = {
        "context_length": reading.context_length,
        "opening": text.opening,
        "roles": None if text.roles is None else list(text.roles),
    }
    inputs = {"text": text.text.facts, "tokenizer": text.vocabulary}
    document = str(text.text.facts.get("document", "number of the document in the list"))
    if call.tokens != "all":
        if call.tokens == "patches":
            raise ValueError("tokens is patches, but inputs are text; take all, last, mean or cls")

        def calls(start: int) -> Iterator[Any]:
            documents = text.documents(start)
            return document_calls(
                model, documents, call.batch_size, reading.context_length, text.opening, text.separator
            )

        def filling(writer: ResumableWriter) -> ItemRows:
            return ItemRows(writer, call.most, "document")

        def write(columns: Sequence[Mapping[str, Point]], fillings: Sequence[ItemRows], show: Any) -> None:
            fill(model, columns, fillings, calls, rows_by(call.tokens), call.store_dtype, show)

        facts = [
            _facts(call, model, group, inputs, **settings)
            | {"text": text.text.facts, "references": f"document: {document}"}
            for group in groups
        ]
        return _items(call, model, points, groups, files, facts, filling, write)
    works = prepare(model, [_columns(group, points) for group in groups], text, reading, limits="max_tokens")
    settings |= {"drop": list(reading.drop), "outlier_norm": reading.outlier_norm}
    stores: dict[Path, ActivationStore] = {}
    missing: dict[Path, Any] = {}
    for path, group, work in zip(files, groups, works, strict=True):
        own = _facts(call, model, group, inputs, **settings)
        facts_here = facts_of(work, document, **own)
        if (store := _opened(path, facts_here)) is not None:
            stores[path] = store
        else:
            missing[path] = work._replace(facts=facts_here)
    if missing:
        with tqdm(total=call.most, unit="row", disable=None if call.progress else True) as bar:

            def show(rows: int) -> None:
                bar.update(rows - bar.n)

            write_all(
                list(missing.values()),
                [{"train": (path, call.most)} for path in missing],
                show,
            )
    return [stores[path] if path in stores else ActivationStore(path) for path in files]


def _images(
    call: _Call,
    model: Any,
    points: Mapping[str, Point],
    groups: Groups,
    files: Sequence[Path],
    folder: Any,
    processor: Any,
    workers: int,
    max_unreadable: float,
) -> list[ActivationStore]:
    from sdlcore.extraction.images import fill_with_images, list_images, transform_of

    listing = list_images(user_path(folder, "inputs"), "inputs", by_class=False)
    transform = transform_of(model, processor)
    names, labels = np.array(listing.paths, dtype=object), listing.labels if listing.classes else None
    inputs = {"images": listing.digest, "processor": _described(processor, transform)}
    more = {
        "image_folder": str(listing.root),
        "references": "path: of the image, relative to the folder; patch: index of the row among its patches",
    }
    facts = [_facts(call, model, group, inputs) | more for group in groups]

    def filling(writer: ResumableWriter) -> ItemRows:
        return ItemRows(writer, call.most, "path", names, WITHIN.get(call.tokens), labels, listing.skipped)

    def write(
        columns: Sequence[Mapping[str, Point]], fillings: Sequence[ItemRows], show: Callable[[Any], None]
    ) -> None:
        fill_with_images(
            model,
            columns,
            fillings,
            listing,
            np.arange(len(names)),
            transform,
            tokens=call.tokens,
            batch_size=call.batch_size,
            workers=workers,
            dtype=call.store_dtype,
            max_unreadable=max_unreadable,
            show=show,
        )

    return _items(call, model, points, groups, files, facts, filling, write, listing.class_names or None, len(names))


def _described(processor: Any, transform: Any) -> str:
    """Return text that changes with the preprocessing of images."""
    settings = processor.to_dict() if hasattr(processor, "to_dict") else processor or transform
    return getattr(settings, "__qualname__", None) or str(settings)


def _ready(
    call: _Call, model: Any, points: Mapping[str, Point], groups: Groups, files: Sequence[Path], inputs: Any
) -> list[ActivationStore]:
    if not isinstance(inputs, Iterable):
        raise ValueError(
            f"inputs is a {type(inputs).__name__}, expected text, a folder of images, or batches of tensors"
        )
    coming = iter(inputs)
    first = next(coming, None)
    if first is None:
        raise ValueError("inputs gives no batch")
    inputs = chain([first], coming) if coming is inputs else inputs  # an iterator can be read once
    digest = {"first_batch": _digest(first)}
    more = {"references": "item: number of the input; position or patch: index of the row in it"}
    facts = [_facts(call, model, group, digest) | more for group in groups]

    def filling(writer: ResumableWriter) -> ItemRows:
        return ItemRows(writer, call.most, "item", within=WITHIN.get(call.tokens))

    def write(
        columns: Sequence[Mapping[str, Point]], fillings: Sequence[ItemRows], show: Callable[[Any], None]
    ) -> None:
        rows = rows_by(call.tokens, prefix_of(model))
        fill(model, columns, fillings, lambda at: ready_calls(inputs, at), rows, call.store_dtype, show)

    return _items(call, model, points, groups, files, facts, filling, write)


def _items(
    call: _Call,
    model: Any,
    points: Mapping[str, Point],
    groups: Groups,
    files: Sequence[Path],
    facts: Sequence[Mapping[str, Any]],
    filling: Callable[[ResumableWriter], ItemRows],
    write: Callable[[Sequence[Mapping[str, Point]], Sequence[ItemRows], Callable[[Any], None]], object],
    class_names: list[str] | None = None,
    total: int | None = None,
) -> list[ActivationStore]:
    """Open the stores at these paths; one pass over the items fills the missing ones."""
    more = {
        "precision": {"forward": precision_of(model), "stored": call.store_dtype},
        "device": device_of(model).type,
        "threads": torch.get_num_threads(),
    }
    facts = [provenance(**own, **more) for own in facts]
    opened = {path: _opened(path, own) for path, own in zip(files, facts, strict=True)}
    missing = [number for number, path in enumerate(files) if opened[path] is None]
    if not missing:
        return [store for store in opened.values() if store is not None]
    with ExitStack() as stack:
        bar = stack.enter_context(tqdm(total=call.most or total, disable=None if call.progress else True))
        fillings = [
            filling(stack.enter_context(resume_store(files[number], facts[number], call.store_dtype, class_names)))
            for number in missing
        ]

        def show(items: Any) -> None:
            bar.update((fillings[0].rows if call.most else items.next) - bar.n)

        write([_columns(groups[number], points) for number in missing], fillings, show)
        for one in fillings:
            if not one.finish():
                raise SourceError(f"inputs end after {one.rows} rows; lower max_tokens, or give more inputs")
    return [opened[path] or ActivationStore(path) for path in files]


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
