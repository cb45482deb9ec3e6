"""Train with SAELens: ``SAETrainer.fit`` on a ``TrainingSAE``.

All defaults are the library's, including the learning rate of 3e-4, except for numbers of steps
(`peers.trainer.pace`). TopK, BatchTopK and Matryoshka rescale latents by decoder norms. For inference,
BatchTopK uses a threshold that is updated during training.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from sae_lens import (
    AbsTopKTrainingSAE,
    AbsTopKTrainingSAEConfig,
    BatchTopKTrainingSAE,
    BatchTopKTrainingSAEConfig,
    GatedTrainingSAE,
    GatedTrainingSAEConfig,
    JumpReLUTrainingSAE,
    JumpReLUTrainingSAEConfig,
    MatchingPursuitTrainingSAE,
    MatchingPursuitTrainingSAEConfig,
    MatryoshkaBatchTopKTrainingSAE,
    MatryoshkaBatchTopKTrainingSAEConfig,
    SAETrainer,
    StandardTrainingSAE,
    StandardTrainingSAEConfig,
    TopKTrainingSAE,
    TopKTrainingSAEConfig,
)
from sae_lens.config import SAETrainerConfig
from torch import Tensor

from peers.settings import PeerConfig
from peers.trainer import Note, pace
from sdlcore.interop.saelens import read_state

_CLASSES = {
    "topk": (TopKTrainingSAE, TopKTrainingSAEConfig),
    "batchtopk": (BatchTopKTrainingSAE, BatchTopKTrainingSAEConfig),
    "matryoshka": (MatryoshkaBatchTopKTrainingSAE, MatryoshkaBatchTopKTrainingSAEConfig),
    "relu": (StandardTrainingSAE, StandardTrainingSAEConfig),
    "jumprelu": (JumpReLUTrainingSAE, JumpReLUTrainingSAEConfig),
    "gated": (GatedTrainingSAE, GatedTrainingSAEConfig),
    "abstopk": (AbsTopKTrainingSAE, AbsTopKTrainingSAEConfig),
    "matching_pursuit": (MatchingPursuitTrainingSAE, MatchingPursuitTrainingSAEConfig),
}


def make_sae(method: str, dimension: int, latents: int, **options: Any) -> Any:
    """Return a newly initialised ``TrainingSAE``, float32, on the CPU.

    Parameters
    ----------
    method
        topk, batchtopk, matryoshka, relu, jumprelu, gated, abstopk or matching_pursuit.
    dimension, latents
        Sizes of the dictionary.
    options
        Further settings, in SAELens' names.
    """
    model, config = _CLASSES[method]
    return model(config(d_in=dimension, d_sae=latents, device="cpu", dtype="float32", **options))


def train(batches: Iterator[Tensor], dimension: int, config: PeerConfig, seed: int, note: Note) -> Any:
    """Train with SAELens; see `peers.trainer.Train`."""
    torch.manual_seed(seed)
    options: dict[str, float | list[int]] = {}
    if config.k is not None:
        options["k"] = config.k
    if config.activation == "batchtopk":
        options["topk_threshold_lr"] = 1 / pace(config.steps, 100)
    if config.prefixes:
        options["matryoshka_widths"] = list(config.prefixes)
    for name, weight in (("l1_coefficient", config.l1), ("l0_coefficient", config.l0)):
        if weight is not None:
            options[name] = weight
    sae = make_sae(config.method, dimension, config.n_q, **options)
    lr = {} if config.lr is None else {"lr": config.lr}
    trainer = _Noted(
        SAETrainerConfig(
            total_training_samples=config.steps * config.batch_size,
            train_batch_size_samples=config.batch_size,
            # no effect, since the schedule is constant
            lr_end=0.0,
            **lr,
        ),
        sae,
        data_provider=batches,
    )
    trainer.note = lambda loss: note(loss, lambda: convert(sae, config))
    trainer.fit()
    return convert(sae, config)


class _Noted(SAETrainer):
    """SAELens' trainer with a callback after each step."""

    note: Any

    def step(self, batch: Tensor) -> Any:
        output = super().step(batch)
        self.note(output.loss.detach())
        return output


def convert(sae: Any, config: PeerConfig) -> Any:
    """Convert a ``TrainingSAE`` to a model, as `load_model` returns it, as SAELens would save it for inference."""
    return read_state(Path("SAELens' training"), sae.cfg.to_dict(), sae.state_dict())
