"""The first author's Matryoshka autoencoder: one encoder, k latents from each block, and a decoder for each level.

A level reconstructs from the latents of its own block and of those before. No decoder is shared, so this is no loss of
one dictionary as `multi_k` and `prefixes` are, and no plugin of sdlcore can express it.
"""

import torch
from torch import Tensor
from torch.nn.functional import mse_loss

from examples.first_author.recipe import Recipe, Training, activation
from sdlcore.random_streams import torch_stream


class MatryoshkaTraining(Training):
    """A training whose loss is the weighted sum of all levels' mean squared errors, plus L1 and anchors.

    The levels' weights rise linearly, as his do (.1, .15, .2, .25, .3), and sum to one. All of it is dense and slow.
    """

    def __init__(self, recipe: Recipe) -> None:
        super().__init__(recipe)
        self.levels = [int(part) for part in recipe.levels.split(",")]
        self.kept = [int(part) for part in recipe.level_k.split(",")]
        if self.levels[-1] != recipe.n_q or len(self.levels) != len(self.kept):
            raise ValueError(
                f"levels are {recipe.levels} and level_k {recipe.level_k}; expected as many of both, and the last "
                f"level to be n_q = {recipe.n_q}"
            )
        rising = torch.linspace(1, 3, len(self.levels))
        self.shares = (rising / rising.sum()).tolist()
        generator = torch_stream(recipe.seed, "initialisation", "levels")
        smaller = [
            (2 * torch.rand(level, self.W_dec.shape[1], generator=generator) - 1) / level**0.5
            for level in self.levels[:-1]
        ]
        self.decoders = [(W, torch.zeros(W.shape[1])) for W in smaller] + [(self.W_dec, self.b_dec)]
        trained = [self.W_enc, self.b_enc, *(part for pair in self.decoders for part in pair)]
        self.optimiser = torch.optim.AdamW([w.requires_grad_() for w in trained], lr=recipe.lr, weight_decay=1e-5)

    def codes(self, H: Tensor) -> Tensor:
        """Return the k largest latents of each block."""
        Z, first, blocks = activation(H, self.recipe), 0, []
        for level, k in zip(self.levels, self.kept, strict=True):
            block = Z[:, first:level]
            top = block.topk(min(k, level - first))
            blocks.append(torch.zeros_like(block).scatter(1, top.indices, top.values))
            first = level
        return torch.cat(blocks, dim=1)

    def loss(self, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        """Return the loss, and the mean squared error of the last level."""
        Z = self.codes(torch.addmm(self.b_enc, x, self.W_enc.T))
        levels = zip(self.levels, self.decoders, strict=True)
        errors = [mse_loss(Z[:, :level] @ W + b, y) for level, (W, b) in levels]
        total = sum(share * error for share, error in zip(self.shares, errors, strict=True))
        pairs = zip((self.W_enc, self.W_dec), self.anchors, strict=True)
        pull = sum((W[: len(A)] - A).square().sum() for W, A in pairs)
        return total + self.recipe.l1 * Z.mean() + self.recipe.anchor_weight * pull, errors[-1]

    def take_step(self) -> float:
        rows = self._rows()
        self.step += 1
        self.optimiser.param_groups[0]["lr"] = self.lr
        self.optimiser.zero_grad()
        total, error = self.loss(torch.from_numpy(self.x[rows]), torch.from_numpy(self.y[rows]))
        total.backward()
        weights = self.optimiser.param_groups[0]["params"]
        self.norm = float(torch.nn.utils.clip_grad_norm_(weights, self.recipe.clip))
        self.optimiser.step()
        return error.item()

    @torch.no_grad()
    def look(self) -> dict[str, float]:
        return super().look()
