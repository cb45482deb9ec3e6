"""SAELens: ``SAETrainer.step`` on a ``TrainingSAE``, as ``SAETrainer.fit`` calls it, without wandb.

A step is: the dead-latent mask; ``training_forward_pass`` (dense encode, sigma, dense decode, loss, auxiliary losses);
firing statistics; backward; gradient clipping to 1; Adam; both schedulers. TopK and its variants rescale activations by
the decoder's norms (SAELens' default) instead of normalising the decoder. ``use_sparse_activations`` is off, because it
fails on a CPU. In bfloat16 the forward pass runs under the autocast that SAELens' configuration offers.
"""

from typing import Any

import torch
from sae_lens import SAETrainer
from sae_lens.config import SAETrainerConfig
from torch import Tensor

from benchmarks.cases import WITHOUT_K, Setting
from benchmarks.libraries import State, Trainee, active, fill
from peers.saelens import make_sae

STEPS = 100_000
"""Length of a training that is longer than any here, so that no schedule ends."""


def make(setting: Setting, weights: State | None) -> Trainee:
    torch.manual_seed(setting.seed)
    return _SAELens(setting, weights)


class _SAELens:
    def __init__(self, setting: Setting, weights: State | None) -> None:
        self.sae: Any = _sae(setting).to(setting.device)
        if weights is not None:
            fill(self.sae, weights)
        config = SAETrainerConfig(
            total_training_samples=STEPS * setting.batch,
            train_batch_size_samples=setting.batch,
            lr=setting.lr,
            lr_end=setting.lr,
            lr_warm_up_steps=0,
            autocast=setting.dtype == "bfloat16",
            device=setting.device,
        )
        self.trainer = SAETrainer(config, self.sae, data_provider=iter(()))

    def step(self, x: Tensor) -> None:
        self.trainer.step(x)
        self.trainer.n_training_steps += 1

    @torch.no_grad()
    def l0(self, x: Tensor) -> float:
        with self.trainer.autocast_if_enabled:
            return active(self.sae.encode(x))


def _sae(setting: Setting) -> Any:
    options: dict[str, Any] = {"k": setting.k} if setting.method not in WITHOUT_K else {}
    if setting.method == "matching_pursuit":
        # as many steps for every sample as ours; by default, a small residual ends them
        options = {"max_iterations": setting.k, "residual_threshold": 0.0, "stop_on_duplicate_support": False}
    if setting.method == "matryoshka":
        options["matryoshka_widths"] = list(setting.prefixes)
    return make_sae(setting.method, setting.dimension, setting.latents, **options)
