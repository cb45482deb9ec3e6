"""Train with sparsify: ``Trainer.fit``, which reads activations only from a language model that it runs.

So sparsify runs a fake language model whose tokens are step numbers and whose single layer outputs the batch of the
step. All defaults are the library's: signum without a schedule at 5e-3 / sqrt(n_q / 2^14), unit decoder rows, no
auxiliary loss. The result is what sparsify would save: the running average of a schedule-free optimiser.
"""

from collections.abc import Iterator
from tempfile import TemporaryDirectory
from typing import Any

import torch
from sparsify import SparseCoderConfig, TrainConfig, Trainer
from torch import Tensor, nn
from torch.utils.data import Dataset

from peers.settings import PeerConfig
from peers.trainer import Note
from sdlcore.interop.sparsify import from_sparsify

LAYER = "rows"


def train(batches: Iterator[Tensor], dimension: int, config: PeerConfig, seed: int, note: Note) -> Any:
    """Train with sparsify; see `peers.trainer.Train`."""
    with TemporaryDirectory() as folder:
        settings = TrainConfig(
            SparseCoderConfig(num_latents=config.n_q, k=config.k),
            batch_size=1,  # one sequence, which is a whole batch of samples
            lr=config.lr,
            hookpoints=[LAYER],
            init_seeds=[seed],
            log_to_wandb=False,
            save_dir=folder,
        )
        source = _Rows(batches, dimension)
        trainer = Trainer(settings, _Steps(config), source)
        coder = trainer.saes[LAYER]
        losses: list[Tensor] = []
        coder.register_forward_hook(lambda module, inputs, output: losses.append(output.fvu.detach()))

        def after_a_step() -> None:
            if losses:
                note(losses.pop(), lambda: convert(trainer, config))

        # a step has ended when the next batch is requested; the last step has ended after fit
        source.before = after_a_step
        trainer.fit()
        after_a_step()
        return convert(trainer, config)


class _Steps(Dataset[dict[str, Tensor]]):
    """Data set of token sequences: one for each step, with a batch of tokens that are the step's number."""

    def __init__(self, config: PeerConfig) -> None:
        self.steps, self.length = config.steps, config.batch_size

    def __len__(self) -> int:
        return self.steps

    def __getitem__(self, step: int) -> dict[str, Tensor]:
        return {"input_ids": torch.full((self.length,), step)}


class _Rows(nn.Module):
    """Fake language model whose single layer outputs the next batch."""

    def __init__(self, batches: Iterator[Tensor], dimension: int) -> None:
        super().__init__()
        self.add_module(LAYER, nn.Identity())
        self.batches = batches
        self.device = torch.device("cpu")
        self.before: Any = lambda: None
        # sparsify runs the model on these to find the layer's width; token -1 is not a step
        self.dummy_inputs = {"input_ids": torch.full((1, 1), -1)}
        self.dummy_rows = torch.zeros(1, dimension)

    @property
    def base_model(self) -> nn.Module:
        return self

    def forward(self, input_ids: Tensor) -> None:
        if input_ids[0, 0] < 0:
            self.get_submodule(LAYER)(self.dummy_rows[None])
            return
        self.before()
        self.get_submodule(LAYER)(next(self.batches)[None])


@torch.no_grad()
def convert(trainer: Trainer, config: PeerConfig) -> Any:
    """Return the dictionary that a trainer would save."""
    (optimizer,), coder = trainer.optimizers, trainer.saes[LAYER]
    # eval() and train() change parameters by rounding errors, so they are restored to keep the training unchanged
    values = [parameter.clone() for parameter in coder.parameters()]
    optimizer.eval()
    dictionary = from_sparsify(coder.state_dict(), config.k)
    optimizer.train()
    for parameter, value in zip(coder.parameters(), values, strict=True):
        parameter.copy_(value)
    return dictionary
