"""Train by dictionary_learning: call ``trainer.update(step, x)`` as its ``trainSAE`` does.

ReLU is ``StandardTrainerAprilUpdate``, whose loss is ours and SAELens'. All defaults are its own, but for counts of
steps (`sdlcore.baselines.trainer.pace`). Its learning rates are 2e-4 / sqrt(n_q / 2^14) of TopK and its kin, 1e-3 of
ReLU, 7e-5 of JumpReLU, 5e-5 of Gated.
"""

import sys
import types
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor

from sdlcore.baselines.settings import PeerConfig
from sdlcore.baselines.trainer import Note, pace
from sdlcore.interop.dictionary_learning import from_state
from sdlcore.model.coder import SparseCoder

# The package imports nnsight for its buffer of activations of language models, which is not used here; the version that
# it asks for (< 0.4) brings a large tree of old packages.
_nnsight = types.ModuleType("nnsight")
_nnsight.LanguageModel = object  # type: ignore[attr-defined]
sys.modules.setdefault("nnsight", _nnsight)

from dictionary_learning.trainers.batch_top_k import BatchTopKTrainer  # noqa: E402
from dictionary_learning.trainers.gdm import GatedSAETrainer  # noqa: E402
from dictionary_learning.trainers.jumprelu import JumpReluTrainer  # noqa: E402
from dictionary_learning.trainers.matryoshka_batch_top_k import MatryoshkaBatchTopKTrainer  # noqa: E402
from dictionary_learning.trainers.standard import StandardTrainerAprilUpdate  # noqa: E402
from dictionary_learning.trainers.top_k import TopKTrainer  # noqa: E402

_CLASSES = {
    "topk": TopKTrainer,
    "batchtopk": BatchTopKTrainer,
    "matryoshka": MatryoshkaBatchTopKTrainer,
    "relu": StandardTrainerAprilUpdate,
    "jumprelu": JumpReluTrainer,
    "gated": GatedSAETrainer,
}


def make_trainer(method: str, dimension: int, latents: int, **options: Any) -> Any:
    """Return a trainer with a freshly initialised dictionary ``ae``, on the CPU.

    Parameters
    ----------
    method
        topk, batchtopk, matryoshka, relu, jumprelu or gated.
    dimension, latents
        Sizes of the dictionary.
    options
        More of its arguments, in its names.
    """
    # of a language model, which its configuration asks for
    nothing = {"layer": 0, "lm_name": "none"}
    return _CLASSES[method](activation_dim=dimension, dict_size=latents, device="cpu", **nothing, **options)


def group_fractions(prefixes: Sequence[int]) -> list[float]:
    """Return the shares of all latents that nested dictionaries add, one after the other."""
    return [(b - a) / prefixes[-1] for a, b in zip((0, *prefixes), prefixes, strict=False)]


def train(batches: Iterator[Tensor], dimension: int, config: PeerConfig, seed: int, note: Note) -> SparseCoder:
    """Train by dictionary_learning; see `sdlcore.baselines.trainer.Train`."""
    torch.manual_seed(seed)  # JumpReLU does not read its seed
    thousand, two_thousand = pace(config.steps, 1000), pace(config.steps, 2000)
    options: dict[str, float | list[float]] = {"steps": config.steps, "warmup_steps": thousand, "seed": seed}
    if config.k is not None:
        memory = {"threshold_start_step": thousand, "threshold_beta": 1 - 1 / thousand}
        options |= {"k": config.k, **memory}
    else:
        options["sparsity_warmup_steps"] = two_thousand
    if config.prefixes:
        options["group_fractions"] = group_fractions(config.prefixes)
    own = {"lr": config.lr, "l1_penalty": config.l1, "sparsity_penalty": config.l0, "target_l0": config.target_l0}
    options |= {name: value for name, value in own.items() if value is not None}
    trainer = make_trainer(config.method, dimension, config.n_q, **options)
    losses: list[Tensor] = []
    loss_of = trainer.loss

    def noted_loss(*args: Any, **kwargs: Any) -> Tensor:
        loss: Tensor = loss_of(*args, **kwargs)
        losses[:] = [loss.detach()]
        return loss

    trainer.loss = noted_loss  # not every update returns it
    for step, x in enumerate(batches):
        trainer.update(step, x)
        note(losses[0], lambda: convert(trainer.ae, config))
    return convert(trainer.ae, config)


def convert(ae: Any, config: PeerConfig) -> SparseCoder:
    """Return a dictionary of dictionary_learning."""
    return from_state({name: tensor.detach() for name, tensor in ae.state_dict().items()}, type(ae).__name__)
