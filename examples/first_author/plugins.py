"""Plugins for the parts of the first author's public code that differ from ours: two activations and a loss term.

A run with all of them:

    settings = {"activation": "topk_of_jump", "k": 64, "mean_l1": 0.01, "loss_scale": "mean", "bias": True}
    settings |= {"batch_size": 32, "lr": 1e-3, "lr_warmup": 0, "lr_decay": 0, "weight_decay": 1e-5, "gradient_clip": 1}
    sdl.fit(x, start=linear_start(768, 768, 16_000), n_q=16_000, **settings)

His cosine schedule is constant during the first two of ten epochs, so a run of two epochs needs none.
"""

from typing import Annotated

import torch
from annotated_types import Ge
from torch import Tensor

import sdlcore as sdl
from sdlcore.data.pairs import pair_sites
from sdlcore.model.coder import SparseCoder
from sdlcore.random_streams import torch_stream
from sdlcore.run import ModelConfig
from sdlcore.settings import Pair
from sdlcore.sparse.preactivations import Entries, Preactivations
from sdlcore.sparse.search import LargestPerSample, Search
from sdlcore.sparse.support import Support, select_entries


@sdl.activation("fixed_jump")
class FixedJump(sdl.ReLU):
    """relu(z) + beta 1(z > gamma): a jump that is not trained, and that sets no small latent to zero."""

    beta: Annotated[float, Ge(0)] = 1.0
    """Height of the jump."""
    gamma: Annotated[float, Ge(0)] = 1.0
    """Pre-activation above which it is added."""

    def values(self, pre: Tensor, support: Support) -> Tensor:
        return torch.relu(pre) + self.beta * (pre > self.gamma)


class LargestFrom(LargestPerSample):
    """The k largest positive pre-activations of each sample among the latents from number ``first`` on."""

    def __init__(self, k: int, first: int) -> None:
        super().__init__(k)
        self.first = first

    def mask(self, pre: Tensor) -> Tensor:
        silenced = pre.clone()
        silenced[..., : self.first] = -torch.inf
        return super().mask(silenced)

    def find(self, pre_BQ: Preactivations, slack: float = 1.0) -> Entries:
        entries = pre_BQ.largest(min(round(slack * self.k) + self.first, pre_BQ.shape[1]))
        others = select_entries(entries, entries.support.columns >= self.first)
        return others if slack > 1 else self.narrow(others)


@sdl.activation("topk_of_jump")
class TopKOfJump(sdl.TopK):
    """The k largest values of relu(z) + beta 1(z > gamma), which rises with z: they belong to the k largest z."""

    beta: Annotated[float, Ge(0)] = 1.0
    """Height of the jump."""
    gamma: Annotated[float, Ge(0)] = 1.0
    """Pre-activation above which it is added."""
    silent: Annotated[int, Ge(0)] = 0
    """The first latents, which never fire. Anchors tie the first latents, so this keeps them out of the competition."""

    def search(self) -> Search:
        return LargestFrom(self.k, self.silent) if self.silent else super().search()

    def values(self, pre: Tensor, support: Support) -> Tensor:
        return super().values(pre, support) + self.beta * (pre > self.gamma)


@sdl.loss_term("mean_l1", rises=True)
def mean_l1(inputs: sdl.TermInputs) -> Tensor:
    """Return the mean of all latents, active or not, over samples and latents: of TopK too."""
    support = inputs.out.support
    return inputs.out.values.sum() / (support.n_samples * support.n_q)


def linear_start(n_p: int, n_r: int, n_q: int, pair: Pair = "sae", seed: int = 0) -> sdl.Dictionary:
    """Return a dictionary with the weights and encoder biases of two fresh `nn.Linear`, for ``start`` of `sdl.fit`.

    The decoder's bias starts at zero there; nn.Linear's would be below .008 for 16,000 latents.
    """
    generator = torch_stream(seed, "initialisation")
    model = SparseCoder(ModelConfig(pair=pair, n_q=n_q, bias=True), *pair_sites(pair, n_p, n_r), generator)
    with torch.no_grad():
        model.b_enc.copy_(2 * torch.rand(n_q, generator=generator) - 1).div_(model.W_enc.shape[1] ** 0.5)
    return sdl.Dictionary(model)
