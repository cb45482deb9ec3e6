"""Open a dictionary whose training is to be continued, with the state of its optimiser if that was kept."""

import copy
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple, get_args

import numpy as np
import torch
from torch import Tensor

from sdlcore.api.checking import warn_of_unused
from sdlcore.api.coder import settings_of_training
from sdlcore.api.dictionary import Dictionary
from sdlcore.api.loading import load
from sdlcore.api.run_folder import CHECKPOINT, STATE
from sdlcore.api.sources import digest_of_arrays
from sdlcore.data.batches import Readable
from sdlcore.data.pairs import make_direction_pair
from sdlcore.model.coder import SparseCoder
from sdlcore.plugins.plugin_settings import own_settings
from sdlcore.random_streams import torch_stream
from sdlcore.run import ModelConfig, RunConfig, Searched
from sdlcore.settings import Total, checked
from sdlcore.storage.paths import user_path
from sdlcore.training.checkpoint import describe_checkpoint, load_checkpoint
from sdlcore.training.normalisation import Normalisation, Scaling, fit_normalisation, no_scaling, scaling_from
from sdlcore.user_warnings import warn_at_call


class Start(NamedTuple):
    """A dictionary to continue, and the state of its training if that is known."""

    dictionary: Dictionary
    """In evaluation mode, for raw activations."""
    settings: dict[str, Any]
    """Settings of its training; only the model's settings, if it was not trained here."""
    steps: int
    """Number of completed steps of its training; 0 if unknown."""
    samples: int
    """Number of samples that these steps saw; 0 if only weights are known."""
    tensors: dict[str, Tensor] | None
    """The state in a checkpoint; None if only weights are known."""

    @property
    def seed(self) -> int:
        return int(self.dictionary.provenance.get("seed") or 0)

    @classmethod
    def of(cls, start: Dictionary | str | Path) -> "Start":
        """Open what `finetune` is given as its start.

        Raises
        ------
        ValueError
            If it is something else or damaged, has codes by a search or a pursuit, was trained with archetypes, or
            keeps the state of an optimiser or schedule of the user's own.
        """
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
        opened_start = cls._of_weights(load(path))
        if "settings" in opened_start.dictionary.provenance:
            message = "contains no state of the optimiser, so Adam starts with fresh moments"
            warn_at_call(f"{path}: {message}; sdl.fit(..., keep_state=True) keeps it")
        return opened_start

    @classmethod
    def _of_weights(cls, dictionary: Dictionary) -> "Start":
        training_settings = settings_of_training(dictionary.provenance)
        settings: dict[str, Any] = dictionary.coder.config.to_dict()
        if settings.pop("pursuit"):
            raise ValueError("start computes its latents by a pursuit, through which no gradient passes")
        if settings["activation"] in get_args(Searched):
            raise ValueError(f"start has codes by search ({settings['activation']}), through which no gradient passes")
        _refuse_archetypes(settings)
        names = {*RunConfig().to_dict(), *(own_settings("loss term") if training_settings else {})}
        settings = {name: value for name, value in training_settings.items() if name in names} | settings
        steps = int(settings.get("steps", 0))
        if steps and dictionary.history:
            steps = int(dictionary.history[-1]["step"])  # fewer, if a callback stopped the training
        return cls(dictionary, settings, steps, 0, None)

    @classmethod
    def _of_state(cls, path: Path, finished: Dictionary | None) -> "Start":
        description = describe_checkpoint(path)
        if description is None or "settings" not in description.facts:
            raise ValueError(f"{path}: is damaged; give the finished dictionary (sdl.load) instead")
        facts = description.facts
        for part in ("optimizer", "schedule"):
            if part in facts:
                raise ValueError(
                    f"{path}: belongs to a training with its own {part}, which finetune cannot continue; give the "
                    "finished dictionary (sdl.load) instead, which continues with fresh moments of Adam"
                )
        _refuse_archetypes(facts["settings"])
        checkpoint = load_checkpoint(path, description.identity)
        assert checkpoint is not None, "described just before"
        scaling, samples = scaling_from(checkpoint.tensors), int(checkpoint.tensors["samples"])
        weights = {
            name.removeprefix("model/"): t for name, t in checkpoint.tensors.items() if name.startswith("model/")
        }
        weights = {"W_dec": weights["W_enc"], **weights}
        sites: tuple[Any, Any] = ((weights["W_enc"].shape[1],), (weights["W_dec"].shape[1],))
        if finished is not None:
            sites = finished.coder.input_sites, finished.coder.target_sites
        coder = SparseCoder(RunConfig.from_dict(facts["settings"]).model, *sites)
        coder.load_state_dict(weights)
        scaling.fold(coder)
        # not equal to the bit, if the scaling was folded on a GPU
        if finished is not None and not torch.allclose(coder.W_enc, finished.coder.W_enc, rtol=1e-3, atol=1e-6):
            raise ValueError(
                f"{path}: is the state of another dictionary than the one in this folder; remove the file to continue "
                "from the weights alone"
            )
        dictionary = finished or Dictionary(coder, facts, checkpoint.history)
        return cls(dictionary, dict(facts["settings"]), checkpoint.step, samples, checkpoint.tensors)

    def config(self, steps: int | None, settings: Mapping[str, Any]) -> RunConfig:
        """Return the settings of the training that continues this one.

        Raises
        ------
        ValueError
            For settings of the model, for contrast, for steps that are missing, and for anchors that are not known.
        """
        of_plugin = self.dictionary.coder.config.settings_of_plugin
        if fixed := sorted(settings.keys() & {*ModelConfig.model_fields, *of_plugin}):
            raise ValueError(f"{fixed[0]} belongs to the dictionary, which finetune continues; leave it out")
        if unused := sorted(settings.keys() & {"batch_size", "accumulate", "normalise", "whiten"}):
            message = "contexts_per_batch determines the batch, and the start its units"
            raise ValueError(f"{unused[0]} has no meaning for finetune: {message}; leave it out")
        remaining_steps = int(self.settings.get("steps", 0)) - self.steps
        if steps is None and remaining_steps < 1:
            raise ValueError("steps is missing: the start's training is finished, so give the number of further steps")
        further = remaining_steps if steps is None else checked("steps", Total, steps)
        common = {"steps": self.steps + further, "accumulate": 1}
        config = RunConfig.from_dict({"normalise": True, **self.settings, **settings, **common})
        if config.loss.anchor_cosine is not None:
            raise ValueError(
                "anchor_cosine chooses a weight by trial trainings; give anchor_cosine=None and lambda_anchor"
            )
        if config.loss.contrast:
            raise ValueError(
                "contrast compares pairs of neighbouring tokens, which finetune does not form; give contrast=0"
            )
        if config.loss.lambda_anchor and self.dictionary.anchors is None:
            raise ValueError(
                "the start does not contain its anchors, as folders of finished trainings do; give lambda_anchor=0"
            )
        warn_of_unused(config, settings)
        if not (config.model.selects or config.loss.penalised):
            message = f"activation {config.model.activation} without a penalty in the loss does not keep its L0"
            warn_at_call(f"{message}; give l1, or l0 for jumprelu")
        return config

    def anchors(self, config: RunConfig) -> tuple[Tensor, Tensor] | None:
        """Return the directions that the first latents stay anchored to; None without ``lambda_anchor``."""
        anchors = self.dictionary.anchors
        if not config.loss.lambda_anchor or anchors is None:
            return None
        w_p, w_r = make_direction_pair(config.model.pair, *anchors.sites)
        return torch.from_numpy(w_p), torch.from_numpy(w_r)

    def digest(self) -> str:
        """Return a digest of the weights, and of the state if it is known."""
        parts = [*self.dictionary.coder.state_dict().values()]
        parts += [tensor for _, tensor in sorted((self.tensors or {}).items())]
        return digest_of_arrays(*(np.atleast_1d(part.detach().cpu().numpy()) for part in parts))

    def scaling(self, sample: Callable[[], Readable]) -> Scaling:
        """Return the scaling of the training; if it is not known, a scaling to the same size.

        ``sample`` returns activations; it is called if the scaling is not known. ValueError if an unknown scaling was a
        whitening, which weights do not determine.
        """
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
        scaling = fit_normalisation(sample(), coder.config.pair)
        W_enc, W_dec = coder.W_enc.detach().double(), coder.W_dec.detach().double()
        # folding divides decoder rows by the scale and multiplies encoder rows with it, so some weights tell the scale
        if coder.config.tied:
            scale = float((W_enc.norm() / W_dec.norm()).sqrt())
        elif coder.config.decoder_norm == "unit":
            scale = float(1 / W_dec.norm(dim=1).mean())
        else:
            return scaling
        scale_r = torch.full_like(scaling.scale_r, scale)
        return scaling._replace(scale_r=scale_r, scale_p=scale_r if coder.config.pair == "sae" else scaling.scale_p)

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


def _refuse_archetypes(settings: Mapping[str, Any]) -> None:
    if settings.get("archetypes") is not None:
        raise ValueError(
            "start computes its decoder rows from archetypes, which finetune would not keep; give a dictionary that "
            "was trained without archetypes"
        )
