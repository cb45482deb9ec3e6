"""A dictionary for each layer of a language model."""

import shutil
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Literal, Unpack, cast

import torch
from tqdm.auto import tqdm

from sdlcore.api.dictionary import Dictionary
from sdlcore.api.fitting import Fit, made_by
from sdlcore.api.inputs import is_store
from sdlcore.api.run_folder import existing_run
from sdlcore.api.run_identity import READERS, warn_of_environment
from sdlcore.api.setting_types import LayerSettings
from sdlcore.api.signatures import listing_settings
from sdlcore.api.sources import Stored, stored
from sdlcore.device import Device, device_of
from sdlcore.inside.hooks import Place, sites_at
from sdlcore.inside.reader import DROP, reader_of
from sdlcore.sources.language.architectures import Paths, read_paths
from sdlcore.sources.language.made import Made
from sdlcore.sources.language.places import described, located
from sdlcore.sources.language.settings import Site, TextOptions
from sdlcore.storage.paths import user_path
from sdlcore.storage.private import private_folder

TOKENS, CONTEXTS_PER_BATCH = 200_000, 16


@listing_settings
def fit_layers(
    lm: Any,
    texts: str | Path | Iterable[str] | None = None,
    *,
    layers: int | str | Sequence[int | str] | None = None,
    pair: Literal["transcoder", "sae"] | None = None,
    tokens: int | None = TOKENS,
    out: str | Path | None = None,
    seed: int = 0,
    device: Device = "auto",
    progress: bool = True,
    tokenizer: Any = None,
    context_length: int | None = None,
    contexts_per_batch: int = CONTEXTS_PER_BATCH,
    bos: bool | None = None,
    drop: tuple[str, ...] = DROP,
    text_options: TextOptions | Mapping[str, Any] | None = None,
    paths: Paths | Mapping[str, str] | None = None,
    **settings: Unpack[LayerSettings],
) -> list[Dictionary]:
    """Find a dictionary for each layer of a language model, by `fit`, in the order of layers.

    The model runs over the text once, up to the deepest layer, and writes all activations to a temporary folder in
    ``out``: tokens x width x 2 bytes a layer, twice that for transcoders. If the process is killed, the next call
    removes the folder. One layer's activations are in memory at a time. Each dictionary records its layer, so
    ``sdl.splice(lm, dictionary=found[0])`` needs none.

    Parameters
    ----------
    lm
        A decoder-only transformers model, or its name, as in `extract`. Or the stores that `extract_layers` wrote,
        opened or as paths; then no model runs, and all arguments about layers and text are left out.
    texts
        As of `extract`.
    layers
        One block or several, counted from 1, or their names as in `extract`; None for all.
    pair
        transcoder: from the input of a block's MLP to its output; sae: the residual stream after a block. None for a
        transcoder; for stores without a target, an sae.
    tokens
        Tokens from the beginning of the text to run the model over, rounded up to whole contexts: 300 are three
        contexts of 128. Tokens in ``drop`` are not trained on. None for the whole text.
    out
        A folder that gets a run's folder for each layer, ``layer_1`` and so on, as soon as it is trained. The same call
        resumes an interrupted set. A finished layer is opened if settings, seed, text and the model's weights agree;
        other versions of sdlcore, torch, numpy, numba or transformers give one warning. It is never overwritten.
    seed, device, progress
        As of `fit`, for every layer.
    tokenizer, context_length, contexts_per_batch, bos, drop, text_options
        How the model reads the text, as for `contexts`.
    paths
        Where the modules of an unknown architecture are (`sdlcore.sources.language.architectures.Paths`).
    **settings
        As of `fit`.

    Raises
    ------
    ValueError
        Naming the setting or the layer that is wrong, before anything is trained; or if the text is too short.
    SourceError
        If a text or a model cannot be read.
    """
    if pair not in ("transcoder", "sae", None):
        raise ValueError(f"pair must be transcoder or sae, since each dictionary has one layer; found {pair}")
    out = None if out is None else user_path(out, "out")
    where = device_of(device)
    if isinstance(lm, list | tuple):
        reading = {
            "texts": (texts, None),
            "layers": (layers, None),
            "tokens": (tokens, TOKENS),
            "tokenizer": (tokenizer, None),
            "context_length": (context_length, None),
            "contexts_per_batch": (contexts_per_batch, CONTEXTS_PER_BATCH),
            "bos": (bos, None),
            "drop": (drop, DROP),
            "text_options": (text_options, None),
            "paths": (paths, None),
        }
        for name, (value, default) in reading.items():
            if value is not default and value != default:
                raise ValueError(f"{name} belongs to the extraction of stores, which is finished; leave it out")
        return _of_stores(lm, pair, seed, where, progress, out, cast(dict[str, Any], settings))
    if texts is None:
        raise ValueError(
            "texts is missing: the documents for the model to read; stores are given as a list instead of a model"
        )
    pair = pair or "transcoder"
    request = Fit.of(settings | {"pair": pair}, seed, None, None, None, where)
    paths = read_paths(paths)
    reader = reader_of(lm, texts, where, tokenizer, context_length, contexts_per_batch, drop, text_options, paths, bos)
    several = [layers] if isinstance(layers, int | str) else layers
    blocks = range(1, len(reader.stack.blocks) + 1) if several is None else [_block(one, pair) for one in several]
    sites = {layer: sites_at(pair, reader.stack, layer) for layer in blocks}
    contexts = list(reader.contexts(reader.number(tokens)))
    if not contexts:
        raise reader.too_short()
    place: Place = "residual" if pair == "sae" else "mlp"
    text_facts = reader.facts() | {"tokens": tokens}
    code_facts = made_by(request.config, request.seed, where, READERS)
    text = {layer: {"activations": {"where": {"layer": layer, "place": place}, **text_facts}} for layer in sites}
    folders = {layer: None if out is None else out / folder_of(layer) for layer in sites}
    runs = {folder: existing_run(folder, code_facts | text[layer]) for layer, folder in folders.items() if folder}
    warn_of_environment(runs)
    finished = {folder for folder, run in runs.items() if run is not None and run.is_finished}
    remaining_sites = {layer: its for layer, its in sites.items() if folders[layer] not in finished}
    scratch = (Path(tempfile.gettempdir()) if out is None else out) / "activations"
    with private_folder(scratch) as private:
        rows = {}
        if remaining_sites:
            _require_disk(scratch.parent, len(contexts) * reader.context_length, reader.stack.width, remaining_sites)
            contexts_bar = tqdm(contexts, desc="activations", unit="", disable=None if progress else True)
            rows = reader.write_rows(remaining_sites, contexts_bar, private)
        dictionaries = []
        for layer in sites:
            to = folders[layer]
            if to in finished:
                dictionaries.append(request.finished(to))
                continue
            # no name here holds the activations, so that they are gone before the next layer's come
            dictionaries.append(_of_rows(request, rows[layer].read(), code_facts | text[layer], progress, to))
            rows[layer].remove()
    return dictionaries


def _of_stores(
    stores: Sequence[Any],
    pair: Literal["transcoder", "sae"] | None,
    seed: int,
    where: torch.device,
    progress: bool,
    out: Path | None,
    settings: dict[str, Any],
) -> list[Dictionary]:
    """Return a dictionary for each store of `extract_layers`, in the order of the stores."""
    if not stores or not all(map(is_store, stores)):
        raise ValueError("lm is a list, expected a language model, or one or more stores that extract_layers wrote")
    with ExitStack() as opened:
        sources = [opened.enter_context(stored(store)) for store in stores]
        layers = [_layer_of(source) for source in sources]
        if len(set(layers)) < len(layers):
            raise ValueError(f"lm has stores of the layers {', '.join(map(str, layers))}, expected one store a layer")
        pairs = [pair or ("sae" if len(source.widths) == 1 else "transcoder") for source in sources]
        every = [Fit.of(settings | {"pair": its}, seed, None, None, None, where) for its in pairs]
        facts = [request.facts(source) for request, source in zip(every, sources, strict=True)]
        folders = [None if out is None else out / folder_of(layer) for layer in layers]
        warn_of_environment({to: existing_run(to, its) for to, its in zip(folders, facts, strict=True) if to})
        return [
            request.find(source, its, request.sinks(progress), to)
            for request, source, its, to in zip(every, sources, facts, folders, strict=True)
        ]


def _block(layer: int | str, pair: str) -> int:
    """Return a block, counted from 1; ValueError for the name of a place that dictionaries of the pair do not read."""
    block, place = located(layer, None)
    if place not in ((None, "residual") if pair == "sae" else (None, "mlp_input", "mlp_output")):
        raise ValueError(f"layers: {layer} is no place of a {pair}, which is {described(block, None, pair)}")
    return int(block)


def _layer_of(source: Stored) -> int:
    origin: Any = source.activations_made_by()
    if origin is None:
        raise ValueError(f"{source.path}: does not contain activations of a language model; write it by extract_layers")
    return Made.read(source.path, origin).source.layer


def _of_rows(
    request: Fit, rows: Sequence[Any], origin: dict[str, Any], progress: bool, folder: Path | None
) -> Dictionary:
    with stored(*rows) as source:
        facts = request.facts(source) | origin
        return request.find(source, facts, request.sinks(progress), folder)


def _require_disk(folder: Path, rows: int, width: int, sites: Mapping[int, Mapping[str, Site]]) -> None:
    needed = 2 * rows * width * sum(len(its) for its in sites.values())
    free = shutil.disk_usage(folder).free
    if needed > free:
        raise ValueError(
            f"{folder}: the activations of {len(sites)} layers need {needed / 1e9:.3g} GB until they are "
            f"trained on, but the disk has {free / 1e9:.3g} GB free; lower tokens, or take fewer layers at a time"
        )


def folder_of(layer: int) -> str:
    """Return the name of a layer's folder."""
    return f"layer_{layer}"
