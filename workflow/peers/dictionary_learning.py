"""Train with dictionary_learning: call ``trainer.update(step, x)`` as its ``trainSAE`` does.

For ReLU this uses ``StandardTrainerAprilUpdate``, whose loss is the same as sdlcore's and SAELens'. All defaults are
the library's, except for numbers of steps (`peers.trainer.pace`). The library's learning rates are 2e-4 /
sqrt(n_q / 2^14) for TopK, BatchTopK and Matryoshka, 1e-3 for ReLU, 7e-5 for JumpReLU, 5e-5 for Gated.
"""

import sys
import types
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor

from peers.settings import PeerConfig
from peers.trainer import Note, pace
from sdlcore.interop.dictionary_learning import from_dictionary_learning

# dictionary_learning imports nnsight for its buffer of language-model activations, which is not used here. The version
# that it requires (< 0.4) has many old dependencies, so an empty module replaces it.
_nnsight = types.ModuleType("nnsight")
_nnsight.LanguageModel = object  # type: ignore[attr-defined]
sys.modules.setdefault("nnsight", _nnsight)

from dictionary_learning.trainers.batch_top_k import BatchTopKTrainer  # noqa: E402
from dictionary_learning.trainers.gdm import GatedSAETrainer  # noqa: E402
from dictionary_learning.trainers.jumprelu import JumpReluTrainer  # noqa: E402
from dictionary_learning.trainers.matryoshka_batch_top_k import MatryoshkaBatchTopKTrainer  # noqa: E402
from dictionary_learning.trainers.p_anneal import PAnnealTrainer  # noqa: E402
from dictionary_learning.trainers.standard import StandardTrainerAprilUpdate  # noqa: E402
from dictionary_learning.trainers.top_k import TopKTrainer  # noqa: E402

_CLASSES = {
    "topk": TopKTrainer,
    "batchtopk": BatchTopKTrainer,
    "matryoshka": MatryoshkaBatchTopKTrainer,
    "relu": StandardTrainerAprilUpdate,
    "jumprelu": JumpReluTrainer,
    "gated": GatedSAETrainer,
    "p_annealing": PAnnealTrainer,
}


def make_trainer(method: str, dimension: int, latents: int, **options: Any) -> Any:
    """Return a trainer with a newly initialised dictionary ``ae``, on the CPU.

    Parameters
    ----------
    method
        topk, batchtopk, matryoshka, relu, jumprelu, gated or p_annealing.
    dimension, latents
        Sizes of the dictionary.
    options
        Further arguments of the trainer, by its names.
    """
    # required arguments about a language model, without effect here
    nothing = {"layer": 0, "lm_name": "none"}
    return _CLASSES[method](activation_dim=dimension, dict_size=latents, device="cpu", **nothing, **options)


def group_fractions(prefixes: Sequence[int]) -> list[float]:
    """Return the share of all latents that each nested dictionary adds to the previous one."""
    return [(b - a) / prefixes[-1] for a, b in zip((0, *prefixes), prefixes, strict=False)]


def train(batches: Iterator[Tensor], dimension: int, config: PeerConfig, seed: int, note: Note) -> Any:
    """Train with dictionary_learning; see `peers.trainer.Train`."""
    torch.manual_seed(seed)  # the JumpReLU trainer ignores its seed
    thousand, two_thousand = pace(config.steps, 1000), pace(config.steps, 2000)
    options: dict[str, float | list[float]] = {"steps": config.steps, "warmup_steps": thousand, "seed": seed}
    if config.k is not None:
        memory = {"threshold_start_step": thousand, "threshold_beta": 1 - 1 / thousand}
        options |= {"k": config.k, **memory}
    else:
        options["sparsity_warmup_steps"] = two_thousand
    if config.prefixes:
        options["group_fractions"] = group_fractions(config.prefixes)
    optional_settings = {
        "lr": config.lr,
        "l1_penalty": config.l1,
        "sparsity_penalty": config.l0,
        "target_l0": config.target_l0,
    }
    options |= {name: value for name, value in optional_settings.items() if value is not None}
    trainer = make_trainer(config.method, dimension, config.n_q, **options)
    losses: list[Tensor] = []
    loss_of = trainer.loss

    def noted_loss(*args: Any, **kwargs: Any) -> Tensor:
        loss: Tensor = loss_of(*args, **kwargs)
        losses[:] = [loss.detach()]
        return loss

    trainer.loss = noted_loss  # not every update returns the loss
    for step, x in enumerate(batches):
        trainer.update(step, x)
        note(losses[0], lambda: convert(trainer.ae, config))
    return convert(trainer.ae, config)


def convert(ae: Any, config: PeerConfig) -> Any:
    """Convert a dictionary of dictionary_learning to a model, as `load_model` returns it."""
    return from_dictionary_learning(
        {name: tensor.detach() for name, tensor in ae.state_dict().items()}, type(ae).__name__
    )
