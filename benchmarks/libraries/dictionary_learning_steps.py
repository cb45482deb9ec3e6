"""dictionary_learning: ``trainer.update(step, x)``, as ``trainSAE`` calls it.

A step is: dense encode, sigma, dense decode, loss; backward; removal of the gradient along the decoder's directions;
gradient clipping to 1; Adam; the scheduler; normalisation of the decoder. ReLU is ``StandardTrainerAprilUpdate``, whose
loss is ours and SAELens' (an L1 weighted by decoder norms, a free decoder, clipping) and which is no slower than
``StandardTrainer`` with its constrained Adam; Gated is ``GatedSAETrainer``, which constrains and does not clip.

Steps are counted from 1 where weights are given, since step 0 sets the decoder's bias; before step 1000, TopK and its
kin do not yet follow their inference threshold, which makes these steps a little cheaper than most of a long training.
"""

import sys
import types
from typing import Any

import torch
from torch import Tensor

from benchmarks.cases import Setting
from benchmarks.libraries import State, Trainee, active, fill

# The package imports nnsight for its buffer of activations of language models, which is not used here; the version that
# it asks for (< 0.4) brings a large tree of old packages.
_nnsight = types.ModuleType("nnsight")
_nnsight.LanguageModel = object  # type: ignore[attr-defined]
sys.modules.setdefault("nnsight", _nnsight)

from dictionary_learning.trainers.batch_top_k import BatchTopKTrainer  # type: ignore[import-not-found]  # noqa: E402
from dictionary_learning.trainers.gdm import GatedSAETrainer  # type: ignore[import-not-found]  # noqa: E402
from dictionary_learning.trainers.jumprelu import JumpReluTrainer  # type: ignore[import-not-found]  # noqa: E402
from dictionary_learning.trainers.matryoshka_batch_top_k import (  # type: ignore[import-not-found]  # noqa: E402
    MatryoshkaBatchTopKTrainer,
)
from dictionary_learning.trainers.standard import (  # type: ignore[import-not-found]  # noqa: E402
    StandardTrainerAprilUpdate,
)
from dictionary_learning.trainers.top_k import TopKTrainer  # type: ignore[import-not-found]  # noqa: E402

STEPS = 100_000
"""A training that is longer than any here, so that no schedule comes to its end."""

_ROWS = {"W_enc": "encoder.weight", "W_dec": "decoder.weight", "b_enc": "encoder.bias"}
_NAMES = {
    "topk": {**_ROWS, "b_dec": "b_dec"},
    "batchtopk": {**_ROWS, "b_dec": "b_dec"},
    "relu": {**_ROWS, "b_dec": "bias"},
    "gated": {
        "W_enc": "encoder.weight",
        "W_dec": "decoder.weight",
        "b_dec": "decoder_bias",
        "b_gate": "gate_bias",
        "b_mag": "mag_bias",
        "r_mag": "r_mag",
    },
}
"""Its names for our tensors, where they differ."""


def make(setting: Setting, weights: State | None) -> Trainee:
    torch.manual_seed(setting.seed)
    return _DictionaryLearning(setting, weights)


class _DictionaryLearning:
    def __init__(self, setting: Setting, weights: State | None) -> None:
        self.trainer = _trainer(setting)
        # at step 0 TopK and its kin set the decoder's bias to the batch's geometric median
        self.done = 0
        # whether a latent is active shows in training only, elsewhere BatchTopK has a threshold
        self.selects = {"use_threshold": False} if setting.method in ("topk", "batchtopk", "matryoshka") else {}
        if weights is not None:
            names = _NAMES.get(setting.method, {})
            fill(self.trainer.ae, {names.get(name, name): tensor for name, tensor in weights.items()})
            self.done = 1

    def step(self, x: Tensor) -> None:
        self.trainer.update(self.done, x)
        self.done += 1

    @torch.no_grad()
    def l0(self, x: Tensor) -> float:
        return active(self.trainer.ae.encode(x, **self.selects))

    def decoder(self) -> Tensor:
        decoder = self.trainer.ae.decoder.weight.T if hasattr(self.trainer.ae, "decoder") else self.trainer.ae.W_dec
        return decoder.detach()


def _trainer(setting: Setting) -> Any:
    common = {
        "steps": STEPS,
        "activation_dim": setting.dimension,
        "dict_size": setting.latents,
        "layer": 0,
        "lm_name": "none",
        "lr": setting.lr,
        "warmup_steps": setting.warmup,
        "device": "cpu",
        "seed": setting.seed,
    }
    # no warm-up of the penalty: a weight of zero is no training that anyone wants timed
    penalised = {**common, "sparsity_warmup_steps": None}
    if setting.method == "topk":
        return TopKTrainer(**common, k=setting.k)
    if setting.method == "batchtopk":
        return BatchTopKTrainer(**common, k=setting.k)
    if setting.method == "matryoshka":
        sizes = [b - a for a, b in zip((0, *setting.prefixes), setting.prefixes, strict=False)]
        fractions = [size / setting.latents for size in sizes]
        return MatryoshkaBatchTopKTrainer(**common, k=setting.k, group_fractions=fractions)
    if setting.method == "relu":
        return StandardTrainerAprilUpdate(**penalised)
    if setting.method == "jumprelu":
        return JumpReluTrainer(**penalised)
    if setting.method == "gated":
        return GatedSAETrainer(**penalised)
    raise ValueError(f"dictionary_learning has no method {setting.method}")
