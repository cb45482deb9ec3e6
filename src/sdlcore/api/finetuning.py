"""Continue the training of a dictionary inside its language model, on the model's predictions."""

import copy
import warnings
from collections.abc import Iterable, Mapping
from functools import partial
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import numpy as np
import torch
from annotated_types import Ge, Le

from sdlcore.api.bars import bar
from sdlcore.api.dictionary import Dictionary, load
from sdlcore.api.fitting import made_by
from sdlcore.api.inside import Layer, where_in
from sdlcore.api.run_folder import (
    CHECKPOINT,
    HISTORY_PART,
    STATE,
    alone,
    checkpointing,
    existing_run,
    remove_unfinished,
    run_folder,
)
from sdlcore.api.run_identity import READERS, warn_of_environment
from sdlcore.api.sources import digest_of_arrays
from sdlcore.data.memory import Arrays
from sdlcore.device import Device, device_of
from sdlcore.inside.behaviour import LanguageBehaviour, Objective, frozen
from sdlcore.inside.hooks import Place, read_and_write, sites_of
from sdlcore.inside.reader import DROP, Reader, reader_of
from sdlcore.model.coder import SparseCoder
from sdlcore.plugins.plugin_settings import own_settings
from sdlcore.random_streams import torch_stream
from sdlcore.run import ModelConfig, RunConfig
from sdlcore.settings import AsGiven, Batch, Total, checked
from sdlcore.sources.language.architectures import Paths, read_paths
from sdlcore.sources.language.forward import KEPT, RowKinds, activations
from sdlcore.sources.language.settings import Site, TextOptions
from sdlcore.storage.paths import user_path
from sdlcore.training.checkpoint import describe_checkpoint, load_checkpoint
from sdlcore.training.history import Sink, csv_rows
from sdlcore.training.loop import Checkpointing, Earlier, train
from sdlcore.training.normalisation import Normalisation, Scaling, fit, no_scaling, scaling_from

SCALING_TOKENS = 2**13
"""Tokens that a scaling is measured on where the start keeps none."""


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
    drop: tuple[str, ...] = DROP,
    text_options: TextOptions | None = None,
    **settings: Any,
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
        A decoder-only transformers model, a folder with one, or its name at the hub.
    texts
        Documents; or a file, a folder or ``dataset:OWNER/NAME``. The contexts are read in order, and again from the
        first when the text ends.
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
    tokenizer, context_length, contexts_per_batch, drop, text_options
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
    begun = _Start.of(start)
    config = begun.config(steps, settings)
    folder = None if out is None else run_folder(out)
    where = where_in(begun.dictionary, lm, layer, place)
    if config.model.pair == "sae":
        where["place"] = where["place"] or "residual"
    own = read_paths(paths)
    reader = reader_of(
        lm, texts, device_of(device), tokenizer, context_length, contexts_per_batch, drop, text_options, own
    )
    begun.dictionary.coder.to(reader.stack.device)
    sites = sites_of(begun.dictionary.coder, reader.stack, **where)
    read_and_write(sites, config.model.pair)  # refuses a crosscoder before the model runs
    if next(reader.contexts(1), None) is None:
        raise reader.too_short()
    how = {
        "objective": objective,
        "share": share,
        "contexts_per_batch": contexts_per_batch,
        "from_step": begun.steps,
        "optimizer": "new" if begun.tensors is None else "continued",
        "start": begun.dictionary.provenance,
    }
    facts = made_by(config, begun.seed, reader.stack.device, READERS)
    facts["inputs"] = {"start": begun.digest()}
    facts |= {"activations": {"where": where, **reader.facts()}, "finetuned": how}
    sinks: list[Sink] = [partial(bar, config.training.steps)] if progress else []
    if folder is None:
        return _finetuned(begun, config, reader, sites, facts, sinks, None)
    found = existing_run(folder, facts)
    warn_of_environment({folder: found})
    if found is not None and found.is_finished:
        remove_unfinished(folder)
        return load(folder).to(reader.stack.device)
    with alone(folder):
        keep = checkpointing(folder, facts)
        sinks.append(partial(csv_rows, folder / HISTORY_PART))
        made = _finetuned(begun, config, reader, sites, dict(keep.facts), sinks, keep)
        made.save(folder)
        remove_unfinished(folder)
    return made


# even if a notebook has switched gradients off, as many that inspect models do
@torch.inference_mode(False)
@torch.enable_grad()
def _finetuned(
    begun: "_Start",
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
    scaling = begun.scaling(reader, sites, kinds).to(device)
    behaviour = LanguageBehaviour(
        reader, read, write, kinds, scaling, how["objective"], how["share"], first_step=begun.steps
    )
    model = begun.model(config.model, scaling).to(device)
    anchors = begun.dictionary.anchors if config.loss.lambda_anchor else None
    with frozen(reader.lm):
        rows = train(
            model,
            behaviour,
            config,
            torch_stream(begun.seed, "resampling"),
            scaling,
            None if anchors is None else (torch.from_numpy(anchors.w_p), torch.from_numpy(anchors.w_r)),
            checkpointing=checkpoints,
            sinks=sinks,
            earlier=Earlier(begun.steps, begun.samples, begun.tensors),
        )
    scaling.fold(model)
    return Dictionary(model, facts, rows, anchors)


class _Start(NamedTuple):
    """A dictionary to continue, and the state of its training if that is known."""

    dictionary: Dictionary
    """In evaluation mode, for raw activations."""
    settings: dict[str, Any]
    """Settings of its training; those of its model, if it was not trained here."""
    steps: int
    samples: int
    tensors: dict[str, torch.Tensor] | None
    """The state in a checkpoint; None if only weights are known."""

    @property
    def seed(self) -> int:
        return int(self.dictionary.provenance.get("seed") or 0)

    @classmethod
    def of(cls, start: Dictionary | str | Path) -> "_Start":
        """Open what `finetune` is given as its start."""
        if isinstance(start, Dictionary):
            coder = copy.deepcopy(start.coder)
            return cls._of_weights(Dictionary(coder, start.provenance, start.history, start.anchors))
        if not isinstance(start, str | Path):
            raise ValueError(f"start is a {type(start).__name__}, expected what sdl.fit or sdl.load returns, or a path")
        path = user_path(start, "start")
        if (path / STATE).is_file():
            return cls._of_state(path / STATE, load(path))
        if (path / CHECKPOINT).is_file():
            return cls._of_state(path / CHECKPOINT, None)
        found = cls._of_weights(load(path))
        if "settings" in found.dictionary.provenance:
            said = "contains no state of the optimiser, so Adam starts with fresh moments"
            warnings.warn(f"{path}: {said}; sdl.fit(..., keep_state=True) keeps it", stacklevel=3)
        return found

    @classmethod
    def _of_weights(cls, dictionary: Dictionary) -> "_Start":
        made = dictionary.provenance.get("settings")
        if not isinstance(made, dict) or "solver" in made:
            made = {}
        settings = dictionary.coder.config.to_dict()
        if settings.pop("pursuit"):
            raise ValueError("start computes its latents by a pursuit, through which no gradient passes")
        known = {*RunConfig().to_dict(), *(own_settings("loss term") if made else {})}
        settings = {name: value for name, value in made.items() if name in known} | settings
        steps = int(settings.get("steps", 0))
        if steps and dictionary.history:
            steps = int(dictionary.history[-1]["step"])  # fewer, if a callback stopped the training
        return cls(dictionary, settings, steps, 0, None)

    @classmethod
    def _of_state(cls, path: Path, finished: Dictionary | None) -> "_Start":
        described = describe_checkpoint(path)
        if described is None or not described.facts:
            raise ValueError(
                f"{path}: is damaged, or was written by a pipeline or an earlier version, without settings; give the "
                "finished dictionary (sdl.load) instead"
            )
        facts = described.facts
        for part in ("optimizer", "schedule"):
            if part in facts:
                raise ValueError(
                    f"{path}: belongs to a training with its own {part}, which finetune cannot continue; give the "
                    "finished dictionary (sdl.load) instead, for which Adam starts anew"
                )
        found = load_checkpoint(path, described.identity)
        assert found is not None, "described just before"
        try:
            scaling, samples = scaling_from(found.tensors), int(found.tensors["samples"])
        except LookupError as error:
            raise ValueError(
                f"{path}: was written by an earlier version of sdlcore, without {error}; give the finished dictionary "
                "(sdl.load) instead"
            ) from error
        config = RunConfig.from_dict(facts["settings"])
        weights = {name.removeprefix("model/"): t for name, t in found.tensors.items() if name.startswith("model/")}
        weights = {"W_dec": weights["W_enc"], **weights}
        sites = _sites_of(weights, config, finished)
        coder = SparseCoder(config.model, *sites)
        coder.load_state_dict(weights)
        scaling.fold(coder)
        if finished is not None and not torch.equal(coder.W_enc, finished.coder.W_enc):
            raise ValueError(
                f"{path}: is the state of another dictionary than the one in this folder; remove the file to continue "
                "from the weights alone"
            )
        dictionary = finished or Dictionary(coder, facts, found.history)
        return cls(dictionary, dict(facts["settings"]), found.step, samples, found.tensors)

    def config(self, steps: int | None, settings: Mapping[str, Any]) -> RunConfig:
        """Return the settings of the training that continues this one.

        Raises
        ------
        ValueError
            For settings of the model, for steps that are missing, and for anchors that are not known.
        """
        if fixed := sorted(settings.keys() & {*ModelConfig.model_fields, *self.dictionary.coder.config.own}):
            raise ValueError(f"{fixed[0]} belongs to the dictionary, which finetune continues; leave it out")
        if unused := sorted(settings.keys() & {"batch_size", "accumulate", "normalise", "whiten"}):
            said = "contexts_per_batch determines the batch, and the start its units"
            raise ValueError(f"{unused[0]} has no meaning for finetune: {said}; leave it out")
        left = int(self.settings.get("steps", 0)) - self.steps
        if steps is None and left < 1:
            raise ValueError("steps is missing: the start's training is finished, so give the number of further steps")
        further = left if steps is None else checked("steps", Total, steps)
        common = {"steps": self.steps + further, "accumulate": 1}
        config = RunConfig.from_dict({"normalise": True, **self.settings, **settings, **common})
        if config.loss.anchor_cosine is not None:
            raise ValueError(
                "anchor_cosine chooses a weight by trial trainings; give anchor_cosine=None and lambda_anchor"
            )
        if config.loss.lambda_anchor and self.dictionary.anchors is None:
            raise ValueError(
                "the start does not contain its anchors, as folders of finished trainings do; give lambda_anchor=0"
            )
        if not (config.model.selects or config.loss.penalised):
            said = f"activation {config.model.activation} without a penalty in the loss does not keep its L0"
            warnings.warn(f"{said}; give l1, or l0 for jumprelu", stacklevel=3)
        return config

    def digest(self) -> str:
        """Return a digest of the weights, and of the state if it is known."""
        parts = [*self.dictionary.coder.state_dict().values()]
        parts += [tensor for _, tensor in sorted((self.tensors or {}).items())]
        return digest_of_arrays(*(np.atleast_1d(part.detach().cpu().numpy()) for part in parts))

    def scaling(self, reader: Reader, sites: Mapping[str, Site], kinds: RowKinds) -> Scaling:
        """Return the scaling of the training, or one that gives activations the same size, from the first tokens."""
        coder = self.dictionary.coder
        if self.tensors is not None:
            return scaling_from(self.tensors)
        if self.settings.get("whiten"):
            raise ValueError(
                "the start was trained with whiten, and its weights alone do not tell the units; train it with "
                "keep_state, and give its folder"
            )
        if not self.settings.get("normalise", True):
            return no_scaling(coder.W_enc.shape[1], coder.W_dec.shape[1])
        found = fit(_first_tokens(reader, sites, kinds), coder.config.pair)
        W_enc, W_dec = coder.W_enc.detach().double(), coder.W_dec.detach().double()
        # folding divides decoder rows by the scale and multiplies encoder rows with it, so some weights tell the scale
        if coder.config.tied:
            scale = float((W_enc.norm() / W_dec.norm()).sqrt())
        elif coder.config.decoder_norm == "unit":
            scale = float(1 / W_dec.norm(dim=1).mean())
        else:
            return found
        scale_r = torch.full_like(found.scale_r, scale)
        return found._replace(scale_r=scale_r, scale_p=scale_r if coder.config.pair == "sae" else found.scale_p)

    def model(self, config: ModelConfig, scaling: Scaling) -> SparseCoder:
        """Return the model to train, in the units of a scaling."""
        coder = self.dictionary.coder
        # drawn, because tied and frozen weights are set up with the draw; all numbers are replaced
        model = SparseCoder(config, coder.input_sites, coder.target_sites, torch_stream(self.seed, "initialisation"))
        if self.tensors is None:  # otherwise the training restores the weights
            assert isinstance(scaling, Normalisation)
            raw = copy.deepcopy(coder)
            scaling.to(raw.W_enc.device).unfold(raw)
            model.load_state_dict(raw.state_dict())
        return model


def _sites_of(
    weights: Mapping[str, torch.Tensor], config: RunConfig, finished: Dictionary | None
) -> tuple[tuple[int, ...], tuple[int, ...]]:
    if finished is not None:
        return finished.coder.input_sites, finished.coder.target_sites
    return (weights["W_enc"].shape[1],), (weights["W_dec"].shape[1],)


def _first_tokens(reader: Reader, sites: Mapping[str, Site], kinds: RowKinds) -> Arrays:
    """Return the activations of the first tokens that are not dropped."""
    first = reader.contexts(reader.number(SCALING_TOKENS))
    parts: dict[str, list[np.ndarray]] = {name: [] for name in sites}
    for batch in activations(reader.stack, sites, first, reader.contexts_per_batch):
        kept = kinds.of(batch.tokens, batch.norms) == KEPT
        for name, values in batch.values.items():
            parts[name].append(values[kept])
    whole = {name: np.concatenate(found) for name, found in parts.items()}
    return Arrays(whole["input"], whole.get("target"))
