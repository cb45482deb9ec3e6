"""sparsify: the work of ``Trainer.fit`` on a batch of activations, around its ``SparseCoder``.

sparsify's trainer takes activations only from a language model that it runs, so this module assembles the step, in the
trainer's order: normalisation of the decoder; the batch's variance; forward (dense encode, top-k, ``embedding_bag``
decode, its path for CPUs); firing statistics; the loss, read; backward; removal of the gradient along the decoder's
directions; optimiser; scheduler; counts of silent samples. It does not clip. Work for the language model is left out
(hooks, token masks and their copies). The auxiliary loss is off by default.

Steps are timed with Adam, as for the others. sparsify's own default is signum.
"""

import torch
from sparsify import SparseCoder, SparseCoderConfig
from torch import Tensor
from transformers import get_linear_schedule_with_warmup

from benchmarks.cases import Setting
from benchmarks.libraries import State, Trainee, active, fill

STEPS = 100_000
"""Length of a training that is longer than any here, so that no schedule ends."""


def make(setting: Setting, weights: State | None) -> Trainee:
    if setting.method != "topk":
        raise ValueError(f"sparsify has no method {setting.method}")
    torch.set_float32_matmul_precision("high")  # as Trainer.fit does
    torch.manual_seed(setting.seed)
    return _Sparsify(setting, weights)


class _Sparsify:
    def __init__(self, setting: Setting, weights: State | None) -> None:
        config = SparseCoderConfig(num_latents=setting.latents, k=setting.k)
        self.coder = SparseCoder(setting.dimension, config, device=setting.device, dtype=torch.float32)
        self.first = weights is None
        if weights is not None:
            names = {"W_enc": "encoder.weight", "b_enc": "encoder.bias"}
            fill(self.coder, {names.get(name, name): tensor for name, tensor in weights.items()})
        self.optimizer = torch.optim.Adam(self.coder.parameters(), lr=setting.lr)
        self.scheduler = get_linear_schedule_with_warmup(self.optimizer, 0, STEPS)
        self.silent = torch.zeros(setting.latents, dtype=torch.long, device=setting.device)
        self.fired = torch.zeros(setting.latents, dtype=torch.bool, device=setting.device)
        self.fvu = 0.0

    def step(self, x: Tensor) -> None:
        coder = self.coder
        if self.first:
            coder.b_dec.data = x.mean(0)
            self.first = False
        coder.set_decoder_norm_to_unit_norm()
        variance = (x - x.mean(0)).square().sum()
        out = coder(x=x, y=x, dead_mask=None, total_variance=variance)
        self.fired[out.latent_indices.flatten()] = True
        self.fvu = float(out.fvu.detach())
        (out.fvu + 0.0 * out.auxk_loss + out.multi_topk_fvu / 8).backward()

        coder.remove_gradient_parallel_to_decoder_directions()
        self.optimizer.step()
        self.optimizer.zero_grad()
        self.scheduler.step()
        self.silent += len(x)
        self.silent[self.fired] = 0
        self.fired.zero_()

    @torch.no_grad()
    def l0(self, x: Tensor) -> float:
        return active(self.coder.encode(x).top_acts)
