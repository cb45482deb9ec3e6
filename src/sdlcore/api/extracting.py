"""Activations of a language model as a store."""

import json
import warnings
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import torch
from tqdm.auto import tqdm

from sdlcore.api.inputs import STORES
from sdlcore.api.run_identity import ENVIRONMENT, READERS, compare, joined
from sdlcore.data.reading import ActivationStore, open_checked
from sdlcore.device import Device, device_of
from sdlcore.inside.hooks import sites_at, stack_of
from sdlcore.inside.reader import DROP, OUTLIER_NORM, fitting_length, loaded, model_facts, opened_text
from sdlcore.settings import Precision, Total, checked
from sdlcore.sources.language.settings import LanguageSource, TextOptions
from sdlcore.storage.paths import user_path

if TYPE_CHECKING:
    from sdlcore.sources.language.preparation import Model

Place = Literal["residual", "mlp"]
TEXT_SETTINGS = ("text_column", "text_config", "text_split", "text_revision", "shuffle_buffer")
"""Settings of a source that `TextOptions` has, in its order."""
OF_PIPELINES = ("train_samples", "test_samples", "dtype")
"""Settings of a source that other facts of a store replace: tokens and precision."""


def extract(
    lm: Any,
    texts: str | Path | Iterable[str],
    *,
    layer: int | tuple[int, int],
    out: str | Path,
    place: Place = "residual",
    tokens: int | None = None,
    dtype: Precision | None = None,
    device: Device = "auto",
    progress: bool = True,
    tokenizer: Any = None,
    context_length: int | None = None,
    contexts_per_batch: int = 16,
    drop: tuple[str, ...] = DROP,
    outlier_norm: float = OUTLIER_NORM,
    text_options: TextOptions | None = None,
) -> ActivationStore:
    """Write activations of a language model to a store, a row for each token, and open it.

    The same settings give the same rows as the training store of a pipeline. If the call is cut off, the same call
    resumes it; the store appears at its path when it is whole. A store that is finished is opened if model, text and
    settings agree, and never overwritten.

    Parameters
    ----------
    lm
        A transformers model with blocks as in Llama or GPT-2, a folder with one, or its name at the hub.
    texts
        Documents; or a file, a folder or ``dataset:OWNER/NAME``. A file's documents are shuffled.
    layer
        The block, counted from 1. Two blocks, (input, target), for a crosscoder of residual streams.
    out
        The file to write (.h5).
    place
        residual: the stream after the block; mlp, for transcoders: the input of its MLP as x and the output as target.
    tokens
        Rows of the store, ``train_samples`` in a pipeline; None for the whole text. Tokens that ``drop`` excludes do
        not count.
    dtype
        Precision of the forward pass of a model given by name; float32 if None. Rows are stored in float16.
    device
        Where a model given by name runs.
    progress
        Show a bar.
    tokenizer, context_length, contexts_per_batch, drop, text_options
        How the model reads the text, as of `contexts`.
    outlier_norm
        ``drop`` may exclude outliers: rows with a norm above this multiple of the median.

    Returns
    -------
    The opened store, for `fit`; use it in ``with``, or call ``close``. Its ``provenance`` names the model, the text,
    the layer and the tokens. Its references ``document``, ``position`` and ``token`` locate each row in the text.

    Raises
    ------
    ValueError
        If a setting is wrong, which the message names; or if ``out`` holds other activations.
    SourceError
        If the text or the model cannot be read, or the text is too short.
    """
    # only here: transformers takes a while to import
    from sdlcore.sources.language.extraction import write_stores
    from sdlcore.sources.language.preparation import prepared

    path = user_path(out, "out")
    if path.suffix not in STORES:
        raise ValueError(f"{path}: expected the name of a store, which ends in {' or '.join(STORES)}")
    tokens = checked("tokens", Total | None, tokens)
    text = opened_text(texts, text_options)
    if tokens is None and "dataset" in text.facts:
        raise ValueError(f"{text.name}: tokens is missing, the number of rows to extract from a streamed data set")
    settings: dict[str, Any] = {
        **_place(layer, checked("place", Place, place)),
        **dict(zip(TEXT_SETTINGS, text_options or TextOptions(), strict=True)),
        "text": text.name,
        "contexts_per_batch": contexts_per_batch,
        "drop": tuple(drop),
        "outlier_norm": float(outlier_norm),
    }
    source, model, precision = _opened(lm, tokenizer, settings, context_length, dtype, device_of(device))
    work = prepared(source, model, text, tokens or 0, limits="tokens")
    facts: dict[str, Any] = work.facts | {"tokens": tokens, "precision": {"forward": precision, "stored": "float16"}}
    facts["source"] = {name: value for name, value in facts["source"].items() if name not in OF_PIPELINES}
    if path.exists():
        return _existing(path, facts)
    with tqdm(total=tokens, unit="row", disable=None if progress else True) as bar:

        def show(rows: int) -> None:
            bar.update(rows - bar.n)

        write_stores(work._replace(facts=facts), {"train": (path, tokens)}, show)
    return open_checked(path)


def _place(layer: int | tuple[int, int], place: Place) -> dict[str, Any]:
    """Return the settings of a source for a place."""
    if isinstance(layer, int):
        return {"layer": layer, "site": place}
    return {"layers": tuple(layer), "site": place}


def _opened(
    lm: Any,
    tokenizer: Any,
    settings: dict[str, Any],
    context_length: int | None,
    dtype: Precision | None,
    device: torch.device,
) -> tuple[LanguageSource, "Model", str]:
    """Return the settings of a source, the model that is to run, and the precision of its forward pass."""
    from sdlcore.sources.language.checkpoints import is_of_family, load_any, open_checkpoint
    from sdlcore.sources.language.preparation import Model, open_model
    from sdlcore.sources.language.shape import model_shape

    dtype = checked("dtype", Precision | None, dtype)
    named = isinstance(lm, str | Path)
    if named and tokenizer is None and is_of_family(lm):  # of these, only the blocks that are needed are loaded
        shape = model_shape(open_checkpoint(lm).folder)
        length = fitting_length(context_length, shape and shape.positions)
        settings |= {"model": str(lm), "context_length": length, "dtype": dtype or "float32"}
        source = LanguageSource.from_dict(settings)
        return source, open_model(source, lm, device), source.dtype
    if named:
        lm = load_any(lm).to(getattr(torch, dtype or "float32"))
    elif dtype is not None:
        raise ValueError(f"dtype is {dtype}, but lm is a loaded model, which has its own; leave dtype out")
    lm, tokenizer = loaded(lm, tokenizer, device)
    name = lm.name_or_path or type(lm).__name__
    length = fitting_length(context_length, getattr(lm.config, "max_position_embeddings", None))
    source = LanguageSource.from_dict({**settings, "model": name, "context_length": length})
    stack = stack_of(lm)
    for site in source.sites.values():
        sites_at("sae", stack, site.block)  # refuses blocks that the model does not have
    return source, Model(name, tokenizer, model_facts(lm), lambda blocks: stack_of(lm, blocks)), _precision(lm)


def _precision(lm: Any) -> str:
    return str(lm.dtype).removeprefix("torch.")


def _existing(path: Path, facts: Mapping[str, Any]) -> ActivationStore:
    """Open a finished store that holds these activations; ValueError if it holds others."""
    store = open_checked(path)
    here = _compared(json.loads(json.dumps(facts)))
    here["versions"] = {name: here["versions"][name] for name in ("torch", *READERS) if name in here["versions"]}
    differences = compare(_compared(store.provenance), here)
    if differences.identity:
        store.close()
        raise ValueError(
            f"{path} holds other activations ({differences.listed()}). Open it with "
            f"sdl.ActivationStore({str(path)!r}), or choose another file."
        )
    if differences.environment:
        warnings.warn(
            f"{path}: opened a finished store, computed with {joined(differences.environment)}. A new extraction can "
            "differ slightly; choose another file to extract again",
            stacklevel=3,
        )
    return store


def _compared(facts: Mapping[str, Any]) -> dict[str, Any]:
    """Return the facts that say which activations a store holds, and what computed them."""
    found = {name: facts.get(name) for name in ("model", "text", "tokens", *ENVIRONMENT)}
    # names of model and text may change: other facts identify their content
    found["source"] = {name: value for name, value in (facts.get("source") or {}).items() if name not in found}
    return {**found, "precision": (facts.get("precision") or {}).get("forward")}
