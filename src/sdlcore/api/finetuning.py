"""Continue the training of a dictionary inside its language model, on the model's predictions."""

from collections.abc import Iterable, Mapping
from functools import partial
from pathlib import Path
from typing import Annotated, Any, Unpack

import numpy as np
import torch
from annotated_types import Ge, Le

from sdlcore.api.bars import bar
from sdlcore.api.dictionary import Dictionary
from sdlcore.api.fitting import made_by
from sdlcore.api.inside import Layer, where_in
from sdlcore.api.loading import load
from sdlcore.api.resume import Start
from sdlcore.api.run_folder import checkpointing, existing_run, remove_unfinished, run_folder, unfinished_run
from sdlcore.api.run_identity import READERS, warn_of_environment
from sdlcore.api.setting_types import FinetuneSettings
from sdlcore.data.memory import Arrays
from sdlcore.device import Device, device_of
from sdlcore.inside.behaviour import LanguageBehaviour, Objective, frozen
from sdlcore.inside.hooks import Place, read_and_write, sites_of
from sdlcore.inside.reader import DROP, Reader, reader_of
from sdlcore.random_streams import torch_stream
from sdlcore.run import RunConfig
from sdlcore.settings import AsGiven, Batch, checked
from sdlcore.sources.language.architectures import Paths, read_paths
from sdlcore.sources.language.forward import KEPT, RowKinds, activations
from sdlcore.sources.language.settings import Site, TextOptions
from sdlcore.training.history import Sink
from sdlcore.training.loop import Checkpointing, Earlier, train

SCALING_TOKENS = 2**13
"""Tokens that the scaling of activations is measured on, if the start does not contain it."""


def finetune(
    start: Dictionary | str | Path,
    lm: Any,
    texts: str | Path | Iterable[str],
    *,
    steps: int | None = None,
    objective: Objective = "kl",
    share: float = 0.5,
    layer: Layer | None = None,
    place: Place | None = None,
    paths: Paths | Mapping[str, str] | None = None,
    device: Device = "auto",
    progress: bool = True,
    out: str | Path | None = None,
    tokenizer: Any = None,
    context_length: int | None = None,
    contexts_per_batch: int = 8,
    bos: bool | None = None,
    drop: tuple[str, ...] = DROP,
    text_options: TextOptions | Mapping[str, Any] | None = None,
    **settings: Unpack[FinetuneSettings],
) -> Dictionary:
    """Continue the training of a dictionary inside its language model, so that the model's predictions change less.

    Each step runs the frozen model twice over a batch of contexts: as it is, and with the reconstruction in place of
    the activations. The divergence between the two predictions replaces a share of the reconstruction error in the
    loss; the other terms of the dictionary's loss stay. The number of active latents stays the same for activations
    that keep k; elsewhere the loss needs its penalty, as in `fit`.

    Parameters
    ----------
    start
        A dictionary, or its path. The folder of a `fit` that was called with ``keep_state``, or interrupted, also
        continues the optimiser, the counts of dead latents and the units of the activations. A dictionary in memory,
        a file or another folder contains only weights: Adam starts with fresh moments. The schedule of the learning
        rate goes on from the step that the training had reached, as if the training had been longer by ``steps``.
    lm
        A decoder-only transformers model, or its name, as in `extract`.
    texts
        As of `extract`. The contexts are read in order, and again from the first when the text ends.
    steps
        Number of further steps; None for the steps that a stopped or interrupted training has left.
    objective
        kl: the divergence KL(clean || spliced) of next-token predictions; cross_entropy: the loss of the spliced model
        on the text.
    share
        Share of the objective in the loss, from 0 to 1: 0.5 gives it the weight of the reconstruction error, 1 leaves
        the reconstruction error out, 0 continues on the reconstruction error alone.
    layer, place, paths
        Where the dictionary was fitted, as in `splice`.
    device
        Where a model is loaded to that is given by its name. The dictionary is trained on the model's device.
    progress
        Show a bar.
    out
        A folder for the dictionary, as in `fit`: the same call resumes an interrupted training, and opens a finished
        one.
    tokenizer, context_length, contexts_per_batch, bos, drop, text_options
        How the model reads the text, as in `contexts`. A step trains on the tokens of ``contexts_per_batch`` contexts.
        Tokens that ``drop`` names keep their activations.
    **settings
        Settings of the loss and the training that differ from the start's, such as ``lr``, ``l1`` or ``log_every``.

    Returns
    -------
    The dictionary. Its history contains the new steps, with ``kl`` and ``cross_entropy``.

    Raises
    ------
    ValueError
        If the dictionary is a crosscoder or has other dimensions than the model, a setting would change the model of
        the dictionary, or the text is too short for one context.
    SourceError
        If a text or a model cannot be read.
    DivergedError
        If the loss becomes infinite.
    """
    checked("share", Annotated[float, Ge(0), Le(1), AsGiven], share)
    checked("objective", Objective, objective)
    checked("contexts_per_batch", Batch, contexts_per_batch)
    opened_start = Start.of(start)
    config = opened_start.config(steps, settings)
    folder = None if out is None else run_folder(out)
    where = where_in(opened_start.dictionary, lm, layer, place)
    if config.model.pair == "sae":
        where["place"] = where["place"] or "residual"
    paths = read_paths(paths)
    reader = reader_of(
        lm, texts, device_of(device), tokenizer, context_length, contexts_per_batch, drop, text_options, paths, bos
    )
    opened_start.dictionary.coder.to(reader.stack.device)
    sites = sites_of(opened_start.dictionary.coder, reader.stack, **where)
    read_and_write(sites, config.model.pair)  # refuses a crosscoder before the model runs
    if next(reader.contexts(1), None) is None:
        raise reader.too_short()
    how = {
        "objective": objective,
        "share": share,
        "contexts_per_batch": contexts_per_batch,
        "from_step": opened_start.steps,
        "optimizer": "new" if opened_start.tensors is None else "continued",
        "start": opened_start.dictionary.provenance,
    }
    facts = made_by(config, opened_start.seed, reader.stack.device, READERS)
    facts["inputs"] = {"start": opened_start.digest()}
    facts |= {"activations": {"where": where, **reader.facts()}, "finetuned": how}
    sinks: list[Sink] = [partial(bar, config.training.steps)] if progress else []
    if folder is None:
        return _finetuned(opened_start, config, reader, sites, facts, sinks, None)
    run = existing_run(folder, facts)
    warn_of_environment({folder: run})
    if run is not None and run.is_finished:
        remove_unfinished(folder)
        return load(folder).to(reader.stack.device)
    with unfinished_run(folder) as rows:
        keep = checkpointing(folder, facts)
        dictionary = _finetuned(opened_start, config, reader, sites, dict(keep.facts), [*sinks, rows], keep)
        dictionary.save(folder)
    return dictionary


# even if a notebook has switched gradients off, as many that inspect models do
@torch.inference_mode(False)
@torch.enable_grad()
def _finetuned(
    start: Start,
    config: RunConfig,
    reader: Reader,
    sites: Mapping[str, Site],
    facts: dict[str, Any],
    sinks: list[Sink],
    checkpoints: Checkpointing | None,
) -> Dictionary:
    how, device = facts["finetuned"], reader.stack.device
    read, write = read_and_write(sites, config.model.pair)
    kinds = reader.kinds(sites)
    scaling = start.scaling(lambda: _first_tokens(reader, sites, kinds)).to(device)
    behaviour = LanguageBehaviour(
        reader, read, write, kinds, scaling, how["objective"], how["share"], first_step=start.steps
    )
    model = start.model(config.model, scaling).to(device)
    with frozen(reader.lm):
        rows = train(
            model,
            behaviour,
            config,
            torch_stream(start.seed, "resampling"),
            scaling,
            start.anchors(config),
            checkpointing=checkpoints,
            sinks=sinks,
            earlier=Earlier(start.steps, start.samples, start.tensors),
        )
    scaling.fold(model)
    return Dictionary(model, facts, rows, start.dictionary.anchors if config.loss.lambda_anchor else None)


def _first_tokens(reader: Reader, sites: Mapping[str, Site], kinds: RowKinds) -> Arrays:
    """Return the activations of the first tokens that are not dropped."""
    first = reader.contexts(reader.number(SCALING_TOKENS))
    parts: dict[str, list[np.ndarray]] = {name: [] for name in sites}
    for batch in activations(reader.stack, sites, first, reader.contexts_per_batch):
        row_mask = kinds.of(batch.tokens, batch.norms) == KEPT
        for name, values in batch.values.items():
            parts[name].append(values[row_mask])
    whole = {name: np.concatenate(arrays) for name, arrays in parts.items()}
    return Arrays(whole["input"], whole.get("target"))
