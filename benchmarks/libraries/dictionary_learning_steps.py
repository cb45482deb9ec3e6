"""dictionary_learning: ``trainer.update(step, x)``, as ``trainSAE`` calls it.

A step is: dense encode, sigma, dense decode, loss; backward; removal of the gradient along the decoder's directions;
gradient clipping to 1; Adam; the scheduler; normalisation of the decoder. ReLU is ``StandardTrainerAprilUpdate``. Its
loss equals ours and SAELens' (L1 weighted by decoder norms, a free decoder, clipping), and it is no slower than
``StandardTrainer`` with its constrained Adam. Gated is ``GatedSAETrainer``, which constrains and does not clip.

With given weights, steps are counted from 1, because step 0 sets the decoder's bias. Before step 1000, TopK and its
variants do not yet update their inference threshold, so these steps are a little cheaper than most of a long training.
"""

from typing import Any

import torch
from torch import Tensor

from benchmarks.cases import WITHOUT_K, Setting
from benchmarks.libraries import State, Trainee, active, fill
from peers.dictionary_learning import group_fractions, make_trainer

STEPS = 100_000
"""Length of a training that is longer than any here, so that no schedule ends."""

_ROWS = {"W_enc": "encoder.weight", "W_dec": "decoder.weight", "b_enc": "encoder.bias"}
_NAMES = {
    "topk": {**_ROWS, "b_dec": "b_dec"},
    "batchtopk": {**_ROWS, "b_dec": "b_dec"},
    "relu": {**_ROWS, "b_dec": "bias"},
    "p_annealing": {**_ROWS, "b_dec": "bias"},
    "gated": {
        "W_enc": "encoder.weight",
        "W_dec": "decoder.weight",
        "b_dec": "decoder_bias",
        "b_gate": "gate_bias",
        "b_mag": "mag_bias",
        "r_mag": "r_mag",
    },
}
"""dictionary_learning's names of our tensors, if they differ."""


def make(setting: Setting, weights: State | None) -> Trainee:
    torch.manual_seed(setting.seed)
    return _DictionaryLearning(setting, weights)


class _DictionaryLearning:
    def __init__(self, setting: Setting, weights: State | None) -> None:
        self.trainer = _trainer(setting)
        if setting.device != "cpu":
            _move(self.trainer, setting.device)
        # at step 0, TopK and its variants set the decoder's bias to the batch's geometric median
        self.done = 0
        # select as in training; otherwise BatchTopK would use its inference threshold
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


def _move(trainer: Any, device: str) -> None:
    """Move a trainer to a device. Its optimiser keeps the same parameter objects."""
    trainer.device = device
    trainer.ae.to(device)
    for name, value in vars(trainer).items():
        if isinstance(value, Tensor):
            setattr(trainer, name, value.to(device))


def _trainer(setting: Setting) -> Any:
    options: dict[str, Any] = {"steps": STEPS, "lr": setting.lr, "warmup_steps": 0, "seed": setting.seed}
    if setting.method in WITHOUT_K:
        # no warm-up of the penalty, because nobody wants steps with zero weight timed
        options["sparsity_warmup_steps"] = None
    else:
        options["k"] = setting.k
    if setting.method == "p_annealing":
        # with an exponent below 1, as after the first of its steps down
        options |= {"sparsity_function": "Lp^p", "p_start": 0.9, "p_end": 0.2}
    if setting.method == "matryoshka":
        options["group_fractions"] = group_fractions(setting.prefixes)
    return make_trainer(setting.method, setting.dimension, setting.latents, **options)
